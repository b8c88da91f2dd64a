"""Nearest-neighbour search over candidate embeddings, inside the graph.

Both indexes answer the same call: query embeddings `[batch_size,
embedding_dim]` and the item indices never to return `[batch_size, num_seen]`
(0 pads) give `(scores, indices)`, each `[batch_size, k]`, scores descending.
Slots the catalogue cannot fill hold index 0 and `MASKED_SCORE`. Rows 0
(padding) and 1 (out of vocabulary) of the embeddings are never returned.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import tensorflow as tf

from models.config import FIRST_ITEM

if TYPE_CHECKING:
    from scann.scann_ops.py import scann_ops

# Of a value; the square of a thousand such differences fits into a float32.
_LONGEST = 1e15
_SHOWN = 5
# Of a searcher's tensors, the place of the vectors kept as int8.
_ROUNDED = 5
# The lowest finite float: sorts last, and unlike -inf it is valid JSON.
MASKED_SCORE = float(np.finfo(np.float32).min)
# Scores, descending, and item indices.
Found = tuple[tf.Tensor, tf.Tensor]
_Search = TypeVar("_Search", bound=Callable[..., Found])


class ExactIndex(tf.Module):
    """Scores the whole catalogue; stock TensorFlow ops only.

    Args:
        embeddings: `[num_items + 2, embedding_dim]` by item index.
        gone: Item indices never to return; histories may still hold them.
    """

    is_exact = True

    def __init__(
        self,
        embeddings: np.ndarray,
        k: int,
        gone: Sequence[int] | np.ndarray = (),
    ) -> None:
        super().__init__(name="exact_index")
        self.num_items = len(embeddings) - FIRST_ITEM
        self.k = min(k, self.num_items - len(gone))
        self.gone = None
        if len(gone):
            is_gone = np.isin(np.arange(len(embeddings)), gone)
            self.gone = tf.Variable(is_gone, trainable=False, name="gone")
        self.embeddings = tf.Variable(
            np.asarray(embeddings, np.float32),
            trainable=False,
            name="embeddings",
        )

    def __call__(self, queries: tf.Tensor, seen: tf.Tensor) -> Found:
        """Returns `(scores, indices)`, each `[batch_size, k]`."""
        scores = tf.matmul(queries, self.embeddings, transpose_b=True)
        rows = tf.repeat(tf.range(tf.shape(seen)[0]), tf.shape(seen)[1])
        hidden = tf.stack([rows, tf.reshape(seen, [-1])], axis=1)
        scores = tf.tensor_scatter_nd_update(
            scores, hidden, tf.fill(tf.shape(rows), MASKED_SCORE)
        )
        if self.gone is not None:
            scores = tf.where(self.gone, MASKED_SCORE, scores)
        scores, indices = tf.math.top_k(scores[:, FIRST_ITEM:], self.k)
        return scores, _or_padding(scores, indices + FIRST_ITEM)


class ScannIndex(tf.Module):
    """Approximate search with ScaNN (https://arxiv.org/abs/1908.10396).

    ScaNN may visit too few points to fill a list, above all when much is
    excluded. Such a batch is answered by the exact index, so that `k` items
    come back wherever the catalogue has them.

    Args:
        exact: The index that answers where ScaNN cannot.
        searchers: The tensors of built searchers, from `build_searcher`, each
            over a slice of the items that are not gone; in their order.
        num_leaves_to_search: Tree leaves visited a query and searcher.
        num_reordering_candidates: Best matches that are scored exactly, a
            query and searcher, beside as many as are never to return.
        name: Of no other searchers in the process. With it there is one of
            each; without, one wherever a graph searches.
    """

    is_exact = False

    def __init__(
        self,
        exact: ExactIndex,
        searchers: Sequence[Sequence[np.ndarray]],
        sizes: Sequence[int],
        num_leaves_to_search: int | tf.Variable,
        num_reordering_candidates: int | tf.Variable,
        name: str = "",
    ) -> None:
        super().__init__(name="scann_index")
        self._shared_name = name
        # The only import of ScaNN's ops; loading them needs its wheel.
        from scann.scann_ops.py import scann_ops

        self._ops = scann_ops
        self.exact = exact
        self.k = exact.k
        self.sizes = tuple(sizes)
        self.states, first = [], FIRST_ITEM
        table, self.items = exact.embeddings, None
        if exact.gone is not None:
            there = np.flatnonzero(~exact.gone.numpy()[FIRST_ITEM:])
            there = np.r_[:FIRST_ITEM, there + FIRST_ITEM].astype(np.int32)
            table = tf.gather(table, there)
            self.items = tf.Variable(there, trainable=False, name="items")
        for searcher, size in zip(searchers, sizes, strict=True):
            vectors = table[first : first + size]
            if np.ndim(searcher[_ROUNDED]):
                vectors = tf.constant(0.0)
            self.states.append(scann_ops.ScannState([*searcher, vectors]))
            first += size
        self.num_leaves_to_search = num_leaves_to_search
        self.num_reordering_candidates = num_reordering_candidates

    def __call__(self, queries: tf.Tensor, seen: tf.Tensor) -> Found:
        """Returns `(scores, indices)`, each `[batch_size, k]`."""
        several = whole(self._several)
        if len(self.states) > 1:
            scores, indices = several(queries, seen)
        else:
            scores, indices = tf.cond(
                tf.shape(queries)[0] == 1,
                lambda: self._one(queries, seen),
                lambda: several(queries, seen),
            )
        # ScaNN's ops tell nothing about their shapes.
        shape = [queries.shape[0], self.k]
        return tf.ensure_shape(scores, shape), tf.ensure_shape(indices, shape)

    def approximate(self, queries: tf.Tensor, seen: tf.Tensor) -> Found:
        """The call without the exact index behind it: lists may be short."""
        if len(self.states) > 1 or queries.shape[0] != 1:
            return self._search_several(queries, seen)
        scores, indices = self._search_one(queries, seen)
        found = self._widened(scores, indices, ~tf.math.is_nan(scores))
        return merge([found], self.k)

    def wider(self, query: tf.Tensor, wanted: tf.Tensor) -> Found:
        """About the best `wanted` items of one query, in no order.

        Args:
            query: `[embedding_dim]`.
            wanted: int32 `[]`, above `k`; as many times more leaves are
                searched.

        Returns:
            `(scores, indices)`, each `[any]`; slots not filled score
            `MASKED_SCORE`.
        """
        times = -(-wanted // self.k)
        first, found = FIRST_ITEM, []
        for number, size in enumerate(self.sizes):
            near = self._searcher(number).search(
                query,
                tf.minimum(wanted, size),
                times * self.num_reordering_candidates,
                times * self.num_leaves_to_search,
            )
            found.append((near.distance, self._items(near.index, first)))
            first += size
        scores, indices = (
            # ScaNN's ops tell nothing about their shapes.
            tf.ensure_shape(tf.concat(lists, axis=0), [None])
            for lists in zip(*found, strict=True)
        )
        return tf.where(tf.math.is_nan(scores), MASKED_SCORE, scores), indices

    def _one(self, queries: tf.Tensor, seen: tf.Tensor) -> Found:
        scores, indices = self._search_one(queries, seen)
        # Of a list that ends before slot k nothing is left to compare, and
        # NaN is above nothing.
        is_full = tf.reduce_any(scores[:, self.k - 1 :] > MASKED_SCORE)
        return self._or_exact(is_full, (scores, indices), queries, seen)

    def _several(self, queries: tf.Tensor, seen: tf.Tensor) -> Found:
        scores, indices = self._search_several(queries, seen)
        is_full = tf.reduce_all(scores[:, -1] > MASKED_SCORE)
        return self._or_exact(is_full, (scores, indices), queries, seen)

    def _or_exact(
        self,
        is_full: tf.Tensor,
        found: Found,
        queries: tf.Tensor,
        seen: tf.Tensor,
    ) -> Found:
        exact = whole(self.exact.__call__)
        full: Found = tf.cond(
            is_full, lambda: found, lambda: exact(queries, seen)
        )
        return full

    def _search_one(self, queries: tf.Tensor, seen: tf.Tensor) -> Found:
        """Best first, `[1, at most k]`; unfilled slots are NaN and come last.

        Every op counts, as the search takes no longer than fifty of them.
        """
        found = self._searcher(0).search(
            queries[0], *self._effort(seen, self.sizes[0])
        )
        indices, places = tf.raw_ops.ListDiff(
            x=self._items(found.index, FIRST_ITEM), y=seen[0]
        )
        scores = tf.gather(found.distance, places[: self.k])
        return scores[tf.newaxis], indices[tf.newaxis, : self.k]

    def _search_several(self, queries: tf.Tensor, seen: tf.Tensor) -> Found:
        """Best first, `[batch_size, k]`, unfilled slots padded."""
        first, found = FIRST_ITEM, []
        for number, size in enumerate(self.sizes):
            nearest = self._searcher(number).search_batched(
                queries, *self._effort(seen, size)
            )
            scores = nearest.distances
            indices = self._items(nearest.indices, first)
            # Unfilled slots come back as NaN with the id of some candidate.
            valid = ~tf.math.is_nan(scores) & ~contains(seen, indices)
            found.append(self._widened(scores, indices, valid))
            first += size
        return merge(found, self.k)

    def _items(self, places: tf.Tensor, first: int) -> tf.Tensor:
        """Item indices of places in a searcher that begins at `first`."""
        rows = places + first
        return rows if self.items is None else tf.gather(self.items, rows)

    def _searcher(self, number: int) -> "scann_ops.ScannSearcher":
        state = self.states[number]
        if not self._shared_name:
            # A call outside a graph would find the searcher that the first
            # such call in the process made.
            return self._ops.searcher_from_module(state)
        handle = self._ops.tensors_to_scann(
            state.dataset,
            state.scann_config,
            state.serialized_partitioner,
            state.datapoint_to_token,
            state.ah_codebook,
            state.hashed_dataset,
            state.int8_dataset,
            state.int8_multipliers,
            state.dp_norms,
            shared_name=f"{self._shared_name}-{number}",
        )
        return self._ops.ScannSearcher(handle)

    def _effort(
        self, seen: tf.Tensor, size: int
    ) -> tuple[tf.Tensor, tf.Tensor, int | tf.Variable]:
        """Neighbours, reordered candidates, leaves: as the ops take them."""
        num_seen = tf.shape(seen)[1]
        wanted = tf.minimum(num_seen + self.k, size)
        reordered = num_seen + self.num_reordering_candidates
        return wanted, reordered, self.num_leaves_to_search

    def _widened(
        self, scores: tf.Tensor, indices: tf.Tensor, valid: tf.Tensor
    ) -> Found:
        """At least k wide: leaves that hold little give fewer than asked."""
        missing = [[0, 0], [0, tf.maximum(self.k - tf.shape(indices)[1], 0)]]
        scores = tf.where(valid, scores, MASKED_SCORE)
        scores = tf.pad(scores, missing, constant_values=MASKED_SCORE)
        return scores, tf.pad(indices, missing)


def merge(found: Sequence[Found], k: int) -> Found:
    """The best of several lists, as one index over all items has them.

    Args:
        found: `[batch_size, any]`, over distinct items; lists of lower items
            come first.
        k: Items wanted, at most as many as there are slots.
    """
    scores, indices = (
        found[0]
        if len(found) == 1
        else (tf.concat(lists, axis=1) for lists in zip(*found, strict=True))
    )
    scores, order = tf.math.top_k(scores, k)
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
    embeddings: np.ndarray,
    k: int,
    num_leaves: int,
    reordering: Literal["float32", "int8"] = "float32",
) -> list[np.ndarray]:
    """Builds a ScaNN tree with asymmetric hashing and reordering.

    Args:
        embeddings: `[num_items, embedding_dim]`, without the two first rows.
        reordering: How the vectors of the best matches are kept; "int8" is a
            quarter as large, and scores are off by up to a hundredth.

    Returns:
        The searcher's tensors but for the embeddings themselves, as
        `ScannIndex` takes them.

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
        scann_ops.builder(np.asarray(embeddings, np.float32), k, "dot_product")
        .tree(
            num_leaves=num_leaves,
            num_leaves_to_search=max(1, num_leaves // 10),
            training_sample_size=min(len(embeddings), 250_000),
        )
        .score_ah(2, anisotropic_quantization_threshold=0.2)
        # Without reordering recall@10 is .3-.7; bfloat16 fails after reload.
        .reorder(4 * k, quantize=reordering == "int8")
        .build()
    )
    handle = searcher.searcher_handle
    *tensors, _vectors = scann_ops.scann_to_tensors(handle)
    # Else it and its copy of the vectors stay until the process ends.
    tf.raw_ops.DestroyResourceOp(resource=handle)
    return [np.asarray(tensor) for tensor in tensors]


def whole(call: _Search) -> _Search:
    """`call` as one op: in a branch not taken, every op takes its turn."""
    made: _Search = tf.function(
        call, experimental_attributes={"_noinline": True}
    )
    return made


def _or_padding(scores: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    return tf.where(scores > MASKED_SCORE, indices, 0)


def contains(values: tf.Tensor, queries: tf.Tensor) -> tf.Tensor:
    """Whether each of `queries` [B, Q] is in its row of `values` [B, V]."""
    # One sentinel past every index, so that a position always exists.
    sentinel = tf.fill([tf.shape(values)[0], 1], tf.int32.max)
    ordered = tf.sort(tf.concat([values, sentinel], axis=1), axis=1)
    position = tf.searchsorted(ordered, queries)
    return tf.gather(ordered, position, batch_dims=1) == queries
