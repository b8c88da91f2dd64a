"""Encoded items and users: integers, with counts from the train part only.

Index space of rows and of every feature: 0 is padding or missing, 1 is out of
vocabulary, 2 and up are values. Rows are ordered by whether the train part
has them, then whether validation has them, then by count and id; `num_known`
is 2 + the rows of the train part, the only ones with an embedding of their
own. Feature values come from those rows alone, the most frequent first.

On disk: `items.parquet` and `users.parquet` (rows 2 and up) and one
`vocabulary/<table>.<feature>.parquet` (value, count) a feature.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ibis import _

from models.config import FeatureSpec
from pipeline.tables.schema import PARTS, TRAIN, DataError, PrepareConfig

_SPLIT = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Table:
    """Encoded items or users.

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


def tokenize(text: str) -> list[str]:
    """Words of a text: lower-case runs of letters and digits."""
    return [word for word in _SPLIT.split(text.lower()) if word]


def count(table: ibis.Table, id_name: str) -> ibis.Table:
    """Interactions by part, and the first train time, of every id.

    Args:
        table: Interactions with `part`.
        id_name: "item_id" or "user_id".
    """
    return table.group_by(id_name).aggregate(
        **{
            f"count_{part}": (_.part == code).cast("int64").sum()
            for code, part in enumerate(PARTS)
        },
        first_seen=_.timestamp.min(where=_.part == TRAIN),
    )


def rows(
    counts: ibis.Table, table: ibis.Table | None, id_name: str
) -> ibis.Table:
    """Ids with their counts and raw features, in the order of their index.

    Args:
        counts: From `count`.
        table: Canonical items or users, None for none.
        id_name: "item_id" keeps rows of `table` without interactions, and
            leaves out items that neither it nor the train part knows;
            "user_id" keeps users with interactions.
    """
    if table is None:
        joined = counts
        if id_name == "item_id":
            joined = joined.filter(_.count_train > 0)
    elif id_name == "user_id":
        joined = counts.left_join(table, id_name)
    else:
        joined = table.mutate(listed=True).outer_join(counts, id_name)
        joined = joined.mutate(
            item_id=ibis.coalesce(joined.item_id, joined.item_id_right)
        )
        joined = joined.filter(
            joined.listed.fill_null(False)
            | (joined.count_train.fill_null(0) > 0)
        ).drop("listed")
    joined = joined.drop(
        *[name for name in joined.columns if name == f"{id_name}_right"]
    )
    joined = joined.mutate(
        **{f"count_{p}": joined[f"count_{p}"].fill_null(0) for p in PARTS},
        first_seen=joined.first_seen.fill_null(0),
    )
    # Validation counts order only the rows that train does not have, and test
    # counts must not show at all.
    late = (_.count_train == 0).cast("int64")
    return joined.order_by(
        ibis.desc(_.count_train),
        ibis.desc(_.count_validation * late),
        ibis.asc(joined[id_name]),
    )


def encode(
    table: pa.Table,
    kinds: Mapping[str, str],
    id_name: str,
    config: PrepareConfig,
) -> tuple[Table, dict[str, list[tuple[str, int]]]]:
    """Turns raw features into integers and normalised numbers.

    Args:
        table: Rows in the order of their index, from `rows`.
        kinds: Kind of each feature column.
        id_name: "item_id" or "user_id".
        config: Limits of vocabulary and width.

    Returns:
        The encoded table, and each feature's values with their counts.
    """
    counts = np.stack(
        [_padded(_numbers(table[f"count_{part}"], np.int64)) for part in PARTS]
    )
    num_known = 2 + int((counts[TRAIN, 2:] > 0).sum())
    features: dict[str, np.ndarray] = {}
    specs: list[FeatureSpec] = []
    vocabularies: dict[str, list[tuple[str, int]]] = {}
    for name, kind in kinds.items():
        column = table[name].combine_chunks()
        if kind == "numeric":
            numbers = _numbers(column, np.float64)
            mean, std = moments(numbers[: num_known - 2])
            features[name] = _padded(normalise(numbers, mean, std))
            specs.append(FeatureSpec(name, "numeric", 0, 1, mean, std))
            continue
        cells = _cells(column, kind)
        known = Counter(
            chain.from_iterable(
                dict.fromkeys(c) for c in cells[: num_known - 2]
            )
        )
        ranked = rank(known, config.max_vocabulary)
        vocabularies[name] = ranked
        index = {value: 2 + i for i, (value, _n) in enumerate(ranked)}
        limit = {
            "categorical": 1,
            "multi_categorical": config.max_values,
            "text": config.max_tokens,
        }[kind]
        longest = max((len(cell) for cell in cells), default=1)
        width = max(1, min(limit, longest))
        encoded = np.zeros((len(cells) + 2, width), np.int32)
        for row, cell in enumerate(cells, start=2):
            values = [index.get(value, 1) for value in cell[:width]]
            encoded[row, : len(values)] = values
        features[name] = encoded[:, 0] if kind == "categorical" else encoded
        specs.append(
            FeatureSpec(name, kind, 2 + len(ranked), width)  # type: ignore[arg-type]
        )
    titles = (
        _text(table["title_shown"])
        if "title_shown" in table.column_names
        else np.full(len(table) + 2, "", object)
    )
    return Table(
        ids=_text(table[id_name]),
        features=features,
        specs=tuple(specs),
        counts=counts,
        num_known=num_known,
        titles=titles,
        first_seen=_padded(_numbers(table["first_seen"], np.int64)),
    ), vocabularies


