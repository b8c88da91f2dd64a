"""The prepared tables: what the prepare step leaves and every other one reads.

On disk, in one directory: `sequences.parquet` (see `sequences`),
`items.parquet` and `users.parquet` (rows 2 and up), one
`item_values.parquet` (rows 2 and up; every value of the categorical columns),
`vocabulary/<table>.<feature>.parquet` (value, count) a feature, `tables.json`
(what the columns mean) and `summary.json` (figures).
"""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.config import FIRST_ITEM, FeatureSpec
from pipeline.tables import columns, sequences
from pipeline.tables.columns import FeatureColumn
from pipeline.tables.schema import PARTS, TRAIN, DataError
from pipeline.tables.sequences import Sequences

# A feature's values with their counts in the train part, by index from 2.
Counted = Sequence[tuple[str, int]]
# The figures of summary.json by name, some of them nested.
Summary = dict[str, Any]
# Kinds of feature whose values a request may filter by.
FILTERED = ("categorical", "multi_categorical")
VALUES = "item_values.parquet"
# Beside them, where items of a release are gone.
GONE = "gone.npy"


@dataclass(frozen=True)
class Table:
    """Encoded items or users; rows are indexed as features are (`columns`).

    Attributes:
        ids: Text `[num_rows + 2]`; "" in rows 0 and 1.
        features: categorical int32 `[num_rows + 2]`; multi_categorical and
            text int32 `[num_rows + 2, width]`, right-padded with 0; numeric
            float32 `[num_rows + 2]`, normalised, 0 where missing.
        specs: One for each feature.
        counts: Interactions by part, int64 `[3, num_rows + 2]`.
        num_known: 2 + rows with train interactions.
        titles: Text `[num_rows + 2]`, "" where unknown.
        first_seen: Time of the first train interaction in seconds, int64
            `[num_rows + 2]`; 0 for none.
    """

    ids: np.ndarray
    features: dict[str, np.ndarray]
    specs: tuple[FeatureSpec, ...]
    counts: np.ndarray
    num_known: int
    titles: np.ndarray
    first_seen: np.ndarray

    @classmethod
    def of(
        cls,
        table: pa.Table,
        features: dict[str, np.ndarray],
        specs: tuple[FeatureSpec, ...],
        id_name: str = "id",
        title: str = "title",
    ) -> "Table":
        """Adds the features, rows 2 and up, to what `table` says of rows.

        Args:
            table: With ids, `first_seen` and `count_<part>`.
            features: Encoded, `[num_rows]` or `[num_rows, width]`.
            specs: Of the features.
            id_name: Column of the ids.
            title: Column of the titles, which need not be there.
        """
        counts = np.stack([_numbers(table[f"count_{part}"]) for part in PARTS])
        titles = np.full(len(table) + 2, "", object)
        if title in table.column_names:
            titles = _text(table[title])
        return cls(
            ids=_text(table[id_name]),
            features={name: _padded(v) for name, v in features.items()},
            specs=specs,
            counts=counts,
            num_known=2 + int((counts[TRAIN, 2:] > 0).sum()),
            titles=titles,
            first_seen=_numbers(table["first_seen"]),
        )

    @classmethod
    def read(cls, path: Path, specs: tuple[FeatureSpec, ...]) -> "Table":
        """Reads what `write` wrote, given the specs of its features."""
        table = pq.read_table(path)
        features = {}
        for spec in specs:
            column = table[f"feature_{spec.name}"].combine_chunks()
            values = column
            if pa.types.is_fixed_size_list(column.type):
                values = column.flatten().to_numpy()
                values = values.reshape(-1, column.type.list_size)
            features[spec.name] = np.asarray(values)
        return cls.of(table, features, specs)

    def write(self, path: Path) -> None:
        """Writes rows 2 and up."""
        stored = {
            "id": pa.array(self.ids[2:], pa.string()),
            "title": pa.array(self.titles[2:], pa.string()),
            "first_seen": pa.array(self.first_seen[2:]),
        }
        for part, counts in zip(PARTS, self.counts, strict=True):
            stored[f"count_{part}"] = pa.array(counts[2:])
        for name, values in self.features.items():
            column = pa.array(values[2:].reshape(-1))
            if values.ndim > 1:
                width = values.shape[1]
                column = pa.FixedSizeListArray.from_arrays(column, width)
            stored[f"feature_{name}"] = column
        pq.write_table(pa.table(stored), path, compression="zstd")


def _padded(values: np.ndarray) -> np.ndarray:
    nothing = np.zeros((2, *values.shape[1:]), values.dtype)
    return np.concatenate([nothing, values])


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    return _padded(column.to_numpy().astype(np.int64))


def _text(column: pa.ChunkedArray) -> np.ndarray:
    return np.array(["", "", *pc.fill_null(column, "").to_pylist()], object)


