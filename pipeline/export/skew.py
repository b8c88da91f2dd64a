"""Whether the exported graphs see what training saw, tensor by tensor.

Training reads encoded rows, a server gets texts and numbers. For a sample of
users and items the values of their rows go through the graphs' own lookups
and must come out as the rows were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.config import FIRST_ITEM, UNKNOWN
from pipeline.export.encode import FeatureLookup
from pipeline.export.graphs import QueryInputs
from pipeline.tables import sequences
from pipeline.tables.columns import FeatureColumn
from pipeline.tables.prepared import Prepared
from pipeline.tables.ragged import Ragged
from pipeline.tables.schema import DataError

_SAMPLE = 512
# Of numbers, which pass through float32 on their way.
_RELATIVE, _ABSOLUTE = 1e-4, 1e-5
# No id has a NUL in front.
_NOBODY = "\x00 nobody"


class _Tensor(NamedTuple):
    """One input of a model: its name, as trained on, as the graph has it."""

    name: str
    trained: np.ndarray
    served: np.ndarray

    @property
    def is_alike(self) -> bool:
        if self.trained.shape != self.served.shape:
            return False
        if self.trained.dtype.kind == "f":
            pair = self.served, self.trained
            return np.allclose(*pair, _RELATIVE, _ABSOLUTE)
        return bool((self.served == self.trained).all())


def check(
    prepared: Prepared,
    inputs: Mapping[str, QueryInputs],
    item_features: Mapping[str, FeatureLookup],
) -> list[str]:
    """Holds a sample of training rows against the graphs.

    Args:
        prepared: What was trained on.
        inputs: What encodes queries, by model.
        item_features: What encodes items.

    Returns:
        The tensors that were compared.

    Raises:
        DataError: If any differs; all are named.
    """
    found = [
        tensor._replace(name=f"{model} {tensor.name}")
        for model, encoder in inputs.items()
        for tensor in _queries(prepared, encoder)
    ]
    found += _items(prepared, item_features)
    wrong = [tensor.name for tensor in found if not tensor.is_alike]
    if wrong:
        raise DataError(
            "The exported graphs must see what training saw. Received: other "
            f"values in {', '.join(wrong)} (of {len(found)} tensors compared "
            f"on up to {_SAMPLE} rows). Are vocabularies of another run here? "
            "Run all steps again: FORCE=1."
        )
    return [tensor.name for tensor in found]


def _queries(prepared: Prepared, encoder: QueryInputs) -> Iterator[_Tensor]:
    """What encodes queries."""
    block = next(iter(sequences.iterate(prepared.directory)))
    rows = _sample(np.flatnonzero(np.diff(block.offsets)))
    users, latest = rows + FIRST_ITEM, block.offsets[rows + 1] - 1
    table = prepared.users
    histories = Ragged(block.offsets, block.item_indices).take(rows)
    history = histories.last(encoder.history_length)
    ids = prepared.items.ids.copy()
    ids[UNKNOWN] = _NOBODY
    trained: dict[str, np.ndarray] = {}
    raw = {"user_id": table.ids[users], "history": ids[history]}
    columns: dict[str, Mapping[str, FeatureColumn]] = {
        "user": prepared.columns("users"),
        "context": prepared.columns("context"),
    }
    for name, column in columns["user"].items():
        trained[f"user_{name}"] = table.features[name][users]
        raw[f"user_{name}"] = column.decode(trained[f"user_{name}"])
    for name, column in columns["context"].items():
        trained[f"context_{name}"] = block.context[name][latest]
        raw[f"context_{name}"] = column.decode(trained[f"context_{name}"])
    query = encoder.encode(
        {
            name: tf.constant(raw[name].tolist(), spec.dtype)
            for name, spec in encoder.signature().items()
        }
    ).query
    # As wide as the longest of these is.
    served = query.history.numpy()
    yield _Tensor("history", history[:, -served.shape[1] :], served)
    expected = np.where(users < table.num_known, users, UNKNOWN)
    if not encoder.knows_users:
        expected = np.full_like(users, UNKNOWN)
    yield _Tensor("user_id", expected, query.user_index.numpy())
    for kind, encoded in (
        ("user", query.user_features),
        ("context", query.context),
    ):
        for name, values in encoded.items():
            key = f"{kind}_{name}"
            yield _Tensor(key, trained[key], values.numpy())


def _items(
    prepared: Prepared, features: Mapping[str, FeatureLookup]
) -> Iterator[_Tensor]:
    """What encodes candidates."""
    rows = _sample(np.arange(FIRST_ITEM, len(prepared.items.ids)))
    columns = prepared.columns("items")
    for name, lookup in features.items():
        trained = prepared.items.features[name][rows]
        raw = columns[name].decode(trained).tolist()
        spec = lookup.signature(name)
        served = lookup(tf.constant(raw, spec.dtype)).numpy()
        yield _Tensor(f"candidate {name}", trained, served)


def _sample(rows: np.ndarray) -> np.ndarray:
    """Some of the rows, evenly spread."""
    places = np.linspace(0, len(rows) - 1, min(_SAMPLE, len(rows)))
    return rows[places.astype(int)]
