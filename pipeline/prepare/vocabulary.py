"""Encoded items and users: integers, with counts from the train part only.

Index space of rows and of every feature: 0 is padding or missing, 1 is out of
vocabulary, 2 and up are values. Rows are ordered by whether the train part
has them, then whether validation has them, then by count and id; `num_known`
is 2 + the rows of the train part, the only ones with an embedding of their
own. Feature values come from those rows alone, the most frequent first.
"""

import re
from collections import Counter
from collections.abc import Mapping
from itertools import chain

import ibis
import numpy as np
import pyarrow as pa
from ibis import _

from models.config import FeatureSpec
from pipeline.tables.prepared import Table
from pipeline.tables.schema import PARTS, TRAIN, DataError, PrepareConfig

_SPLIT = re.compile(r"[\W_]+")


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
    num_known = int((table["count_train"].to_numpy() > 0).sum())
    features: dict[str, np.ndarray] = {}
    specs: list[FeatureSpec] = []
    vocabularies: dict[str, list[tuple[str, int]]] = {}
    for name, kind in kinds.items():
        column = table[name].combine_chunks()
        if kind == "numeric":
            numbers = column.to_numpy(zero_copy_only=False)
            numbers = numbers.astype(np.float64)
            mean, std = moments(numbers[:num_known])
            features[name] = normalise(numbers, mean, std)
            specs.append(FeatureSpec(name, "numeric", 0, 1, mean, std))
            continue
        cells = _cells(column, kind)
        known = Counter(
            chain.from_iterable(dict.fromkeys(c) for c in cells[:num_known])
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
        indices = np.zeros((len(cells), width), np.int32)
        for row, cell in enumerate(cells):
            values = [index.get(value, 1) for value in cell[:width]]
            indices[row, : len(values)] = values
        features[name] = indices[:, 0] if kind == "categorical" else indices
        specs.append(
            FeatureSpec(name, kind, 2 + len(ranked), width)  # type: ignore[arg-type]
        )
    encoded = Table.of(
        table, features, tuple(specs), id_name, title="title_shown"
    )
    return encoded, vocabularies


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
