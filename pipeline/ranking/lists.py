"""Lists that the ranking model learns from: a target among its competitors.

Candidates are what the retrieval model finds at that moment, because that is
what ranking will be given, plus random items. Time-honest: the retrieval
model and the item tables behind a list never saw the list's target.

Shape letters: Q lists, K retrieved, C candidates of a list, L history, S
signals.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from models.config import FIRST_ITEM
from models.query import Query
from models.retrieval import RetrievalModel
from models.signals import Signals
from pipeline.measure import metrics, search
from pipeline.tables.ragged import Ragged

BLOCK = 256


@dataclass(frozen=True)
class Lists:
    """Requests with candidates and what is known of them.

    Attributes:
        inputs: Q requests.
        candidates: int32 `[Q, C]`; in training the target stands first.
        scores: Retrieval scores `[Q, C]`.
        signals: float16 `[Q, C, S]`.
        offsets: Added to scores in the loss `[Q, C]`.
    """

    inputs: Query
    candidates: np.ndarray
    scores: np.ndarray
    signals: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        """Number of lists."""
        return len(self.candidates)


def by_blocks(call: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles what is asked block by block.

    Args:
        call: Takes a `Query` of tensors and of whatever is given beside.

    Returns:
        Asks for some rows, at most `BLOCK`, of inputs and other arrays.
    """
    graph = tf.function(call, autograph=False, reduce_retracing=True)

    def ask(rows: np.ndarray, inputs: Query, *beside: np.ndarray) -> Any:
        # A graph is traced for each shape it meets: one shape, one trace.
        padded = np.resize(rows, BLOCK)
        given = (inputs.take(padded), *(values[padded] for values in beside))
        return tf.nest.map_structure(
            lambda found: found.numpy()[: len(rows)],
            graph(*tf.nest.map_structure(tf.constant, given)),
        )

    return ask


def retrieve(
    model: RetrievalModel, inputs: Query, hidden: Ragged, k: int
) -> search.Answer:
    """Exact retrieval: scores and items `[Q, K]`, without what is hidden."""
    vectors = model.candidate_embeddings()
    table = tf.constant(vectors)
    ask = by_blocks(lambda query: model.query_tower(*query, vectors=table))
    queries = np.zeros((len(hidden), vectors.shape[1]), vectors.dtype)
    for rows in search.blocks(len(hidden), BLOCK):
        queries[rows] = ask(rows, inputs)
    return search.find(
        lambda rows: queries[rows] @ vectors.T,
        min(k, len(vectors) - FIRST_ITEM),
        hidden,
        search.rows_at_once(len(vectors), BLOCK),
    )


def compose(
    retrieved: np.ndarray,
    targets: np.ndarray,
    seen: Ragged,
    size: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Training lists: the target and, of what was retrieved, a part.

    The best half of the list is kept and the other half drawn from the rest.
    What is drawn stands for all that it was drawn from, so each candidate has
    an offset, the log of how many it stands for, to be added to its score:
    then the loss is that of all that was retrieved, and low-ranked targets,
    which always are in their list, do not teach that low ranks are good.

    Args:
        retrieved: int32 `[Q, K]`, best first.
        targets: int32 `[Q]`, each among those.
        seen: Never candidates.
        size: C.

    Returns:
        Candidates int32 `[Q, C]`, the target first, 0 where an item was seen
        or stands in the list already, and offsets float32 `[Q, C]`.
    """
    num_retrieved = retrieved.shape[1]
    num_kept = min(size - 1, num_retrieved)
    num_best = num_kept if num_kept == num_retrieved else num_kept // 2
    chance = rng.random(retrieved.shape)
    # The best keep their places in front, the others are drawn.
    chance[:, :num_best] = -1.0
    order = np.argsort(chance, axis=1, kind="stable")[:, :num_kept]
    kept = np.take_along_axis(retrieved, order, axis=1)
    lists = np.concatenate([targets[:, None], kept], axis=1)
    place = (retrieved == targets[:, None]).argmax(axis=1)
    places = np.concatenate([place[:, None], order], axis=1)
    drawn = num_kept - num_best
    stands_for = np.log((num_retrieved - num_best) / drawn) if drawn else 0.0
    offsets = np.where(places < num_best, 0.0, stands_for).astype(np.float32)
    hidden = metrics.find_hits(lists, seen) | _repeated(lists)
    hidden[:, 0] = False
    return np.where(hidden, 0, lists).astype(np.int32), offsets


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
    inputs: Query,
    candidates: np.ndarray,
    offsets: np.ndarray | None = None,
) -> Lists:
    """Computes retrieval scores and signals once, for all epochs."""
    ask = by_blocks(lambda *given: signals(*given))
    scores, values = np.zeros(candidates.shape, np.float32), []
    for rows in search.blocks(len(candidates), BLOCK):
        scores[rows], found = ask(rows, inputs, candidates)
        values.append(found.astype(np.float16))
    if not values:
        values = [np.zeros((*candidates.shape, 0), np.float16)]
    if offsets is None:
        offsets = np.zeros(candidates.shape, np.float32)
    return Lists(inputs, candidates, scores, np.concatenate(values), offsets)
