"""Exact search over the catalogue, without what may not be recommended.

One rule for ties, that of `metrics.top_k`, whoever asks.

Shape letters: B rows of a block, Q rows, N item indices, K places.
"""

from collections.abc import Callable, Iterator

import numpy as np

from models.config import FIRST_ITEM
from pipeline.measure import metrics
from pipeline.tables.ragged import Ragged

BLOCK = 512
# Scores that are held at a time, 128 MiB: a large catalogue is asked for
# fewer rows at once.
_CELLS = 2**25
# Scores and items, each [Q, K], best first.
Answer = tuple[np.ndarray, np.ndarray]


def find(
    score: Callable[[np.ndarray], np.ndarray],
    k: int,
    hidden: Ragged,
    block: int = BLOCK,
    seed: int = 0,
) -> Answer:
    """The best k items of every row: scores and items `[Q, K]`.

    Args:
        score: Gives the scores `[B, N]` of a block's rows `[B]`.
        hidden: Items never to return, Q rows.
        block: Rows at a time, see `rows_at_once`.
        seed: Of the order in which ties are cut.
    """
    found = []
    for rows in blocks(len(hidden), block):
        scores, without = score(rows), hidden.take(rows)
        scores[:, :FIRST_ITEM] = -np.inf
        scores[without.row_of_item, without.items] = -np.inf
        found.append(metrics.top_k(scores, k, seed))
    return join(found, k)


def rows_at_once(num_items: int, most: int = BLOCK) -> int:
    """Rows of a block whose scores of so many items fit into memory."""
    return max(1, min(most, _CELLS // num_items))


def blocks(count: int, size: int = BLOCK) -> Iterator[np.ndarray]:
    """Neighbouring rows, so many at a time."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


def join(found: list[Answer], k: int = 1) -> Answer:
    """Answers of blocks as one; `[0, k]` where there are none."""
    empty = np.zeros((0, k), np.float32), np.zeros((0, k), np.int32)
    scores, items = zip(*(found or [empty]), strict=True)
    return np.concatenate(scores), np.concatenate(items)
