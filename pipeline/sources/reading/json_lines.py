"""JSON lines as batches of columns, fast where every line is an object.

A block that Arrow's reader takes whole, and as it is written, goes through it.
Any other block is read line by line, so that a bad line is set aside with its
number and costs nothing else, and every digit of a long number stays.
"""

import io
import json
import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json

from pipeline.sources.canonical import cells
from pipeline.sources.canonical.quarantine import Quarantine
from pipeline.sources.canonical.tables import Batch
from pipeline.sources.reading import files
from pipeline.tables.schema import DataError


def read(
    file: files.File, encoding: str, quarantine: Quarantine
) -> Iterator[Batch]:
    """Streams a file of one JSON object a line as batches of columns.

    Raises:
        DataError: If the file is one array or object, or compressed data
            that ends early.
    """
    line = 1
    for block in files.blocks(file):
        if line == 1:
            _refuse_documents(block, file)
        count = block.count(b"\n") + (not block.endswith(b"\n"))
        columns = _fast(block, count)
        lines = np.arange(line, line + count)
        if columns is None:
            lines, objects = _objects(block, line, encoding, file, quarantine)
            names = dict.fromkeys(name for value in objects for name in value)
            columns = {n: _column([v.get(n) for v in objects]) for n in names}
        if len(lines):
            yield Batch(columns, lines, file.shown)
        line += count


def _refuse_documents(block: bytes, file: files.File) -> None:
    if re.match(rb"\s*\[\s*\{", block):
        raise DataError(
            "JSON must be one object a line. Received: an array (in "
            f"{file.shown}). Convert it: jq -c '.[]' old.json > new.jsonl."
        )
    if re.match(rb"\s*\{\s*\n", block):
        # An object that goes on behind its first line, with a list of others.
        found = re.search(rb'"(\w+)"\s*:\s*\[\s*\{', block)
        raise DataError(
            "JSON must be one object a line. Received: one object over "
            f"several lines (in {file.shown}). Convert it: jq -c "
            f"'.{found[1].decode() if found else ''}[]' {file.name} > "
            "new.jsonl."
        )


def _fast(block: bytes, count: int) -> dict[str, pa.Array] | None:
    """Columns of a block of objects; None where some may not be as written."""
    try:
        table = arrow_json.read_json(io.BytesIO(block)).combine_chunks()
        # Arrow's reader can leave broken arrays behind where the types of
        # nested values differ from row to row.
        table.validate(full=True)
    except pa.ArrowInvalid:
        return None
    columns = {name: table[name].chunk(0) for name in table.column_names}
    if table.num_rows != count or any(map(_rounded, columns.values())):
        return None
    return columns


def _rounded(array: pa.Array) -> bool:
    """Whether a double may be there for a whole number that none can hold."""
    if pa.types.is_struct(array.type):
        return any(map(_rounded, array.flatten()))
    if cells.is_list(array):
        return _rounded(array.flatten())
    if not pa.types.is_floating(array.type):
        return False
    large = pc.greater_equal(pc.abs(array), cells.EXACT)
    return bool(pc.any(large).as_py())


def _objects(
    block: bytes,
    line: int,
    encoding: str,
    file: files.File,
    quarantine: Quarantine,
) -> tuple[np.ndarray, list[dict[str, object]]]:
    """Objects of a block with their lines, without what is no object."""
    objects: dict[int, dict[str, object]] = {}
    for number, raw in enumerate(block.split(b"\n"), start=line):
        if not raw.strip():
            continue
        text = quarantine.decode(raw, encoding, file.shown, number)
        if text is None:
            continue
        why = "it is not a JSON object"
        try:
            value = json.loads(text)
            if "\\u" in text:
                json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            value, why = None, "it holds half a surrogate pair, no letter"
        except ValueError:
            value = None
        if isinstance(value, dict):
            objects[number] = value
        else:
            quarantine.add_line(why, file.shown, number, text)
    return np.array(list(objects)), list(objects.values())


def _column(values: list[object]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        # Values of several types, or numbers too long for one: as written.
        written = [_written(value) for value in values]
    try:
        return pa.array(written)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        plain = (str, type(None))
        texts = [v if isinstance(v, plain) else json.dumps(v) for v in values]
        return pa.array(texts, pa.string())


def _written(value: object) -> object:
    """A value with its numbers, those inside it too, as text."""
    if isinstance(value, dict):
        return {name: _written(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_written(inner) for inner in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return json.dumps(value) if is_number else value
