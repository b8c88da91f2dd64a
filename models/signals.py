"""What ranking knows about a candidate that retrieval does not.

Signals are numbers that need no training of their own: the retrieval score,
how often the candidate goes with the recent history, how popular it is and
becomes, how near it is to what the user took before. They are computed in the
graph from tables that travel with the model, so a request carries only ids.

All of them keep their meaning when the towers and tables are replaced by ones
fitted on more data. That is why ranking can learn from older towers and
tables, which never saw its targets, and serve with the newest.

Shape letters: B queries, C candidates, L history, N items with padding and
out of vocabulary, K of them up to the last with interactions, M neighbours, T
tables, D width of the towers, W of it what an item is like, S signals.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from models.config import FIRST_ITEM, PADDING, RankingConfig
from models.layers.ids import rows_of
from models.query import Query
from models.retrieval import RetrievalModel

# Age weighting of the history: newest item only, short and long memory.
DECAYS = (0.0, 0.7, 0.9)
# Most recent items that co-occurrence looks at.
_LENGTH = 30
# Of a candidate's own places in the history: the rhythm of taking it again is
# longer than that of what goes together.
_TAKEN_DECAYS = (1.0, 0.98, 0.9)
_RECENT = 5.0
_FAR = -1e4


@dataclass(frozen=True)
class ItemTables:
    """Counts and item-item weights, from interactions that may be counted.

    Attributes:
        offsets: int32 `[K + 1]`, of each item's first neighbour among them.
        neighbours: int32 `[E]`, items that go with an item, ascending.
        weights: float32 `[E, T]`, how strongly, by each table that was made.
        num_tables: How many tables there may be; the last are left empty.
        popularity: float32 `[N, P]`, logs of counts and of their decay.
    """

    offsets: np.ndarray
    neighbours: np.ndarray
    weights: np.ndarray
    popularity: np.ndarray
    num_tables: int


class Signals(tf.keras.layers.Layer):
    """Computes the signals of candidates.

    Args:
        repeats: Whether candidates may stand in the history, so that how
            often and how lately they do are signals, the last ones.
        vectors: What the towers make of the catalogue, where it is at hand.

    Attributes:
        num_taken: How many signals these are, 0 without `repeats`.
    """

    def __init__(
        self,
        config: RankingConfig,
        towers: RetrievalModel,
        tables: ItemTables,
        repeats: bool = False,
        vectors: tf.Variable | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(trainable=False, **kwargs)
        self.num_taken = len(_TAKEN_DECAYS) + 1 if repeats else 0
        self._groups = config.features
        # What follows in a vector is bias and popularity.
        self._width = towers.candidate_tower.width
        self.query_tower = towers.query_tower
        # Once here instead of for every candidate of every request.
        if vectors is None:
            vectors = _constant(towers.candidate_embeddings(), "vectors")
        self.vectors = vectors
        self.offsets = _constant(tables.offsets, "offsets")
        self.neighbours = _constant(tables.neighbours, "neighbours")
        self.neighbour_weights = _constant(tables.weights, "weights")
        self._num_tables = int(tables.num_tables)
        self.popularity = _constant(tables.popularity, "popularity")

    def call(
        self,
        query: Query,
        candidates: tf.Tensor,
        asked: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores `[B, C]` and signals `[B, C, S]` of int32 `[B, C]`, 0 pads.

        Args:
            asked: What the query tower makes of the query `[B, D]`, where
                somebody has asked it already.
        """
        history = query.history
        if asked is None:
            asked = self.query_tower(*query, vectors=self.vectors)
        vectors = rows_of(self.vectors, candidates)
        scores = tf.einsum("bd,bcd->bc", asked, vectors)
        recent = history[:, -_LENGTH:]
        parts = []
        if "retrieval" in self._groups:
            parts += [scores[..., tf.newaxis], _rank(scores, candidates)]
        if "cooccurrence" in self._groups:
            parts.append(self._cooccurrence(recent, candidates))
        if "popularity" in self._groups:
            parts.append(tf.gather(self.popularity, candidates))
        if "attention" in self._groups:
            past = rows_of(self.vectors, recent)[..., : self._width]
            like = vectors[..., : self._width]
            parts.append(_attention(past, like, recent != PADDING))
        if "query" in self._groups:
            length = tf.math.count_nonzero(history, axis=1, dtype=tf.float32)
            length = tf.math.log1p(length)[:, tf.newaxis, tf.newaxis]
            parts.append(length * tf.ones_like(scores)[..., tf.newaxis])
        if self.num_taken:
            parts.append(_taken(history, candidates))
        if not parts:
            return scores, tf.zeros_like(scores)[..., tf.newaxis][..., :0]
        return scores, tf.concat(parts, axis=-1)

    def _cooccurrence(
        self, recent: tf.Tensor, candidates: tf.Tensor
    ) -> tf.Tensor:
        """Decayed sums of table weights, `[B, C, num_tables * len(DECAYS)]`.

        Looks the history's neighbours up among the sorted candidates, so
        that time and memory do not depend on the size of the catalogue.
        """
        batch, count = tf.unstack(tf.shape(candidates))
        length = tf.shape(recent)[1]
        # Items beyond the tables have no neighbours, as padding has none.
        recent = tf.where(recent < self.offsets.shape[0] - 1, recent, PADDING)
        first = tf.gather(self.offsets, recent)
        counts = tf.gather(self.offsets, recent + 1) - first
        width = tf.reduce_max(counts)
        steps = tf.range(width)
        # Beyond an item's neighbours others' follow, and after the last none.
        places = first[..., tf.newaxis] + steps
        near = tf.gather(
            self.neighbours,
            tf.minimum(places, self.neighbours.shape[0] - 1),
        )
        near = tf.where(steps < counts[..., tf.newaxis], near, PADDING)
        near, places = (
            tf.reshape(each, [batch, length * width]) for each in (near, places)
        )
        ordered = tf.sort(candidates, axis=1)
        slots = tf.minimum(tf.searchsorted(ordered, near), count - 1)
        matched = tf.where(
            (tf.gather(ordered, slots, batch_dims=1) == near)
            & (near >= FIRST_ITEM)
        )
        row, flat = matched[:, 0], tf.cast(matched[:, 1], tf.int32)
        weights = tf.gather(
            self.neighbour_weights, tf.gather_nd(places, matched)
        )
        age = tf.cast(length - 1 - flat // width, tf.float32)
        decays = tf.constant(DECAYS)[tf.newaxis] ** age[:, tf.newaxis]
        values = weights[:, :, tf.newaxis] * decays[:, tf.newaxis, :]
        slot = tf.cast(row, tf.int32) * count + tf.gather_nd(slots, matched)
        made, whole = (
            number * len(DECAYS)
            for number in (weights.shape[1], self._num_tables)
        )
        sums = tf.math.unsorted_segment_sum(
            tf.reshape(values, [-1, made]),
            slot,
            batch * count,
        )
        sums = tf.pad(sums, [[0, 0], [0, whole - made]])
        sums = tf.reshape(sums, [batch, count, whole])
        # A candidate that is given twice stands first in the sorted order.
        first = tf.searchsorted(ordered, candidates)
        return tf.gather(sums, first, batch_dims=1)


def _attention(
    past: tf.Tensor, candidates: tf.Tensor, there: tf.Tensor
) -> tf.Tensor:
    """How near the candidate is to items of the history, `[B, C, 3]`.

    Target attention without weights of its own: cosine similarity, the
    largest, its decayed mean, and the mean under a softmax over the history,
    where an item is `there`, `[B, L]`.
    """
    similar = tf.einsum(
        "bcd,bld->bcl",
        tf.math.l2_normalize(candidates, axis=-1),
        tf.math.l2_normalize(past, axis=-1),
    )
    there = tf.cast(there, tf.float32)[:, tf.newaxis]
    masked = similar + (1.0 - there) * _FAR
    has_any = tf.reduce_max(there, axis=-1)
    largest = tf.reduce_max(masked, axis=-1) * has_any
    age = tf.range(tf.shape(similar)[2] - 1, -1, -1)
    weight = there * 0.8 ** tf.cast(age, tf.float32)
    mean = tf.math.divide_no_nan(
        tf.reduce_sum(similar * weight, axis=-1),
        tf.reduce_sum(weight, axis=-1),
    )
    soft = tf.reduce_sum(
        tf.nn.softmax(8.0 * masked, axis=-1) * similar, axis=-1
    )
    return tf.stack([largest, mean, soft * has_any], axis=-1)


def _taken(history: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """How often and how lately candidates stand in the history.

    Returns:
        `[B, C, len(_TAKEN_DECAYS) + 1]`: logs of counts that weigh less with
        age, then `_RECENT` less the log of the steps since the last one; all
        0 for candidates that are not there.
    """
    items = tf.where(history >= FIRST_ITEM, history, PADDING - 1)
    same = candidates[:, :, tf.newaxis] == items[:, tf.newaxis, :]
    age = tf.range(tf.shape(history)[1] - 1, -1, -1, tf.float32)
    decays = tf.constant(_TAKEN_DECAYS)[tf.newaxis] ** age[:, tf.newaxis]
    counts = tf.einsum("bcl,ld->bcd", tf.cast(same, tf.float32), decays)
    since = tf.math.log1p(age)
    recent = tf.where(same, tf.maximum(_RECENT - since, 0.0), 0.0)
    last = tf.reduce_max(tf.pad(recent, [[0, 0], [0, 0], [1, 0]]), axis=-1)
    return tf.concat([tf.math.log1p(counts), last[..., tf.newaxis]], axis=-1)


def _rank(scores: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """Log of the place in the list by retrieval score, `[B, C, 1]`."""
    masked = tf.where(candidates == PADDING, scores.dtype.min, scores)
    order = tf.argsort(masked, axis=1, direction="DESCENDING")
    place = tf.argsort(order, axis=1)
    return tf.math.log1p(tf.cast(place, tf.float32))[..., tf.newaxis]


def _constant(values: np.ndarray, name: str) -> tf.Variable:
    """A variable, because a graph's constants must stay below 2 GB."""
    return tf.Variable(values, trainable=False, name=name)
