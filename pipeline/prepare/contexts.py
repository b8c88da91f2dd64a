"""Context columns: what describes the moment of an interaction.

Vocabularies and statistics come from train interactions; the columns
themselves are encoded while the sequences stream by.
"""

from collections.abc import Mapping

import ibis
from ibis import _

from models.config import FeatureSpec
from pipeline.prepare import vocabulary
from pipeline.prepare.engine import Engine
from pipeline.tables import columns
from pipeline.tables.columns import FeatureColumn
from pipeline.tables.prepared import Counted
from pipeline.tables.schema import TRAIN


def fit(
    engine: Engine,
    parted: ibis.Table,
    kinds: Mapping[str, str],
) -> tuple[dict[str, FeatureColumn], dict[str, Counted]]:
    """Finds vocabularies and statistics of the context columns.

    Args:
        engine: Computes them.
        parted: Interactions with `part`.
        kinds: Kind of each context column.

    Returns:
        The columns, and the values of those with a vocabulary.
    """
    train = parted.filter(_.part == TRAIN)
    found: dict[str, FeatureColumn] = {}
    values: dict[str, Counted] = {}
    for name, kind in kinds.items():
        if kind == "numeric":
            moments = engine.collect(
                train.aggregate(mean=_[name].mean(), std=_[name].std(how="pop"))
            ).to_pylist()[0]
            found[name] = columns.make(
                vocabulary.numeric(
                    name, moments["mean"] or 0.0, moments["std"] or 0.0
                )
            )
            continue
        counted = engine.collect(
            train.filter(_[name].notnull())
            .group_by(value=_[name])
            .aggregate(n=_.count())
        )
        values[name] = vocabulary.rank(
            {row["value"]: row["n"] for row in counted.to_pylist()}
        )
        found[name] = columns.make(
            FeatureSpec(name, "categorical", 2 + len(values[name])),
            [value for value, _count in values[name]],
        )
    return found, values
