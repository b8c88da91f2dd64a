"""The canonical tables on disk, with the columns `schema` names.

A row that breaks a rule is set aside with its reason, never dropped.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.sources.canonical import cells
from pipeline.sources.canonical.quarantine import Quarantine
from pipeline.sources.canonical.timestamps import Clock
from pipeline.tables.schema import DataError

ROW_GROUP = 262_144
# Of a rating or weight.
_MOST = 1e15


@dataclass(frozen=True)
class Tables:
    """Parquet files that a source wrote, and the kind of each column to encode.

    Attributes:
        interactions: Every source has them; other tables may be None.
        oracle: The place each interaction has under the true distribution
            (user_id, item_id, best_rank), where that is known.
        notes: What a person should know, in plain words.
        facts: Figures for the summary.
    """

    interactions: Path
    items: Path | None = None
    users: Path | None = None
    item_features: dict[str, str] = field(default_factory=dict)
    user_features: dict[str, str] = field(default_factory=dict)
    context_features: dict[str, str] = field(default_factory=dict)
    has_rating: bool = False
    oracle: Path | None = None
    notes: tuple[str, ...] = ()
    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Raw columns of some rows by their name in the source.

    `lines` are the lines of the rows in the file, 1 for the first,
    `[num_rows]`; `file` is how to show its name.
    """

    columns: Mapping[str, pa.Array]
    lines: np.ndarray
    file: str


class _Rows:
    """Rows of a batch on their way through the checks.

    Those in `bad` are set aside, those in `flawed` lack a value, `[num_rows]`.
    """

    def __init__(self, batch: Batch, quarantine: Quarantine) -> None:
        self.batch = batch
        self.bad = np.zeros(len(batch.lines), bool)
        self.flawed = np.zeros(len(batch.lines), bool)
        self._quarantine = quarantine

    def refuse(self, reason: str, wrong: np.ndarray) -> None:
        self.bad |= self._quarantine.add(reason, self.batch, wrong, self.bad)

    def ids(self, name: str, column: str) -> pa.Array:
        found = cells.as_text(self.batch.columns[column])
        self.refuse(f"`{name}` is empty", _nulls(found))
        return found

    def times(self, column: str, clock: Clock) -> pa.Array:
        times = self.batch.columns[column]
        self.refuse("`timestamp` is empty", _nulls(times))
        seconds, wrong = clock.seconds(times)
        self.refuse("`timestamp` is neither a number nor an ISO date", wrong)
        self.refuse("`timestamp` is negative", seconds < 0)
        self.refuse("`timestamp` is in the future", seconds > clock.latest)
        return pa.array(seconds)

    def numbers(self, name: str, column: str) -> pa.Array:
        found, wrong = cells.as_number(self.batch.columns[column])
        self.refuse(f"`{name}` is not a number", wrong)
        self.refuse(f"`{name}` is empty", _nulls(found))
        # Squares and sums of float32 go no further.
        beyond = pc.fill_null(pc.greater(pc.abs(found), _MOST), False)
        self.refuse(f"`{name}` is beyond {_MOST:g}", beyond.to_numpy(False))
        if name == "weight":
            below = pc.fill_null(pc.less(found, 0.0), False)
            self.refuse("`weight` is negative", below.to_numpy(False))
        return pc.cast(found, pa.float32())

    def features(
        self, kinds: Mapping[str, str], separator: str = "|"
    ) -> dict[str, pa.Array]:
        found = {}
        for name, kind in kinds.items():
            array = self.batch.columns[name]
            if kind == "numeric":
                found[name], wrong = cells.as_number(array)
                reason = f"`{name}` is not a number"
                self.flawed |= self._quarantine.add(
                    reason, self.batch, wrong, self.bad, cell=True
                )
            elif kind == "multi_categorical":
                found[name] = cells.as_values(array, separator)
            else:
                found[name] = cells.as_text(array)
        return found


