"""Encoded context: what describes the moment of an interaction.

Vocabularies and statistics come from train interactions; the columns
themselves are encoded while the sequences stream by.
"""

from collections.abc import Mapping

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ibis import _

from models.config import FeatureSpec
from pipeline.prepare import vocabulary
from pipeline.prepare.engine import Engine
from pipeline.tables.schema import TRAIN, PrepareConfig

Values = dict[str, list[tuple[str, int]]]


def fit(
    engine: Engine,
    parted: ibis.Table,
    kinds: Mapping[str, str],
    options: PrepareConfig,
    values: Values,
) -> tuple[FeatureSpec, ...]:
    """Finds vocabularies and statistics of the context columns.

    Args:
        engine: Computes them.
        parted: Interactions with `part`.
        kinds: Kind of each context column.
        options: Limit of the vocabularies.
        values: Receives "context.<name>": values with counts.
    """
    specs = []
    for name, kind in kinds.items():
        train = parted.filter(_.part == TRAIN)
        if kind == "numeric":
            found = engine.collect(
                train.aggregate(mean=_[name].mean(), std=_[name].std(how="pop"))
            ).to_pylist()[0]
            std = found["std"] or 0.0
            specs.append(
                FeatureSpec(
                    name,
                    "numeric",
                    mean=found["mean"] or 0.0,
                    std=std if std > 1e-9 else 1.0,
                )
            )
        else:
            counted = engine.collect(
                train.filter(_[name].notnull())
                .group_by(value=_[name])
                .aggregate(n=_.count())
            )
            ranked = vocabulary.rank(
                dict(
                    zip(
                        counted["value"].to_pylist(),
                        counted["n"].to_pylist(),
                        strict=True,
                    )
                ),
                options.max_vocabulary,
            )
            values[f"context.{name}"] = ranked
            specs.append(FeatureSpec(name, "categorical", 2 + len(ranked)))
    return tuple(specs)


def encode(column: pa.Array, spec: FeatureSpec, values: Values) -> np.ndarray:
    """Encodes a block of a context column, `[num_rows]`.

    Args:
        column: As text or numbers.
        spec: From `fit`.
        values: From `fit`.
    """
    if spec.kind == "numeric":
        numbers = column.to_numpy(zero_copy_only=False).astype(np.float64)
        return vocabulary.normalise(numbers, spec.mean, spec.std)
    known = pa.array([v for v, _n in values[f"context.{spec.name}"]])
    index = pc.index_in(column, value_set=known.cast(pa.string()))
    index = pc.fill_null(pc.add(index, 2), 1)
    return np.where(
        column.is_null().to_numpy(zero_copy_only=False),
        0,
        index.to_numpy(zero_copy_only=False),
    ).astype(np.int32)
