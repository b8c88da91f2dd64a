"""ScaNN's tree and effort, chosen by recall first and then by work.

Enters: the exact index and embeddings of queries. Leaves: a `Tuned` and the
searchers it was measured on. Of all that return the wanted share of the exact
list the least work is taken. Work is counted, not timed, so that the same data
always give the same index, whatever else the machine does.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from models.config import FIRST_ITEM
from models.layers import index as search
from pipeline.measure import metrics
from pipeline.retrieval.report import Point, Tuned
from pipeline.run.release import IndexConfig
from pipeline.tables.ragged import Ragged

# Leaves of the trees that are tried, in square roots of the number of items.
_TREES = (1, 2, 4)
# Tried in each: shares of the leaves, reordered candidates for each wanted.
_SHARES = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.0)
_REORDERED = (1.5, 2, 3, 4, 6, 8)
# Nanoseconds of one core, measured at 64 columns: the centre of a leaf
# compared, an item of a visited leaf looked at, a candidate scored exactly,
# which waits for memory. Only their ratios decide.
_CENTRE, _ITEM, _CANDIDATE = 17.0, 3.3, 100.0
# The tensors of each searcher.
Searchers = list[list[np.ndarray]]


@dataclass(frozen=True)
class _Tree:
    """Searchers over equal slices of the items."""

    num_leaves: int
    sizes: list[int]
    searchers: Searchers

    def settings(self, k: int) -> list[tuple[float, int, int]]:
        """Expected microseconds, leaves and candidates, least work first."""
        size = max(self.sizes)
        tried = set()
        for share in _SHARES:
            leaves = max(1, round(share * self.num_leaves))
            visited = size * leaves / self.num_leaves
            for times in _REORDERED:
                reordering = min(round(times * k), size)
                work = self.num_leaves * _CENTRE + visited * _ITEM
                work += reordering * _CANDIDATE
                work = round(len(self.sizes) * work / 1e3, 1)
                tried.add((work, leaves, reordering))
        return sorted(tried)


def num_leaves(num_items: int) -> int:
    """Of the first tree that is tried, and of those that shards have."""
    return int(np.sqrt(num_items))


def tune(
    exact: search.ExactIndex,
    embeddings: np.ndarray,
    queries: np.ndarray,
    config: IndexConfig,
    given: Searchers | None = None,
) -> tuple[Tuned, Searchers]:
    """Builds trees of more leaves while they save work, and keeps the best.

    Args:
        embeddings: `[num_items + 2, embedding_dim]`, those of `exact`.
        queries: `[num_queries, embedding_dim]` to measure recall with.
        given: Searchers of equal slices of the items; none is built then.
    """
    truth, latency = answers(tf.function(exact.__call__), queries)

    def worth(point: Point) -> tuple[bool, float]:
        if point.recall < config.recall_floor:
            return False, point.recall
        return True, -point.work

    frontier: list[Point] = []
    best: tuple[Point, _Tree] | None = None
    for tree in _trees(embeddings[FIRST_ITEM:], exact.k, config, given):
        found = _measure(exact, tree, queries, truth, config.recall_floor)
        frontier += found
        point = max(found, key=worth)
        # More leaves only help until their centres are most of the work.
        if best is not None and worth(point) <= worth(best[0]):
            break
        best = point, tree
    if best is None:
        raise ValueError("There must be at least one tree. Received: none.")
    chosen, tree = best
    meets_floor = chosen.recall >= config.recall_floor
    tuned = Tuned(tree.sizes, chosen, latency, meets_floor, frontier)
    return tuned, tree.searchers


def _trees(
    items: np.ndarray, k: int, config: IndexConfig, given: Searchers | None
) -> Iterator[_Tree]:
    size = len(items)
    if given is not None:
        ends = np.arange(len(given) + 1) * size // len(given)
        sizes = np.diff(ends).tolist()
        yield _Tree(num_leaves(min(sizes)), sizes, given)
        return
    for times in _TREES:
        count = times * num_leaves(size)
        searcher = search.build_searcher(items, k, count, config.reordering)
        yield _Tree(count, [size], [searcher])


def _measure(
    exact: search.ExactIndex,
    tree: _Tree,
    queries: np.ndarray,
    truth: np.ndarray,
    floor: float,
) -> list[Point]:
    """Settings that more work makes better, up to the first good enough."""
    leaves, reordering = tf.Variable(1), tf.Variable(exact.k)
    index = search.ScannIndex(
        exact, tree.searchers, tree.sizes, leaves, reordering
    )
    # Without the exact search behind it, which would hide lists that visit
    # too few leaves to be filled.
    find, best = tf.function(index.approximate), 0.0
    points: list[Point] = []
    for work, visited, candidates in tree.settings(exact.k):
        leaves.assign(visited)
        reordering.assign(candidates)
        found, latency = answers(find, queries)
        hits = metrics.find_hits(found, Ragged.unpadded(truth))
        recall = round(float(np.mean(hits.sum(axis=1) / exact.k)), 4)
        if recall > best or not points:
            best, effort = recall, (tree.num_leaves, visited, candidates)
            points.append(Point(*effort, work, recall, latency))
        if recall >= floor:
            break
    return points


def answers(
    find: Callable[[tf.Tensor, tf.Tensor], search.Found], queries: np.ndarray
) -> tuple[np.ndarray, float]:
    """Asks a traced index, one query at a time.

    Returns:
        Item indices `[num_queries, k]` and the median milliseconds.
    """
    found, taken, seen = [], [], np.zeros((1, 1), np.int32)
    find(queries[:1], seen)
    for query in queries:
        start = time.perf_counter()
        found.append(find(query[None], seen)[1].numpy())
        taken.append(time.perf_counter() - start)
    return np.concatenate(found), round(float(np.median(taken)) * 1e3, 3)
