"""Nearest-neighbour search over candidate embeddings, inside the graph.

Both indexes answer the same call: query embeddings `[batch_size,
embedding_dim]` and the item indices never to return `[batch_size, num_seen]`
(0 pads) give `(scores, indices)`, each `[batch_size, k]`, scores descending.
Slots the catalogue cannot fill hold index 0 and `MASKED_SCORE`. Rows 0
(padding) and 1 (out of vocabulary) of the embeddings are never returned.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from models.config import FIRST_ITEM

# Of a value; the square of a thousand such differences fits into a float32.
_LONGEST = 1e15
_SHOWN = 5
# The lowest finite float: sorts last, and unlike -inf it is valid JSON.
MASKED_SCORE = float(np.finfo(np.float32).min)
# Scores, descending, and item indices.
Found = tuple[tf.Tensor, tf.Tensor]


class ExactIndex(tf.Module):
    """Scores the whole catalogue; stock TensorFlow ops only.

    Args:
        embeddings: `[num_items + 2, embedding_dim]` by item index.
    """

    is_exact = True

    def __init__(self, embeddings: np.ndarray, k: int) -> None:
        super().__init__(name="exact_index")
        self.num_items = len(embeddings) - FIRST_ITEM
        self.k = min(k, self.num_items)
        self.embeddings = tf.Variable(
            embeddings.astype(np.float32), trainable=False, name="embeddings"
        )

    def __call__(self, queries: tf.Tensor, seen: tf.Tensor) -> Found:
        """Returns `(scores, indices)`, each `[batch_size, k]`."""
        scores = tf.matmul(queries, self.embeddings, transpose_b=True)
        rows = tf.repeat(tf.range(tf.shape(seen)[0]), tf.shape(seen)[1])
        hidden = tf.stack([rows, tf.reshape(seen, [-1])], axis=1)
        scores = tf.tensor_scatter_nd_update(
            scores, hidden, tf.fill(tf.shape(rows), MASKED_SCORE)
        )
        scores, indices = tf.math.top_k(scores[:, FIRST_ITEM:], self.k)
        return scores, _or_padding(scores, indices + FIRST_ITEM)


class ScannIndex(tf.Module):
    """Approximate search with ScaNN (https://arxiv.org/abs/1908.10396).

    ScaNN may visit too few points to fill a list, above all when much is
    excluded. Such a batch is answered by the exact index, so that `k` items
    come back wherever the catalogue has them.

    Args:
        embeddings: `[num_items + 2, embedding_dim]` by item index.
        searchers: The tensors of built searchers, from `build_searcher`, each
            over a slice of the items; in the order of the items.
        num_leaves_to_search: Tree leaves visited a query and searcher.
        num_reordering_candidates: Best matches that are scored exactly, a
            query and searcher.
    """

    is_exact = False

    def __init__(
        self,
        embeddings: np.ndarray,
        k: int,
        searchers: Sequence[Sequence[np.ndarray]],
        sizes: Sequence[int],
        num_leaves_to_search: int,
        num_reordering_candidates: int,
    ) -> None:
        super().__init__(name="scann_index")
        # The only import of ScaNN's ops; loading them needs its wheel.
        from scann.scann_ops.py import scann_ops

        self._ops = scann_ops
        self.exact = ExactIndex(embeddings, k)
        self.k = self.exact.k
        self.states = [
            scann_ops.ScannState([tf.constant(x) for x in searcher])
            for searcher in searchers
        ]
        self.sizes = tuple(sizes)
        self.num_leaves_to_search = num_leaves_to_search
        self.num_reordering_candidates = num_reordering_candidates

    def __call__(self, queries: tf.Tensor, seen: tf.Tensor) -> Found:
        """Returns `(scores, indices)`, each `[batch_size, k]`."""
        scores, indices = self.approximate(queries, seen)
        valid = tf.cast(scores > MASKED_SCORE, tf.int32)
        scores, indices = tf.cond(
            tf.reduce_all(tf.reduce_sum(valid, axis=1) >= self.k),
            lambda: (scores, indices),
            lambda: self.exact(queries, seen),
        )
        # ScaNN's ops tell nothing about their shapes.
        shape = [queries.shape[0], self.k]
        return tf.ensure_shape(scores, shape), tf.ensure_shape(indices, shape)

    def approximate(self, queries: tf.Tensor, seen: tf.Tensor) -> Found:
        """The call without the exact index behind it: lists may be short."""
        first, found = FIRST_ITEM, []
        for state, size in zip(self.states, self.sizes, strict=True):
            found.append(self._search(state, first, size, queries, seen))
            first += size
        return merge(found, self.k)

    def _search(
        self,
        state: tf.Module,
        first: int,
        size: int,
        queries: tf.Tensor,
        seen: tf.Tensor,
    ) -> Found:
        """The best of one slice, `[batch_size, k]`, scores not in order."""
        wanted = tf.minimum(self.k + tf.shape(seen)[1], tf.constant(size))
        found = self._ops.searcher_from_module(state).search_batched(
            queries,
            final_num_neighbors=wanted,
            pre_reorder_num_neighbors=tf.maximum(
                wanted, self.num_reordering_candidates
            ),
            leaves_to_search=self.num_leaves_to_search,
        )
        indices = tf.cast(found.indices, tf.int32) + first
        # Unfilled slots come back as NaN with the id of some candidate.
        valid = ~tf.math.is_nan(found.distances) & ~_contains(seen, indices)
        distances = tf.where(valid, found.distances, MASKED_SCORE)
        # A batch whose leaves hold little comes back narrower than asked.
        missing = tf.maximum(self.k - tf.shape(indices)[1], 0)
        widen = [[0, 0], [0, missing]]
        return (
            tf.pad(distances, widen, constant_values=MASKED_SCORE),
            tf.pad(indices, widen),
        )


def merge(found: Sequence[Found], k: int) -> Found:
    """The best of several lists, as one index over all items has them.

    Args:
        found: `[batch_size, any]`, over distinct items; lists of lower items
            come first.
        k: Items wanted, at most as many as there are slots.
    """
    scores, order = tf.math.top_k(
        tf.concat([scores for scores, _indices in found], axis=1), k
    )
    indices = tf.concat([indices for _scores, indices in found], axis=1)
    indices = tf.gather(indices, order, batch_dims=1)
    return scores, _or_padding(scores, indices)


def unusable(embeddings: np.ndarray) -> np.ndarray:
    """Rows that cannot be compared, of `[num_rows, embedding_dim]`.

    They hold NaN or infinity, or are so long that float32 cannot hold the
    squares of their differences.
    """
    largest = np.abs(embeddings).max(axis=1, initial=0.0)
    # NaN compares as false.
    return np.flatnonzero(~(largest < _LONGEST))


def build_searcher(
    embeddings: np.ndarray, k: int, num_leaves: int
) -> list[np.ndarray]:
    """Builds a ScaNN tree with asymmetric hashing and exact reordering.

    Args:
        embeddings: `[num_items, embedding_dim]`, without the two first rows.

    Returns:
        The searcher's tensors, as `ScannIndex` takes them.

    Raises:
        ValueError: If there are fewer rows than leaves, or no columns, or
            rows that cannot be compared: ScaNN would end the process.
    """
    if embeddings.ndim != 2 or not embeddings.size:
        raise ValueError(
            "`embeddings` must be [num_items, embedding_dim], neither of them "
            f"0. Received: {list(embeddings.shape)}."
        )
    if not 1 <= num_leaves <= len(embeddings):
        raise ValueError(
            "`num_leaves` must be between 1 and the number of items. "
            f"Received: {num_leaves} for {len(embeddings)} items."
        )
    rows = unusable(embeddings)
    if len(rows):
        raise ValueError(
            f"All embeddings must be finite, and below {_LONGEST:.0e}. "
            f"Received: {len(rows)} of {len(embeddings)} rows that are not: "
            f"{', '.join(map(str, rows[:_SHOWN]))}"
            + (", ..." if len(rows) > _SHOWN else "")
        )
    from scann.scann_ops.py import scann_ops

    searcher = (
        scann_ops.builder(embeddings.astype(np.float32), k, "dot_product")
        .tree(
            num_leaves=num_leaves,
            num_leaves_to_search=max(1, num_leaves // 10),
            training_sample_size=min(len(embeddings), 250_000),
        )
        .score_ah(2, anisotropic_quantization_threshold=0.2)
        # Without reordering recall@10 is .3-.7; bfloat16 fails after reload.
        .reorder(4 * k)
        .build()
    )
    return [
        np.asarray(x)
        for x in scann_ops.scann_to_tensors(searcher.searcher_handle)
    ]


def _or_padding(scores: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    return tf.where(scores > MASKED_SCORE, indices, 0)


def _contains(values: tf.Tensor, queries: tf.Tensor) -> tf.Tensor:
    """Whether each of `queries` [B, Q] is in its row of `values` [B, V]."""
    # One sentinel past every index, so that a position always exists.
    sentinel = tf.fill([tf.shape(values)[0], 1], tf.int32.max)
    ordered = tf.sort(tf.concat([values, sentinel], axis=1), axis=1)
    position = tf.searchsorted(ordered, queries)
    return tf.gather(ordered, position, batch_dims=1) == queries
