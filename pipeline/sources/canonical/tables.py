"""The canonical tables on disk and the checks every row passes on its way.

Enters: Arrow batches of raw columns, with the line each row came from.
Leaves: one Parquet file a table with the columns `schema` names. A row that
breaks a rule is set aside with its reason (quarantine.py), never dropped.
"""

from collections.abc import Iterator, Mapping
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


@dataclass(frozen=True)
class Tables:
    """What a source wrote.

    Attributes:
        interactions: Parquet of the interactions.
        items: Parquet of the items, None where there is no such table.
        users: Parquet of the users, None where there is no such table.
        item_features: Kind of each items column to encode.
        user_features: Kind of each users column to encode.
        context_features: Kind of each interactions column to encode.
        has_rating: Whether interactions carry `rating`.
        has_weight: Whether interactions carry `weight`.
        oracle: Parquet of the place each interaction has under the true
            distribution (user_id, item_id, best_rank), where that is known.
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
    has_weight: bool = False
    oracle: Path | None = None
    notes: tuple[str, ...] = ()
    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Some rows as read.

    Attributes:
        columns: Raw columns by their name in the source.
        lines: Line of each row in its file, 1 for the first, `[num_rows]`.
        file: Name to show for the file.
    """

    columns: Mapping[str, pa.Array]
    lines: np.ndarray
    file: str


def write_interactions(
    batches: Iterator[Batch],
    path: Path,
    columns: Mapping[str, str],
    context: Mapping[str, str],
    quarantine: Quarantine,
    clock: Clock | None = None,
) -> int:
    """Writes the interactions, ids and times checked.

    Args:
        batches: Raw rows in the order of the log.
        path: Parquet file to write.
        columns: Source column of "user_id", "item_id", "timestamp", "rating"
            and "weight"; the last three may be missing. Without "timestamp"
            the position in the log takes its place.
        context: Kind of each context column.
        quarantine: Receives the rows that break a rule.
        clock: Reads the timestamps; None goes by their form.

    Returns:
        Rows written.
    """
    clock = clock or Clock()
    schema = pa.schema(
        [
            ("user_id", pa.string()),
            ("item_id", pa.string()),
            ("timestamp", pa.int64()),
        ]
        + [
            (name, pa.float32())
            for name in ("rating", "weight")
            if name in columns
        ]
        + [
            (
                name,
                pa.float64() if kind == "numeric" else pa.string(),
            )
            for name, kind in context.items()
        ]
    )
    position = 0
    written = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            rows = len(batch.lines)
            arrays: dict[str, pa.Array] = {}
            bad = np.zeros(rows, bool)
            for name in ("user_id", "item_id"):
                arrays[name] = cells.as_text(batch.columns[columns[name]])
                bad |= quarantine.add(
                    f"`{name}` is empty", batch, _nulls(arrays[name]), bad
                )
            if "timestamp" in columns:
                times = batch.columns[columns["timestamp"]]
                bad |= quarantine.add(
                    "`timestamp` is empty", batch, _nulls(times), bad
                )
                seconds, wrong = clock.seconds(times)
                bad |= quarantine.add(
                    "`timestamp` is neither a number nor an ISO date",
                    batch,
                    wrong,
                    bad,
                )
                bad |= quarantine.add(
                    "`timestamp` is negative", batch, seconds < 0, bad
                )
                bad |= quarantine.add(
                    "`timestamp` is in the future",
                    batch,
                    seconds > clock.latest,
                    bad,
                )
                arrays["timestamp"] = pa.array(seconds)
            else:
                arrays["timestamp"] = pa.array(
                    np.arange(position, position + rows)
                )
            for name in ("rating", "weight"):
                if name in columns:
                    numbers, wrong = cells.as_number(
                        batch.columns[columns[name]]
                    )
                    bad |= quarantine.add(
                        f"`{name}` is not a number", batch, wrong, bad
                    )
                    bad |= quarantine.add(
                        f"`{name}` is empty", batch, _nulls(numbers), bad
                    )
                    if name == "weight":
                        below = pc.fill_null(pc.less(numbers, 0.0), False)
                        bad |= quarantine.add(
                            "`weight` is negative",
                            batch,
                            below.to_numpy(zero_copy_only=False),
                            bad,
                        )
                    arrays[name] = pc.cast(numbers, pa.float32())
            for name, kind in context.items():
                arrays[name] = _feature(
                    batch,
                    name,
                    kind,
                    "|",
                    quarantine,
                    bad,
                    np.zeros(rows, bool),
                )
            position += rows
            quarantine.seen(rows, batch.file)
            table = pa.table(arrays, schema=schema)
            if bad.any():
                table = table.filter(pa.array(~bad))
            written += table.num_rows
            writer.write_table(table, row_group_size=ROW_GROUP)
    return written


