"""Asks exported SavedModels, as a client would: ids in, ids out.

What is evaluated is what ships. Requests are built from the prepared tables
(history as ids, encoded features turned back into raw values), answers are
turned into item indices so that every model is measured by the same code.

Shape letters: B queries of a block, Q queries, K candidates.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from models.config import FeatureSpec
from models.index import FIRST_ITEM, MASKED_SCORE
from pipeline.measure.metrics import Ragged
from pipeline.measure.queries import Queries
from pipeline.tables.prepared import Prepared
from pipeline.tables.sequences import Sequences
from serving import signatures

_BLOCK = 256
_OTHER = "\x00 not in the vocabulary"


class Artefacts:
    """The models of one bundle.

    Args:
        directories: SavedModel directory by model name.
        prepared: Tables that requests are built from.
        sequences: The interactions.
    """

    def __init__(
        self,
        directories: Mapping[str, Path],
        prepared: Prepared,
        sequences: Sequences,
    ) -> None:
        # A ScaNN model loads only where its ops are registered.
        with contextlib.suppress(ImportError):
            from scann.scann_ops.py import scann_ops  # noqa: F401
        self._models = {
            name: tf.saved_model.load(str(directory))
            for name, directory in directories.items()
        }
        self._prepared = prepared
        self._sequences = sequences
        self._ids = np.array(
            [str(value).encode() for value in prepared.items.ids], object
        )
        self._index = {
            value: index
            for index, value in enumerate(self._ids)
            if index >= FIRST_ITEM
        }

    @property
    def has_ratings(self) -> bool:
        """Whether the ranking model predicts ratings."""
        score = self._function(signatures.RANKING, signatures.SCORE)
        return "predicted_rating" in score.structured_outputs

    def retrieve(
        self, queries: Queries, model: str = signatures.RETRIEVAL
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores and item indices `[Q, K]` of the first stage."""
        function = self._function(model, signatures.SERVING_DEFAULT)
        found = []
        for rows in _blocks(len(queries)):
            answer = function(**self._request(function, queries.take(rows)))
            found.append(
                (
                    answer["scores"].numpy(),
                    self._indices(answer["candidate_ids"].numpy()),
                )
            )
        return _join(found)

    def embed(self, queries: Queries) -> np.ndarray:
        """Query embeddings `[Q, D]`."""
        function = self._function(
            signatures.RETRIEVAL_EXACT, signatures.QUERY_EMBEDDING
        )
        return np.concatenate(
            [
                function(**self._request(function, queries.take(rows)))[
                    "embedding"
                ].numpy()
                for rows in _blocks(len(queries))
            ]
        )

    def rank(
        self, queries: Queries, candidates: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores and item indices `[Q, K]` of candidates in new order."""
        function = self._function(
            signatures.RANKING, signatures.SERVING_DEFAULT
        )
        found = []
        for rows in _blocks(len(queries)):
            answer = function(
                candidate_ids=tf.constant(self._names(candidates[rows])),
                **self._request(function, queries.take(rows)),
            )
            found.append(
                (
                    answer["scores"].numpy(),
                    self._indices(answer["candidate_ids"].numpy()),
                )
            )
        return _join(found)

    def recommend(
        self, queries: Queries, diversity: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores and item indices `[Q, N]` of the fused model."""
        function = self._function(
            signatures.RECOMMENDER, signatures.WITH_DIVERSITY
        )
        found = []
        for rows in _blocks(len(queries)):
            answer = function(
                excluded_ids=tf.fill([len(rows), 1], ""),
                diversity=tf.fill([len(rows)], diversity),
                **self._request(function, queries.take(rows)),
            )
            found.append(
                (
                    answer["scores"].numpy(),
                    self._indices(answer["item_ids"].numpy()),
                )
            )
        return _join(found)

    def rate(self, queries: Queries, candidates: np.ndarray) -> np.ndarray:
        """Predicted ratings `[Q, C]` of candidates, 0 pads."""
        function = self._function(signatures.RANKING, signatures.SCORE)
        return np.concatenate(
            [
                function(
                    candidate_ids=tf.constant(self._names(candidates[rows])),
                    **self._request(function, queries.take(rows)),
                )["predicted_rating"].numpy()
                for rows in _blocks(len(queries))
            ]
        )

    def _function(self, model: str, signature: str) -> Any:
        return self._models[model].signatures[signature]

    def _request(self, function: Any, queries: Queries) -> dict[str, Any]:
        """Query inputs of a signature, features by their prefixed names."""
        _, specs = function.structured_input_signature
        users = self._prepared.users
        width = max(1, int(queries.histories.lengths.max(initial=0)))
        inputs = {
            "user_id": tf.constant(
                [
                    str(value).encode()
                    for value in self._sequences.user_ids[queries.rows]
                ]
            ),
            "history": tf.constant(self._names(queries.histories.last(width))),
        }
        for spec in users.specs:
            values = users.features[spec.name][queries.rows + FIRST_ITEM]
            inputs[f"user_{spec.name}"] = self._raw(spec, values, "users")
        for spec in self._prepared.context_specs:
            values = self._sequences.context[spec.name][queries.events]
            inputs[f"context_{spec.name}"] = self._raw(spec, values, "context")
        return {name: value for name, value in inputs.items() if name in specs}

    def _raw(
        self, spec: FeatureSpec, values: np.ndarray, table: str
    ) -> tf.Tensor:
        """Encoded values back to what a caller would send."""
        if spec.kind == "numeric":
            return tf.constant(values * spec.std + spec.mean, dtype=tf.float32)
        words = self._prepared.vocabularies[f"{table}.{spec.name}"]
        names = np.array(["", _OTHER, *words], object)[values]
        if spec.kind == "text":
            names = np.array([" ".join(row).strip() for row in names], object)
        return tf.constant(names)

    def _names(self, items: np.ndarray) -> np.ndarray:
        """Ids of indices; what is unknown here is unknown to the model."""
        names = self._ids[items]
        names[items == 1] = _OTHER.encode()
        return names

    def _indices(self, ids: np.ndarray) -> np.ndarray:
        """Indices of ids; 0 for "" and ids this catalogue lacks."""
        flat = [self._index.get(value, 0) for value in ids.ravel()]
        return np.array(flat, np.int32).reshape(ids.shape)


def search(
    queries: np.ndarray, embeddings: np.ndarray, k: int, hidden: Ragged | None
) -> tuple[np.ndarray, np.ndarray]:
    """Exact search: scores and items `[Q, k]`, with or without what was seen.

    Args:
        queries: `[Q, D]`.
        embeddings: `[N, D]`.
        k: Items a query.
        hidden: Items never to return, one row a query; None hides nothing.
    """
    found = []
    for rows in _blocks(len(queries)):
        scores = queries[rows] @ embeddings.T
        scores[:, :FIRST_ITEM] = MASKED_SCORE
        if hidden is not None:
            block = hidden.take(rows)
            scores[block.row_of_item, block.items] = MASKED_SCORE
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        found.append((np.take_along_axis(scores, best, axis=1), best))
    return _join(found)


def _blocks(count: int) -> Iterator[np.ndarray]:
    for start in range(0, count, _BLOCK):
        yield np.arange(start, min(start + _BLOCK, count))


def _join(
    found: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    if not found:
        return np.zeros((0, 1), np.float32), np.zeros((0, 1), np.int32)
    return (
        np.concatenate([scores for scores, _ in found]),
        np.concatenate([items for _, items in found]),
    )
