"""Asks exported SavedModels, as a client would: ids in, ids out.

What is evaluated is what ships. Requests are built from the prepared tables
(history as ids, encoded features turned back into raw values), answers are
turned into item indices so that every model is measured by the same code.

Shape letters: B queries of a block, Q queries, K candidates.
"""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from models.config import FIRST_ITEM
from pipeline.export import bundle as bundles
from pipeline.measure import search
from pipeline.measure.requests import Requests
from pipeline.measure.search import Answer
from pipeline.tables.prepared import Prepared
from serving import signatures

_BLOCK = 256
_OTHER = "\x00 not in the vocabulary"


class Artefacts:
    """The models of one bundle, each loaded when it is asked first.

    Where the fused model holds the others it alone is loaded, as in a server:
    a large catalogue is in memory once.

    Args:
        directories: SavedModel directory by model name.
    """

    def __init__(
        self, directories: Mapping[str, Path], prepared: Prepared
    ) -> None:
        # A ScaNN model loads only where its ops are registered.
        with contextlib.suppress(ImportError):
            from scann.scann_ops.py import scann_ops  # noqa: F401
        self._directories = dict(directories)
        self._loaded: dict[str, Any] = {}
        whole = directories.get(signatures.RECOMMENDER)
        facts = bundles.read_manifest(whole) if whole else {}
        self._held: Collection[str] = facts.get(signatures.HOLDS, ())
        self._prepared = prepared
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
        self, asked: Requests, model: str = signatures.RETRIEVAL
    ) -> Answer:
        """Scores and item indices `[Q, K]` of the first stage."""
        return self._lists(asked, model)

    def embed(self, asked: Requests) -> np.ndarray:
        """Query embeddings `[Q, D]`."""
        found = self._answers(
            asked, signatures.RETRIEVAL_EXACT, signatures.QUERY_EMBEDDING
        )
        return np.concatenate([answer["embedding"].numpy() for answer in found])

    def rank(self, asked: Requests, candidates: np.ndarray) -> Answer:
        """Scores and item indices `[Q, K]` of candidates in new order."""
        return self._lists(
            asked, signatures.RANKING, candidate_ids=self.names(candidates)
        )

    def recommend(self, asked: Requests, diversity: float) -> Answer:
        """Scores and item indices `[Q, N]` of the fused model."""
        return self._lists(
            asked,
            signatures.RECOMMENDER,
            signatures.WITH_DIVERSITY,
            excluded_ids=np.full((len(asked), 1), b"", object),
            diversity=np.full(len(asked), diversity, np.float32),
        )

    def rate(self, asked: Requests, candidates: np.ndarray) -> np.ndarray:
        """Predicted ratings `[Q, C]` of candidates, 0 pads."""
        found = self._answers(
            asked,
            signatures.RANKING,
            signatures.SCORE,
            candidate_ids=self.names(candidates),
        )
        return np.concatenate(
            [answer["predicted_rating"].numpy() for answer in found]
        )

    def _lists(
        self,
        asked: Requests,
        model: str,
        signature: str = signatures.SERVING_DEFAULT,
        **beside: np.ndarray,
    ) -> Answer:
        is_fused = model == signatures.RECOMMENDER
        ids = "item_ids" if is_fused else "candidate_ids"
        return search.join(
            [
                (answer["scores"].numpy(), self._indices(answer[ids].numpy()))
                for answer in self._answers(asked, model, signature, **beside)
            ]
        )

    def _answers(
        self, asked: Requests, model: str, signature: str, **beside: np.ndarray
    ) -> Iterator[dict[str, tf.Tensor]]:
        """Asks block by block, with other inputs `[Q, ...]` beside."""
        # Exact search scores all items for every row of a block.
        size = search.rows_at_once(len(self._ids), _BLOCK)
        for rows in search.blocks(len(asked), size):
            block = {name: values[rows] for name, values in beside.items()}
            yield self.call(asked.take(rows), model, signature, **block)()

    def call(
        self,
        asked: Requests,
        model: str,
        signature: str = signatures.SERVING_DEFAULT,
        **beside: np.ndarray,
    ) -> Callable[[], dict[str, tf.Tensor]]:
        """One call whose inputs are made, other inputs `[Q, ...]` beside."""
        function = self._function(model, signature)
        _, specs = function.structured_input_signature
        given = self.request(asked) | beside
        return functools.partial(
            function,
            **{
                name: tf.constant(given[name])
                if name in given
                else _missing(spec, len(asked))
                for name, spec in specs.items()
            },
        )

    def _function(self, model: str, signature: str) -> Any:
        if model in self._held:
            signature = signatures.part_of(model, signature)
            model = signatures.RECOMMENDER
        if model not in self._loaded:
            found = tf.saved_model.load(str(self._directories[model]))
            self._loaded[model] = found
        return self._loaded[model].signatures[signature]

    def request(self, asked: Requests) -> dict[str, Any]:
        """Query inputs, features by their prefixed names."""
        users, rows = self._prepared.users, asked.rows + FIRST_ITEM
        width = max(1, int(asked.histories.lengths.max(initial=0)))
        inputs = {
            "user_id": [str(value).encode() for value in users.ids[rows]],
            "history": self.names(asked.histories.last(width)),
        }
        for name, column in self._prepared.columns("users").items():
            inputs[f"user_{name}"] = column.decode(users.features[name][rows])
        for name, column in self._prepared.columns("context").items():
            inputs[f"context_{name}"] = column.decode(asked.context[name])
        return inputs

    def names(self, items: np.ndarray) -> np.ndarray:
        """Ids of indices; what is unknown here is unknown to the models."""
        names = self._ids[items]
        names[items == 1] = _OTHER.encode()
        return names

    def _indices(self, ids: np.ndarray) -> np.ndarray:
        """Indices of ids; 0 for "" and ids this catalogue lacks."""
        flat = [self._index.get(value, 0) for value in ids.ravel()]
        return np.array(flat, np.int32).reshape(ids.shape)


def _missing(spec: tf.TensorSpec, rows: int) -> tf.Tensor:
    """An input that nothing is known of, `[B]` or `[B, 1]`."""
    nothing = "" if spec.dtype == tf.string else np.nan
    return tf.fill([rows, *[1] * (spec.shape.rank - 1)], nothing)