def _nulls(array: pa.Array) -> np.ndarray:
    return pc.is_null(array, nan_is_null=True).to_numpy(zero_copy_only=False)


def _feature(
    batch: Batch,
    name: str,
    kind: str,
    separator: str,
    quarantine: Quarantine,
    bad: np.ndarray,
    flawed: np.ndarray,
) -> pa.Array:
    """Cells of a feature; `flawed` learns of rows whose cell is none."""
    array = batch.columns[name]
    if kind == "numeric":
        numbers, wrong = cells.as_number(array)
        flawed |= quarantine.cell(
            f"`{name}` is not a number", batch, wrong, bad
        )
        return numbers
    if kind == "multi_categorical":
        return cells.as_values(array, separator)
    return cells.as_text(array)


def write_rows(
    batches: Iterator[Batch],
    path: Path,
    id_column: str,
    id_name: str,
    features: Mapping[str, str],
    title: str,
    separator: str,
    quarantine: Quarantine,
) -> int:
    """Writes the items or users table, ids present and unique.

    Args:
        batches: Raw rows.
        path: Parquet file to write.
        id_column: Source column of the id.
        id_name: "item_id" or "user_id".
        features: Kind of each column to encode.
        title: Column to display, empty for none.
        separator: Between the values of a multi_categorical cell.
        quarantine: Receives the rows that break a rule.

    Returns:
        Rows written.

    Raises:
        DataError: If a feature column bears a reserved name.
    """
    if id_name in features:
        raise DataError(
            f"`{id_name}` is an id and cannot be a feature column too. "
            "Received: it among the features (from [source]). Remove it "
            "there; the models learn from ids by themselves."
        )
    types = {
        "numeric": pa.float64(),
        "multi_categorical": pa.list_(pa.string()),
    }
    schema = pa.schema(
        [(id_name, pa.string())]
        + ([("title_shown", pa.string())] if title else [])
        + [
            (name, types.get(kind, pa.string()))
            for name, kind in features.items()
        ]
    )
    known: set[str] = set()
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            bad = np.zeros(len(batch.lines), bool)
            flawed = np.zeros(len(batch.lines), bool)
            ids = cells.as_text(batch.columns[id_column])
            bad |= quarantine.add(
                f"`{id_name}` is empty",
                batch,
                _nulls(ids),
                bad,
            )
            arrays = {id_name: ids}
            if title:
                arrays["title_shown"] = cells.as_text(batch.columns[title])
            for name, kind in features.items():
                arrays[name] = _feature(
                    batch, name, kind, separator, quarantine, bad, flawed
                )
            # Last: a row that is set aside is nothing to repeat, and a whole
            # one goes before one that lacks a value.
            repeated = np.zeros(len(batch.lines), bool)
            order = np.argsort(flawed, kind="stable")
            for row in order[~bad[order]]:
                value = ids[int(row)].as_py()
                repeated[row] = value in known
                known.add(value)
            quarantine.add(
                f"`{id_name}` was there before", batch, repeated & ~flawed, bad
            )
            bad |= repeated
            quarantine.seen(len(batch.lines), batch.file)
            table = pa.table(arrays, schema=schema)
            writer.write_table(table.filter(pa.array(~bad)))
    return len(known)
