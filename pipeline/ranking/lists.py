"""Lists that the ranking model learns from: a target among its competitors.

Candidates are what the retrieval model finds at that moment, because that is
what ranking will be given, plus random items. Time-honest: the retrieval
model and the item tables behind a list never saw the list's target.

Shape letters: Q lists, K retrieved, C candidates of a list, L history, S
signals.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from models.retrieval import RetrievalModel
from models.signals import Signals
from pipeline.measure import metrics, queries
from pipeline.measure.metrics import Ragged
from pipeline.retrieval import batches
from pipeline.tables.prepared import Prepared

_FIRST_ITEM = 2
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

    def take(self, chosen: np.ndarray) -> "Requests":
        """The requests where `chosen` (bool `[Q]`) is true."""
        rows = np.flatnonzero(chosen)
        history, user, features, context = self.slice(rows)
        return Requests(history, user, features, context, self.seen.take(rows))

    def slice(
        self, rows: slice | np.ndarray
    ) -> tuple[
        np.ndarray, np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]
    ]:
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
        offsets: Added to scores in the loss `[Q, C]`.
    """

    requests: Requests
    candidates: np.ndarray
    scores: np.ndarray
    signals: np.ndarray
    offsets: np.ndarray


def requests(
    prepared: Prepared,
    rows: np.ndarray,
    events: np.ndarray,
    histories: Ragged,
    length: int,
) -> Requests:
    """Requests of users (sequences rows `[Q]`) at their events `[Q]`.

    Args:
        prepared: The prepared tables.
        rows: Whose requests.
        events: Whose context the requests carry.
        histories: What each user had before.
        length: Items of a history that are passed on, L.
    """
    sequences = prepared.sequences()
    return Requests(
        histories.last(length),
        (rows + batches.FIRST_USER).astype(np.int32),
        batches.user_features(prepared.users, rows),
        {
            spec.name: sequences.context[spec.name][events]
            for spec in prepared.context_specs
        },
        queries.hidden(prepared, histories),
    )


def retrieve(
    model: RetrievalModel, asked: Requests, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Exact retrieval: scores and items `[Q, K]`, without what is hidden."""
    vectors = model.candidate_embeddings()
    table = tf.constant(vectors)
    k = min(k, len(vectors) - _FIRST_ITEM)

    @tf.function(reduce_retracing=True)
    def ask(history, user, features, context):  # type: ignore
        return model.query_tower(
            history, user, features, context, vectors=table
        )

    found = [(np.zeros((0, k), np.float32), np.zeros((0, k), np.int32))]
    for rows, padded in _blocks(len(asked)):
        asking = ask(*_tensors(asked.slice(padded))).numpy()[: len(rows)]
        scores = asking @ vectors.T
        block = asked.seen.take(rows)
        scores[:, :_FIRST_ITEM] = -np.inf
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
) -> tuple[np.ndarray, np.ndarray]:
    """Training lists: the target, the hardest retrieved, some random items.

    Of what was retrieved the best half of the list is kept and the other half
    drawn from the rest; `num_random` more are drawn from the whole catalogue.
    What is drawn stands for all that it was drawn from, so each candidate has
    an offset, the log of how many it stands for, to be added to its score:
    then the loss is that of the whole catalogue, and low-ranked targets,
    which always are in their list, do not teach that low ranks are good.

    Args:
        retrieved: int32 `[Q, K]`, best first.
        targets: int32 `[Q]`.
        seen: Never candidates.
        size: C.
        num_random: Of C, drawn from the catalogue.
        num_items: N.
        rng: Source of the draws.

    Returns:
        Candidates int32 `[Q, C]`, the target first, 0 where an item was seen
        or stands in the list already, and offsets float32 `[Q, C]`.
    """
    num_retrieved = retrieved.shape[1]
    num_kept = min(size - 1 - num_random, num_retrieved)
    num_best = num_kept if num_kept == num_retrieved else num_kept // 2
    chance = rng.random(retrieved.shape)
    # The best keep their places in front, the others are drawn.
    chance[:, :num_best] = -1.0
    order = np.argsort(chance, axis=1, kind="stable")[:, :num_kept]
    kept = np.take_along_axis(retrieved, order, axis=1)
    drawn = rng.integers(_FIRST_ITEM, num_items, (len(targets), num_random))
    lists = np.concatenate([targets[:, None], kept, drawn], axis=1)
    stands_for = _log_ratio(num_retrieved - num_best, num_kept - num_best)
    outside = _log_ratio(num_items - num_retrieved, num_random)
    offsets = np.full(lists.shape, outside, np.float32)
    offsets[:, 1 : 1 + num_kept] = np.where(order < num_best, 0.0, stands_for)
    is_target = retrieved == targets[:, None]
    place = is_target.argmax(axis=1)
    offsets[:, 0] = np.where(
        ~is_target.any(axis=1),
        outside,
        np.where(place < num_best, 0.0, stands_for),
    )
    hidden = metrics.find_hits(lists, seen) | _repeated(lists)
    # A random item that was retrieved is represented there.
    hidden[:, 1 + num_kept :] |= metrics.find_hits(
        drawn.astype(np.int32), Ragged.unpadded(retrieved)
    )
    hidden[:, 0] = False
    return np.where(hidden, 0, lists).astype(np.int32), offsets


def _log_ratio(all_of: int, drawn: int) -> float:
    return float(np.log(max(all_of, 1) / drawn)) if drawn else 0.0


def _repeated(lists: np.ndarray) -> np.ndarray:
    """Whether an item stands further in front too, bool `[Q, C]`."""
    order = np.argsort(lists, axis=1, kind="stable")
    ordered = np.take_along_axis(lists, order, axis=1)
    repeated = np.zeros(lists.shape, bool)
    np.put_along_axis(
        repeated,
        order[:, 1:],
        ordered[:, 1:] == ordered[:, :-1],
        axis=1,
    )
    return repeated


def describe(
    signals: Signals,
    asked: Requests,
    candidates: np.ndarray,
    offsets: np.ndarray | None = None,
) -> Lists:
    """Computes retrieval scores and signals once, for all epochs."""

    @tf.function(reduce_retracing=True)
    def compute(history, user, features, context, items):  # type: ignore
        return signals(history, user, features, context, items)

    scores = np.zeros(candidates.shape, np.float32)
    values: np.ndarray | None = None
    for rows, padded in _blocks(len(asked)):
        found, extra = compute(
            *_tensors(asked.slice(padded)), tf.constant(candidates[padded])
        )
        if values is None:
            shape = (*candidates.shape, extra.shape[-1])
            values = np.zeros(shape, np.float16)
        scores[rows] = found.numpy()[: len(rows)]
        values[rows] = extra.numpy()[: len(rows)]
    if values is None:
        values = np.zeros((*candidates.shape, 0), np.float16)
    if offsets is None:
        offsets = np.zeros(candidates.shape, np.float32)
    return Lists(asked, candidates, scores, values, offsets)


def _blocks(count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of each block, alone and filled up to the size of a full one.

    A graph is traced for each shape it meets: one shape, one trace.
    """
    for start in range(0, count, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, count))
        yield rows, np.resize(rows, _BLOCK)


def _tensors(values: tuple) -> tuple:
    return tf.nest.map_structure(tf.constant, values)