def rank(counts: Mapping[str, int], limit: int) -> list[tuple[str, int]]:
    """The most frequent values first, then by value."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]


def moments(numbers: np.ndarray) -> tuple[float, float]:
    """Mean and deviation of the numbers that are there; never 0."""
    there = numbers[~np.isnan(numbers)]
    if not there.size:
        return 0.0, 1.0
    std = float(there.std())
    return float(there.mean()), std if std > 1e-9 else 1.0


def normalise(numbers: np.ndarray, mean: float, std: float) -> np.ndarray:
    """Normalised float32, 0 where missing."""
    return np.nan_to_num((numbers - mean) / std, nan=0.0).astype(np.float32)


def _cells(column: pa.Array, kind: str) -> list[list[str]]:
    values = column.to_pylist()
    if kind == "categorical":
        return [[] if value is None else [value] for value in values]
    if kind == "text":
        return [tokenize(value or "") for value in values]
    return [
        [v.strip() for v in value or () if v and v.strip()] for value in values
    ]


def _numbers(column: Any, dtype: Any) -> np.ndarray:
    return column.to_numpy(zero_copy_only=False).astype(dtype)


def _padded(values: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(2, values.dtype), values])


def _text(column: pa.ChunkedArray) -> np.ndarray:
    values = pc.fill_null(column, "").to_pylist()
    return np.array(["", "", *values], object)


def write(path: Path, table: Table) -> None:
    """Writes rows 2 and up of an encoded table."""
    columns: dict[str, Any] = {
        "id": pa.array(table.ids[2:], pa.string()),
        "title": pa.array(table.titles[2:], pa.string()),
        "first_seen": pa.array(table.first_seen[2:]),
    }
    for code, part in enumerate(PARTS):
        columns[f"count_{part}"] = pa.array(table.counts[code, 2:])
    for name, values in table.features.items():
        if values.ndim == 1:
            columns[f"feature_{name}"] = pa.array(values[2:])
        else:
            columns[f"feature_{name}"] = pa.FixedSizeListArray.from_arrays(
                pa.array(values[2:].reshape(-1)), values.shape[1]
            )
    pq.write_table(pa.table(columns), path, compression="zstd")


def read(path: Path, specs: tuple[FeatureSpec, ...]) -> Table:
    """Reads what `write` wrote.

    Args:
        path: Of the Parquet file.
        specs: Of its features.
    """
    table = pq.read_table(path)
    features = {}
    for spec in specs:
        column = table[f"feature_{spec.name}"].combine_chunks()
        if pa.types.is_fixed_size_list(column.type):
            width = column.type.list_size
            values = column.flatten().to_numpy().reshape(-1, width)
            features[spec.name] = np.concatenate(
                [np.zeros((2, width), values.dtype), values]
            )
        else:
            features[spec.name] = _padded(column.to_numpy())
    counts = np.stack(
        [_padded(_numbers(table[f"count_{part}"], np.int64)) for part in PARTS]
    )
    return Table(
        ids=_text(table["id"]),
        features=features,
        specs=specs,
        counts=counts,
        num_known=2 + int((counts[TRAIN, 2:] > 0).sum()),
        titles=_text(table["title"]),
        first_seen=_padded(_numbers(table["first_seen"], np.int64)),
    )


def check_known(table: Table, vocabularies: Mapping[str, list[str]]) -> None:
    """Checks that nothing but the train part made indices and vocabularies.

    Raises:
        DataError: If a row or a value got an index without the train part.
    """
    known = table.counts[TRAIN] > 0
    if not known[2 : table.num_known].all() or known[table.num_known :].any():
        raise DataError(
            "Only rows with train interactions may have an index below "
            f"`num_known`. Received: num_known = {table.num_known} with "
            f"{int(known.sum())} such rows (a leak in the prepared tables). "
            "Please report it with the config."
        )
    for spec in table.specs:
        if spec.name not in vocabularies:
            continue
        used = np.unique(table.features[spec.name][: table.num_known])
        indices = set(range(2, 2 + len(vocabularies[spec.name])))
        # Values beyond `width` are cut off, so only whole cells can tell.
        if spec.kind == "categorical" and not indices <= set(used.tolist()):
            raise DataError(
                f"Every value of `{spec.name}` must occur in the train part. "
                f"Received: {len(indices - set(used.tolist()))} that do not "
                "(a leak in the prepared tables). Please report it with the "
                "config."
            )


def iterate_text(paths: Mapping[str, Path]) -> Iterator[tuple[str, list[str]]]:
    """Reads vocabularies back, in the order of their index."""
    for name, path in paths.items():
        yield name, pq.read_table(path, columns=["value"])["value"].to_pylist()