def write_interactions(
    batches: Iterator[Batch],
    path: Path,
    columns: Mapping[str, str],
    context: Mapping[str, str],
    quarantine: Quarantine,
    clock: Clock | None = None,
) -> None:
    """Writes the interactions, ids and times checked.

    Args:
        batches: Raw rows in the order of the log.
        path: Parquet file to write.
        columns: Source column of "user_id", "item_id" and, where there are
            such, "timestamp", "rating" and "weight". Without "timestamp" the
            position in the log takes its place.
        context: Kind of each context column.
        quarantine: Receives the rows that break a rule.
        clock: Reads the timestamps; None goes by their form.
    """
    clock = clock or Clock()
    numbers = [name for name in ("rating", "weight") if name in columns]
    position = 0

    def checked(rows: _Rows) -> dict[str, pa.Array]:
        nonlocal position
        first, position = position, position + len(rows.bad)
        return {
            "user_id": rows.ids("user_id", columns["user_id"]),
            "item_id": rows.ids("item_id", columns["item_id"]),
            "timestamp": rows.times(columns["timestamp"], clock)
            if "timestamp" in columns
            else pa.array(np.arange(first, position)),
            **{name: rows.numbers(name, columns[name]) for name in numbers},
            **rows.features(context),
        }

    types = {"user_id": pa.string(), "item_id": pa.string()}
    types |= {"timestamp": pa.int64()} | dict.fromkeys(numbers, pa.float32())
    _write(batches, path, types | _types(context), quarantine, checked)


def write_entities(
    batches: Iterator[Batch],
    path: Path,
    columns: Mapping[str, str],
    kinds: Mapping[str, str],
    quarantine: Quarantine,
    separator: str = "|",
) -> None:
    """Writes the items or users table, ids present and unique.

    Args:
        batches: Raw rows.
        path: Parquet file to write.
        columns: Source column of "item_id" or "user_id" and, where there is
            one to display, of "title_shown".
        kinds: Kind of each feature column.
        quarantine: Receives the rows that break a rule.
        separator: Between the values of a multi_categorical cell.

    Raises:
        DataError: If a feature column bears a reserved name.
    """
    id_name, *titles = columns
    if id_name in kinds:
        raise DataError(
            f"`{id_name}` is an id and cannot be a feature column too. "
            "Received: it among the features (from [source]). Remove it "
            "there; the models learn from ids by themselves."
        )
    known: set[str] = set()

    def checked(rows: _Rows) -> dict[str, pa.Array]:
        arrays = {id_name: rows.ids(id_name, columns[id_name])}
        for name in titles:
            arrays[name] = cells.as_text(rows.batch.columns[columns[name]])
        arrays |= rows.features(kinds, separator)
        # Last: a row that is set aside is nothing to repeat, and a whole one
        # goes before one that lacks a value.
        repeated = np.zeros(len(rows.bad), bool)
        order = np.argsort(rows.flawed, kind="stable")
        for row in order[~rows.bad[order]]:
            value = arrays[id_name][int(row)].as_py()
            repeated[row] = value in known
            known.add(value)
        rows.refuse(f"`{id_name}` was there before", repeated & ~rows.flawed)
        rows.bad |= repeated
        return arrays

    types = dict.fromkeys(columns, pa.string()) | _types(kinds)
    _write(batches, path, types, quarantine, checked)


def _types(kinds: Mapping[str, str]) -> dict[str, pa.DataType]:
    lists = pa.list_(pa.string())
    types = {"numeric": pa.float64(), "multi_categorical": lists}
    return {name: types.get(kind, pa.string()) for name, kind in kinds.items()}


def _write(
    batches: Iterator[Batch],
    path: Path,
    types: Mapping[str, pa.DataType],
    quarantine: Quarantine,
    checked: Callable[[_Rows], dict[str, pa.Array]],
) -> None:
    schema = pa.schema(list(types.items()))
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            rows = _Rows(batch, quarantine)
            table = pa.table(checked(rows), schema=schema)
            quarantine.seen(len(batch.lines), batch.file)
            if rows.bad.any():
                table = table.filter(pa.array(~rows.bad))
            writer.write_table(table, row_group_size=ROW_GROUP)


def _nulls(array: pa.Array) -> np.ndarray:
    return pc.is_null(array, nan_is_null=True).to_numpy(zero_copy_only=False)
