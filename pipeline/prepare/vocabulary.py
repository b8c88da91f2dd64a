"""Encoded items, users and contexts; all is counted on the train part.

Index space of rows and of every feature: 0 is padding or missing, 1 is out of
vocabulary, 2 and up are values. Rows are ordered by whether the train part
has them, then whether validation has them, then by count and id; `num_known`
is 2 + the rows of the train part, the only ones with an embedding of their
own. Feature values come from those rows alone, the most frequent first.
"""

import math
from collections import Counter
from collections.abc import Mapping
from itertools import chain

import ibis
import numpy as np
import pyarrow as pa
from ibis import _

from models.config import FeatureSpec
from pipeline.prepare.engine import Engine
from pipeline.tables import columns
from pipeline.tables.columns import FeatureColumn
from pipeline.tables.prepared import Counted, Table
from pipeline.tables.schema import PARTS, TRAIN, DataError

# Values a feature keeps, the most frequent ones, and those that a cell keeps.
MAX_VOCABULARY = 50_000
MAX_WIDTHS = {"categorical": 1, "multi_categorical": 10, "text": 12}
# Twice the distance of float32 numbers around 1.
_FLOAT32 = 2.0**-22


def count(table: ibis.Table, id_name: str) -> ibis.Table:
    """Interactions by part, and the first train time, of every id."""
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

    Of the items all in `table`, the canonical one, or in the train part are
    kept; of the users all with interactions.
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
        is_known = joined.count_train.fill_null(0) > 0
        joined = joined.filter(joined.listed.fill_null(False) | is_known)
        joined = joined.drop("listed")
    if f"{id_name}_right" in joined.columns:
        joined = joined.drop(f"{id_name}_right")
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
    table: pa.Table, kinds: Mapping[str, str], id_name: str
) -> tuple[Table, dict[str, Counted]]:
    """Turns raw features into integers and normalised numbers.

    Args:
        table: Rows in the order of their index, from `rows`.
        kinds: Kind of each feature column.
        id_name: "item_id" or "user_id".

    Returns:
        The table, and the values of its features with a vocabulary.

    Raises:
        DataError: If a row or a value got an index without the train part.
    """
    num_known = int((table["count_train"].to_numpy() > 0).sum())
    features: dict[str, np.ndarray] = {}
    specs: list[FeatureSpec] = []
    values: dict[str, Counted] = {}
    for name, kind in kinds.items():
        raw = table[name].combine_chunks()
        known = raw[:num_known]
        if kind == "numeric":
            numbers = known.to_numpy(zero_copy_only=False).astype(np.float64)
            there = numbers[~np.isnan(numbers)]
            spec = numeric(
                name, *((there.mean(), there.std()) if there.size else (0, 0))
            )
        else:
            cells = columns.KINDS[kind].cells
            words = chain.from_iterable(map(dict.fromkeys, cells(known)))
            values[name] = rank(Counter(words))
            longest = max(map(len, cells(raw)), default=1)
            width = max(1, min(MAX_WIDTHS[kind], longest))
            size = 2 + len(values[name])
            spec = FeatureSpec(name, kind, size, width)  # type: ignore[arg-type]
        column = columns.make(spec, [v for v, _n in values.get(name, ())])
        features[name] = column.encode(raw)
        specs.append(spec)
    encoded = Table.of(table, features, tuple(specs), id_name, "title_shown")
    _check_known(encoded)
    return encoded, values


def fit_context(
    engine: Engine, parted: ibis.Table, kinds: Mapping[str, str]
) -> tuple[dict[str, FeatureColumn], dict[str, Counted]]:
    """Finds vocabularies and statistics of the context columns of a log.

    The columns themselves are encoded while the sequences stream by.

    Returns:
        The columns, and the values of those with a vocabulary.
    """
    train = parted.filter(_.part == TRAIN)
    found: dict[str, FeatureColumn] = {}
    values: dict[str, Counted] = {}
    for name, kind in kinds.items():
        if kind == "numeric":
            [moments] = engine.collect(
                train.aggregate(mean=_[name].mean(), std=_[name].std(how="pop"))
            ).to_pylist()
            spec = numeric(name, moments["mean"] or 0.0, moments["std"] or 0.0)
            found[name] = columns.make(spec)
            continue
        there = train.filter(_[name].notnull()).group_by(value=_[name])
        counted = engine.collect(there.aggregate(n=_.count())).to_pylist()
        values[name] = rank({row["value"]: row["n"] for row in counted})
        spec = FeatureSpec(name, "categorical", 2 + len(values[name]))
        found[name] = columns.make(spec, [v for v, _n in values[name]])
    return found, values


def numeric(name: str, mean: float, std: float) -> FeatureSpec:
    """The spec of a numeric column, whose deviation is never 0.

    Requests carry float32: what varies less than that can tell is a constant,
    and 0 whatever its size.

    Raises:
        DataError: If the values are too large to have a deviation.
    """
    if not math.isfinite(mean) or not math.isfinite(std):
        raise DataError(
            "A numeric feature must be of numbers that float32 can hold, below "
            f"3.4e38. Received: {name!r} with mean {mean:g} and deviation "
            f"{std:g}. Correct the column, or make it categorical."
        )
    is_constant = std <= max(1e-9, _FLOAT32 * abs(mean))
    std = float(max(1.0, abs(mean)) if is_constant else std)
    return FeatureSpec(name, "numeric", mean=float(mean), std=std)


def rank(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The most frequent values first, then by value."""
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ranked[:MAX_VOCABULARY]


def _check_known(table: Table) -> None:
    known = table.counts[TRAIN] > 0
    if not known[2 : table.num_known].all() or known[table.num_known :].any():
        raise DataError(
            "Only rows with train interactions may have an index below "
            f"`num_known`. Received: num_known = {table.num_known} with "
            f"{int(known.sum())} such rows (a leak in the prepared tables). "
            "Please report it with the config."
        )
    for spec in table.specs:
        # Values beyond `width` are cut off, so only whole cells can tell.
        if spec.kind == "categorical":
            used = np.unique(table.features[spec.name][: table.num_known])
            missing = spec.size - 2 - np.count_nonzero(used >= 2)
            if missing:
                raise DataError(
                    f"Every value of `{spec.name}` must occur in the train "
                    f"part. Received: {missing} that do not (a leak in the "
                    "prepared tables). Please report it with the config."
                )
