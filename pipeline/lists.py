"""Lists that the ranking model learns from: a target among its competitors.

Candidates are what the retrieval model finds at that moment, because that is
what ranking will be given, plus random items. Time-honest: the retrieval
model and the item tables behind a list never saw the list's target.

Shape letters: Q lists, K retrieved, C candidates of a list, L history, S
signals.
"""

from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from models.retrieval import RetrievalModel
from models.signals import Signals
from models.towers import FIRST_ITEM
from pipeline import batches, metrics
from pipeline.metrics import Ragged
from pipeline.prepare import Prepared

_BLOCK = 256


@dataclass(frozen=True)
class Requests:
    """What a ranking model is told, without the candidates.

    Attributes:
        history: int32 `[Q, L]`.
        user_index: int32 `[Q]`.
        user_features: Encoded columns `[Q, ...]`.
        context: Encoded columns `[Q]`.
        seen: Items that may not be candidates.
    """

    history: np.ndarray
    user_index: np.ndarray
    user_features: dict[str, np.ndarray]
    context: dict[str, np.ndarray]
    seen: Ragged

    def __len__(self) -> int:
        """Number of requests."""
        return len(self.user_index)

    def slice(self, rows: slice | np.ndarray) -> tuple:
        """Arguments of a ranking model for some of the requests."""
        return (
            self.history[rows],
            self.user_index[rows],
            {name: value[rows] for name, value in self.user_features.items()},
            {name: value[rows] for name, value in self.context.items()},
        )


@dataclass(frozen=True)
class Lists:
    """Requests with candidates and what is known of them.

    Attributes:
        requests: Q of them.
        candidates: int32 `[Q, C]`; in training the target stands first.
        scores: Retrieval scores `[Q, C]`.
        signals: float16 `[Q, C, S]`.
    """

    requests: Requests
    candidates: np.ndarray
    scores: np.ndarray
    signals: np.ndarray


def requests(
    prepared: Prepared,
    rows: np.ndarray,
    events: np.ndarray,
    seen: Ragged,
    length: int,
) -> Requests:
    """Requests of users (sequences rows `[Q]`) at their events `[Q]`.

    Args:
        prepared: The prepared tables.
        rows: Whose requests.
        events: Whose context the requests carry.
        seen: The histories.
        length: Items of a history that are passed on, L.
    """
    sequences = prepared.sequences()
    return Requests(
        seen.last(length),
        (rows + batches.FIRST_USER).astype(np.int32),
        batches.user_features(prepared.users, rows),
        {
            spec.name: sequences.context[spec.name][events]
            for spec in prepared.context_specs
        },
        seen,
    )


def retrieve(
    model: RetrievalModel, asked: Requests, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Exact retrieval: scores and items `[Q, K]`, without what was seen."""
    vectors = model.candidate_embeddings()
    k = min(k, len(vectors) - FIRST_ITEM)

    @tf.function(reduce_retracing=True)
    def ask(history, user, features, context):  # type: ignore
        return model.query_tower(history, user, features, context)

    found = [(np.zeros((0, k), np.float32), np.zeros((0, k), np.int32))]
    for start in range(0, len(asked), _BLOCK):
        rows = slice(start, start + _BLOCK)
        queries = ask(*_tensors(asked.slice(rows))).numpy()
        scores = queries @ vectors.T
        block = asked.seen.take(np.arange(len(asked))[rows])
        scores[:, :FIRST_ITEM] = -np.inf
        scores[block.row_of_item, block.items] = -np.inf
        found.append(metrics.top_k(scores, k))
    return (
        np.concatenate([scores for scores, _ in found]),
        np.concatenate([items for _, items in found]),
    )


def compose(
    retrieved: np.ndarray,
    targets: np.ndarray,
    seen: Ragged,
    size: int,
    num_random: int,
    num_items: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Training lists: the target, the hardest retrieved, some random items.

    Half of the retrieved ones are the best of the list, the rest drawn from
    what follows. An item that was seen or stands in the list already is
    replaced by padding.

    Returns:
        int32 `[Q, size]`, the target first.
    """
    num_hard = min(size - 1 - num_random, retrieved.shape[1])
    num_best = min((num_hard + 1) // 2, retrieved.shape[1])
    chance = rng.random(retrieved.shape)
    # The best keep their places in front, the others are drawn.
    chance[:, :num_best] = -1.0
    order = np.argsort(chance, axis=1)[:, :num_hard]
    hard = np.take_along_axis(retrieved, order, axis=1)
    drawn = rng.integers(
        FIRST_ITEM, max(num_items, FIRST_ITEM + 1), (len(targets), num_random)
    )
    lists = np.concatenate([targets[:, None], hard, drawn], axis=1).astype(
        np.int32
    )
    position = np.arange(lists.shape[1])
    order = np.lexsort((np.broadcast_to(position, lists.shape), lists), axis=1)
    ordered = np.take_along_axis(lists, order, axis=1)
    repeated = np.zeros(lists.shape, bool)
    np.put_along_axis(
        repeated,
        order,
        np.concatenate(
            [
                np.zeros((len(lists), 1), bool),
                ordered[:, 1:] == ordered[:, :-1],
            ],
            axis=1,
        ),
        axis=1,
    )
    hidden = metrics.find_hits(lists, seen)
    hidden[:, 0] = False
    return np.where(repeated | hidden, 0, lists)


def describe(
    signals: Signals, asked: Requests, candidates: np.ndarray
) -> Lists:
    """Computes retrieval scores and signals once, for all epochs."""

    @tf.function(reduce_retracing=True)
    def compute(history, user, features, context, items):  # type: ignore
        return signals(history, user, features, context, items)

    scores = np.zeros(candidates.shape, np.float32)
    values: np.ndarray | None = None
    for start in range(0, len(asked), _BLOCK):
        rows = slice(start, start + _BLOCK)
        found, extra = compute(
            *_tensors(asked.slice(rows)), tf.constant(candidates[rows])
        )
        if values is None:
            shape = (*candidates.shape, extra.shape[-1])
            values = np.zeros(shape, np.float16)
        scores[rows] = found.numpy()
        values[rows] = extra.numpy()
    if values is None:
        values = np.zeros((*candidates.shape, 0), np.float16)
    return Lists(asked, candidates, scores, values)


def select(lists: Lists, rows: np.ndarray) -> Lists:
    """Some of the lists."""
    asked = lists.requests
    history, user, features, context = asked.slice(rows)
    return replace(
        lists,
        requests=Requests(
            history, user, features, context, asked.seen.take(rows)
        ),
        candidates=lists.candidates[rows],
        scores=lists.scores[rows],
        signals=lists.signals[rows],
    )


def _tensors(values: tuple) -> tuple:
    return tf.nest.map_structure(tf.constant, values)
