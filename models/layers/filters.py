"""Search among the items that pass a request's filters, inside the graph.

A filter gives some values of one feature; an item passes when it has any of
them, and with filters of several features when it passes each. Values are
numbered over all features together: 0 is none given, 1 a value that no item
has, 2 and up are values.

Where few items pass, all of them are scored: a list a value says which they
are. Where many do, the index is asked for more neighbours than are wanted, and
those that pass are kept; if too few are left, all that pass are scored. Either
way a list is full wherever the catalogue has the items.

Shape letters: B queries, D width, S hidden items, F values given, V values in
all, M features, N + 2 item indices, E pairs of an item and a value it has.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from models.config import FIRST_ITEM
from models.layers.ids import rows_of
from models.layers.index import (
    MASKED_SCORE,
    ExactIndex,
    Found,
    ScannIndex,
    whole,
)

NOT_GIVEN, NO_VALUE, FIRST_VALUE = 0, 1, 2
# All that pass are scored where there are so few of them for each that is
# wanted, or where the index would be asked for so many times more.
_FEW = 25
_MOST_TIMES = 16.0
# Neighbours asked for over what should be enough.
_SPARE = 1.5
# Share of the catalogue beyond which scoring all of it costs less than
# gathering a part.
_MANY = 0.125


@dataclass(frozen=True)
class FeatureValues:
    """Which items have which values of one feature.

    Attributes:
        items: int32 `[E]`, item indices, each pair once.
        values: int32 `[E]`, numbers from 0.
        count: Values that there are.
    """

    items: np.ndarray
    values: np.ndarray
    count: int


class FilteredIndex(tf.Module):
    """An index that answers with the items that pass filters alone."""

    def __init__(
        self,
        index: ExactIndex | ScannIndex,
        features: Sequence[FeatureValues],
    ) -> None:
        super().__init__(name="filtered_index")
        exact = index if isinstance(index, ExactIndex) else index.exact
        self.index, self.k = index, index.k
        self.num_items = exact.num_items
        self.embeddings = exact.embeddings
        self.num_features = len(features)
        counts = [feature.count for feature in features]
        # Number of each feature's first value.
        self.firsts = FIRST_VALUE + np.cumsum([0, *counts])[:-1]
        self.num_values = FIRST_VALUE + sum(counts)
        values = _joined(
            [
                feature.values + first
                for feature, first in zip(features, self.firsts, strict=True)
            ]
        )
        items = _joined([feature.items for feature in features])
        self._items_of = _Lists(values, items, self.num_values)
        self._values_of = _Lists(items, values, self.num_items + FIRST_ITEM)
        owner = np.repeat(np.arange(self.num_features), counts)
        self._feature_of = tf.Variable(
            np.concatenate([[0, 0], owner]).astype(np.int32),
            trainable=False,
            name="feature_of",
        )

    def __call__(
        self,
        queries: tf.Tensor,
        seen: tf.Tensor,
        allowed: tf.Tensor,
        features: tf.Tensor,
    ) -> Found:
        """Returns `(scores, indices)`, each `[B, k]`, as the index does.

        Args:
            queries: `[B, D]`.
            seen: int32 `[B, S]`, items never to return, 0 pads.
            allowed: int32 `[B, F]`, values that an item may have, 0 pads.
            features: int32 `[F]`, which feature each column is of.
        """
        if not self.num_features:
            return self.index(queries, seen)
        kinds = (
            tf.TensorSpec([self.k], tf.float32),
            tf.TensorSpec([self.k], tf.int32),
        )

        @whole
        def by_row() -> Found:
            # Each query has filters, and so a way, of its own.
            scores, items = tf.map_fn(
                lambda row: self._one(row[0], row[1], row[2], features),
                (queries, seen, allowed),
                fn_output_signature=kinds,
            )
            return scores, items

        scores, items = tf.cond(
            tf.reduce_any(allowed != NOT_GIVEN),
            by_row,
            lambda: self.index(queries, seen),
        )
        shape = [queries.shape[0], self.k]
        return tf.ensure_shape(scores, shape), tf.ensure_shape(items, shape)

    def _one(
        self,
        query: tf.Tensor,
        seen: tf.Tensor,
        allowed: tf.Tensor,
        features: tf.Tensor,
    ) -> Found:
        """The best items of one query, `[k]`."""
        given = allowed != NOT_GIVEN
        filters = _Filters(
            tf.boolean_mask(allowed, given),
            tf.boolean_mask(features, given),
            self.num_features,
        )
        sizes = self._items_of.sizes(filters.values)
        passing = tf.where(
            filters.is_given,
            tf.minimum(filters.sums(sizes), self.num_items),
            self.num_items,
        )

        def unfiltered() -> Found:
            scores, items = self.index(query[tf.newaxis], seen[tf.newaxis])
            return scores[0], items[0]

        return tf.cond(
            tf.reduce_any(filters.is_given),
            lambda: self._filtered(query, seen, filters, passing),
            unfiltered,
        )

    def _filtered(
        self,
        query: tf.Tensor,
        seen: tf.Tensor,
        filters: "_Filters",
        passing: tf.Tensor,
    ) -> Found:
        """One query's, of which `passing` `[M]` items pass each filter."""
        # Where everything passes, of those that are given.
        narrowest = tf.argmin(
            tf.where(filters.is_given, passing, self.num_items + 1),
            output_type=tf.int32,
        )

        @whole
        def score_all() -> Found:
            items = self._passing(filters, narrowest)
            return _best(self._scores(query, items), items, seen, self.k)

        if isinstance(self.index, ExactIndex):
            return score_all()
        index = self.index
        share = tf.reduce_prod(
            tf.cast(passing, tf.float32) / float(self.num_items)
        )
        times = _SPARE / tf.maximum(share, 1e-9)
        few = (passing[narrowest] <= _FEW * self.k) | (times > _MOST_TIMES)

        @whole
        def search_wider() -> Found:
            wanted = tf.cast(times * float(self.k), tf.int32) + tf.size(seen)
            scores, items = index.wider(query, wanted)
            scores = tf.where(self._pass(filters, items), scores, MASKED_SCORE)
            scores, items = _best(scores, items, seen, self.k)
            return tf.cond(
                scores[-1] > MASKED_SCORE, lambda: (scores, items), score_all
            )

        return tf.cond(few, score_all, search_wider)

    def _passing(self, filters: "_Filters", narrowest: tf.Tensor) -> tf.Tensor:
        """Every item that passes, from the lists of the narrowest filter."""
        mine = tf.boolean_mask(filters.values, filters.features == narrowest)
        items = self._items_of.gather(mine).values
        # An item may have several of the values, or a value be given twice.
        items = tf.cond(
            tf.size(mine) > 1, lambda: tf.unique(items)[0], lambda: items
        )
        return tf.cond(
            tf.math.count_nonzero(filters.is_given) > 1,
            lambda: tf.boolean_mask(items, self._pass(filters, items)),
            lambda: items,
        )

    def _pass(self, filters: "_Filters", items: tf.Tensor) -> tf.Tensor:
        """Which items `[n]` pass every filter, bool `[n]`."""
        allowed = tf.scatter_nd(
            filters.values[:, tf.newaxis],
            tf.ones_like(filters.values),
            [self.num_values],
        )
        found = self._values_of.gather(items)
        values = found.values
        # One cell an item and feature.
        cells = tf.cast(found.value_rowids(), tf.int32) * self.num_features
        hits = tf.math.unsorted_segment_sum(
            tf.gather(allowed, values),
            cells + tf.gather(self._feature_of, values),
            tf.size(items) * self.num_features,
        )
        hits = tf.reshape(hits, [-1, self.num_features]) > 0
        return tf.reduce_all(hits | ~filters.is_given, axis=1)

    def _scores(self, query: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """Exact scores of items `[n]`, float32 `[n]`."""
        return tf.cond(
            tf.size(items) > int(_MANY * self.num_items),
            lambda: tf.gather(tf.linalg.matvec(self.embeddings, query), items),
            lambda: tf.linalg.matvec(rows_of(self.embeddings, items), query),
        )


class _Filters:
    """The filters of one query.

    Args:
        values: int32 `[F]`, those given.
        features: int32 `[F]`, which feature each is of.
        count: M.

    Attributes:
        is_given: bool `[M]`, the features with a filter.
    """

    def __init__(
        self, values: tf.Tensor, features: tf.Tensor, count: int
    ) -> None:
        self.values, self.features, self._count = values, features, count
        self.is_given = self.sums(tf.ones_like(values)) > 0

    def sums(self, numbers: tf.Tensor) -> tf.Tensor:
        """Sums of the numbers `[F]` by feature, `[M]`."""
        return tf.math.unsorted_segment_sum(numbers, self.features, self._count)


class _Lists(tf.Module):
    """Pairs of keys and entries, as a list of entries a key.

    Args:
        keys: int `[E]`.
        entries: int32 `[E]`.
        num_keys: Above every key.
    """

    def __init__(
        self, keys: np.ndarray, entries: np.ndarray, num_keys: int
    ) -> None:
        super().__init__(name="lists")
        order = np.lexsort((entries, keys))
        self._entries = tf.Variable(
            entries[order].astype(np.int32), trainable=False, name="entries"
        )
        sizes = np.bincount(keys, minlength=num_keys)
        self._splits = tf.Variable(
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            trainable=False,
            name="splits",
        )

    def sizes(self, keys: tf.Tensor) -> tf.Tensor:
        """How long the lists of keys `[n]` are, int32 `[n]`."""
        stops = rows_of(self._splits, keys + 1)
        return tf.cast(stops - rows_of(self._splits, keys), tf.int32)

    def gather(self, keys: tf.Tensor) -> tf.RaggedTensor:
        """The lists of keys `[n]`, int32 `[n, any]`."""
        lists = tf.RaggedTensor.from_row_splits(
            self._entries, self._splits, validate=False
        )
        return tf.gather(lists, keys)


def _joined(columns: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int32), *columns])


def _best(
    scores: tf.Tensor, items: tf.Tensor, seen: tf.Tensor, k: int
) -> Found:
    """The best k of items `[n]` that are not in `seen` `[S]`, padded."""
    wanted = tf.minimum(tf.size(items), k + tf.size(seen))
    scores, order = tf.math.top_k(scores, wanted)
    items, places = tf.raw_ops.ListDiff(x=tf.gather(items, order), y=seen)
    items, scores = items[:k], tf.gather(scores, places[:k])
    missing = [[0, k - tf.size(items)]]
    scores = tf.pad(scores, missing, constant_values=MASKED_SCORE)
    items = tf.where(scores > MASKED_SCORE, tf.pad(items, missing), 0)
    return tf.ensure_shape(scores, [k]), tf.ensure_shape(items, [k])
