"""Objects and lists in cells become plain columns and rows.

The fields of an object are columns of their own, named with a dot between;
those of a list of objects are lists. A row with a list of items becomes a row
an item.
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.canonical import cells
from pipeline.sources.canonical.tables import Batch
from pipeline.tables.schema import DataError


def flat(columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """Columns with those for the fields of objects added.

    An object of one field such as `{"$oid": "5f"}`, as MongoDB exports the
    types of values, is replaced by the value.
    """
    found: dict[str, pa.Array] = {}
    for name, array in columns.items():
        found |= _flat(name, array)
    return found


def _flat(name: str, array: pa.Array) -> dict[str, pa.Array]:
    if cells.is_list(array) and pa.types.is_struct(array.type.value_type):
        return {name: array} | {
            child: cells.with_values(array, values)
            for child, values in _flat(name, pc.list_flatten(array)).items()
            if child != name
        }
    if not pa.types.is_struct(array.type):
        return {name: array}
    fields = [field.name for field in array.type]
    if len(fields) == 1 and fields[0].startswith("$"):
        return _flat(name, pc.struct_field(array, 0))
    found = {name: array}
    for place, field in enumerate(fields):
        found |= _flat(f"{name}.{field}", pc.struct_field(array, place))
    return found


def unrolled(batch: Batch, item: str, names: Sequence[str]) -> Batch:
    """One row an interaction where a row holds the list of a user's items.

    The other lists among `names`, the columns to keep, go along with the items
    element by element. Without lists of items nothing is done.

    Raises:
        DataError: If a list is not as long as that of the items.
    """
    items = batch.columns[item]
    if not cells.is_list(items):
        return batch
    lengths = pc.list_value_length(items)
    owner = pc.list_parent_indices(items)
    columns = {}
    for name in names:
        values = batch.columns[name]
        if not cells.is_list(values):
            columns[name] = values.take(owner)
            continue
        if not pc.list_value_length(values).equals(lengths):
            raise DataError(
                "Lists of one row must be equally long. Received: "
                f"{name!r} and the items {item!r} of different lengths (in "
                f"{batch.file}). Correct the export."
            )
        columns[name] = pc.list_flatten(values)
    return Batch(columns, batch.lines[owner.to_numpy()], batch.file)