@dataclass(frozen=True)
class Prepared:
    """The prepared tables.

    Attributes:
        directory: Where they lie.
        items: Encoded items.
        users: Encoded users; row i + 2 belongs to sequence i.
        context_specs: Of the context columns of the sequences.
        vocabularies: Values of each feature for the indices from 2, by
            "items.genres", "users.gender", "context.device".
        summary: Figures of `summary.json`.
        split: Name of the split.
        repeat_consumption: Whether items of a history may be recommended.
        gone: Indices of items that are recommended no more, int32; histories
            still hold them.
    """

    directory: Path
    items: Table
    users: Table
    context_specs: tuple[FeatureSpec, ...]
    vocabularies: dict[str, list[str]]
    summary: Summary
    split: str
    repeat_consumption: bool = False
    gone: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros(0, np.int32)
    )

    @property
    def num_answered(self) -> int:
        """Items that can be recommended."""
        return len(self.items.ids) - FIRST_ITEM - len(self.gone)

    def sequences(self) -> Sequences:
        """All sequences: read once, and then the same arrays for everybody."""
        return self._sequences

    @functools.cached_property
    def _sequences(self) -> Sequences:
        return sequences.read(self.directory)

    def item_values(self) -> dict[str, pa.ListArray]:
        """What items have of each categorical feature, `[num_rows]`.

        Encoded features know the values of the train part, and the first of a
        cell; these are all.
        """
        table = pq.read_table(self.directory / VALUES)
        return {
            name: table[name].combine_chunks() for name in table.column_names
        }

    def columns(
        self, table: Literal["items", "users", "context"]
    ) -> dict[str, FeatureColumn]:
        """The feature columns of a table, or of the sequences, by name."""
        specs = {"items": self.items.specs, "users": self.users.specs}
        return {
            spec.name: columns.make(
                spec, self.vocabularies.get(f"{table}.{spec.name}", ())
            )
            for spec in specs.get(table, self.context_specs)
        }


def write(
    directory: Path,
    tables: Mapping[str, Table],
    context: Sequence[FeatureSpec],
    values: Mapping[str, Counted],
    summary: Summary,
    meaning: Mapping[str, object],
) -> None:
    """Writes all but the sequences.

    Args:
        directory: Existing.
        tables: "items" and "users".
        context: Of the context columns.
        values: By "items.genres", "users.gender", "context.device".
        summary: Figures to keep.
        meaning: `split` and `repeat_consumption`.
    """
    for name, table in tables.items():
        table.write(directory / f"{name}.parquet")
    (directory / "vocabulary").mkdir(exist_ok=True)
    schema = pa.schema({"value": pa.string(), "count": pa.int64()})
    for name, counted in values.items():
        rows = [dict(zip(schema.names, pair, strict=True)) for pair in counted]
        vocabulary = pa.Table.from_pylist(rows, schema)
        pq.write_table(vocabulary, directory / "vocabulary" / f"{name}.parquet")
    specs = {name: table.specs for name, table in tables.items()}
    said = {
        **meaning,
        **{
            name: [dataclasses.asdict(spec) for spec in found]
            for name, found in (specs | {"context": context}).items()
        },
        "vocabularies": list(values),
    }
    for name, content in (("tables", said), ("summary", summary)):
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (directory / f"{name}.json").write_text(text, "utf-8")


def load(directory: Path) -> Prepared:
    """Opens the prepared tables in a directory.

    Raises:
        DataError: If there are none.
    """
    try:
        meaning, summary = (
            json.loads((directory / f"{name}.json").read_text("utf-8"))
            for name in ("tables", "summary")
        )
    except FileNotFoundError as error:
        raise DataError(
            f"The prepared tables must be there. Received: {directory} "
            f"without {Path(error.filename).name}. Run the prepare step."
        ) from error
    specs = {
        name: tuple(FeatureSpec(**spec) for spec in meaning[name])
        for name in ("items", "users", "context")
    }
    values, gone = directory / "vocabulary", directory / GONE
    return Prepared(
        directory,
        Table.read(directory / "items.parquet", specs["items"]),
        Table.read(directory / "users.parquet", specs["users"]),
        specs["context"],
        {
            name: pq.read_table(values / f"{name}.parquet")["value"].to_pylist()
            for name in meaning["vocabularies"]
        },
        summary,
        meaning["split"],
        meaning["repeat_consumption"],
        np.load(gone) if gone.exists() else np.zeros(0, np.int32),
    )


def with_rows(values: np.ndarray, more: int) -> np.ndarray:
    """Values by item index `[N + 2, ...]`, with more items behind them.

    Nothing is known of these: they have what padding has, which never has an
    interaction either.
    """
    return np.concatenate([values, np.repeat(values[:1], more, axis=0)])


def write_item_values(
    directory: Path, table: pa.Table, kinds: Mapping[str, str]
) -> None:
    """Writes the values of the categorical columns among `kinds`.

    Args:
        table: Canonical values, in the order of the items' rows.
    """
    write_values(directory, cells_of(table, kinds))


def write_values(
    directory: Path, cells: Mapping[str, pa.ListArray | Sequence[Sequence[str]]]
) -> None:
    """Writes every value of categorical features, `[num_rows]` each."""
    kind = pa.list_(pa.string())
    found = {name: pa.array(values, kind) for name, values in cells.items()}
    pq.write_table(pa.table(found), directory / VALUES, compression="zstd")


def cells_of(
    table: pa.Table, kinds: Mapping[str, str]
) -> dict[str, pa.ListArray]:
    """The values of the categorical columns among `kinds`, `[num_rows]`."""
    return {
        name: pa.array(
            columns.KINDS[kind].cells(table[name].combine_chunks()),
            pa.list_(pa.string()),
        )
        for name, kind in kinds.items()
        if kind in FILTERED
    }


def require_questions(
    split: str, count: int, num_users: int, num_items: int
) -> None:
    """Refuses tables that nothing can be learnt or measured on.

    Users are counted with interactions behind the train part and in all,
    items in the train part.

    Raises:
        DataError: If there is nobody to test with, or nothing to choose from.
    """
    if num_items < 2:
        raise DataError(
            "There must be a choice of items to learn from. Received: "
            f"{num_items} in the train part (from prepare.split = {split!r}). "
            "Check that the column of the item tells items apart."
        )
    if count:
        return
    advice = "Choose other shares or another split."
    if split == "leave_last_out":
        advice = (
            "It needs users with 3 interactions or more: check that the "
            "column of the user tells who returns, or choose another split."
        )
    raise DataError(
        "Somebody must have interactions in validation and test. Received: "
        f"none of {num_users:,} users (from prepare.split = {split!r}). "
        f"{advice}"
    )
