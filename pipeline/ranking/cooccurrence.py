"""Item-item tables: how strongly one item in a history speaks for another.

What enters: histories (one row a user, oldest first) of the interactions that
may be counted. What leaves: tables `[K, K]` whose row is the item in the
history and whose column is the candidate, so that a decayed history times a
table scores what is known. Baselines rank with one table; the ranking model
carries several as features.

Shape letters: B histories, N items with padding and out of vocabulary, K item
indices up to the last one with interactions: a catalogue may list a thousand
times as many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse as sparse

from models.config import FIRST_ITEM
from pipeline.run import auto
from pipeline.tables.ragged import Ragged
from pipeline.tables.sequences import Sequences

_ROWS_AT_ONCE = 2048
# Of a pair that follows: factor for each step of distance, and what is added
# to a row's sum, so that rare items speak softly.
_STEP_DECAY, _SHRINKAGE = 0.8, 10.0


@dataclass(frozen=True)
class Log:
    """Interactions that may be counted.

    Attributes:
        histories: One row a user, oldest first.
        timestamps: int64 seconds, of each item in `histories`.
        num_items: Size of the index space, N.
        num_known: First item index without interactions here.
    """

    histories: Ragged
    timestamps: np.ndarray
    num_items: int
    num_known: int

    @classmethod
    def of(cls, sequences: Sequences, used: np.ndarray, num_items: int) -> Log:
        """The events where `used` (bool `[num_events]`) is true."""
        before = np.concatenate([[0], np.cumsum(used)]).astype(np.int64)
        items = sequences.item_indices[used]
        return cls(
            Ragged(before[sequences.offsets], items),
            sequences.timestamps[used],
            num_items,
            max(int(items.max(initial=0)) + 1, FIRST_ITEM),
        )

    def popularity(
        self, half_life: float = np.inf, unit: float = 1.0
    ) -> np.ndarray:
        """Interactions an item, float64 `[N]`.

        Args:
            half_life: In units, after which an interaction counts half.
            unit: Seconds.
        """
        last = self.timestamps.max(initial=np.iinfo(np.int64).min)
        return np.bincount(
            self.histories.items,
            np.exp2(-(last - self.timestamps) / unit / half_life),
            minlength=self.num_items,
        )

    def too_large(self, limit: int) -> str:
        """Why a dense matrix over `limit` rows at most is not made, or ""."""
        if self.num_known <= limit:
            return ""
        return (
            "it inverts a matrix over all items with interactions, "
            f"{self.num_known - FIRST_ITEM:,} here and "
            f"{limit - FIRST_ITEM:,} at most"
        )


def decayed(
    histories: Ragged, num_items: int, decay: float, length: int = 100
) -> sparse.csr_matrix:
    """Weighs every history: the newest item 1, each older one `decay` less.

    Args:
        decay: Factor from one item to the one before it; 1 forgets order.
        length: Newest items that count; 0 for all.

    Returns:
        float32 `[B, num_items]`; padding and unknown items weigh nothing.
    """
    rows = histories.row_of_item
    age = histories.offsets[1:][rows] - 1 - np.arange(len(histories.items))
    keep = histories.items >= FIRST_ITEM
    if length:
        keep &= age < length
    weights = np.power(decay, age[keep]).astype(np.float32)
    return sparse.csr_matrix(
        (weights, (rows[keep], histories.items[keep])),
        shape=(len(histories), num_items),
    )


def window_markov(
    histories: Ragged, num_items: int, window: int, backward: float
) -> sparse.csr_matrix:
    """Counts which items follow within a few steps, as shares of the row.

    Args:
        backward: Weight of the pair in the opposite order.
    """
    rows = histories.row_of_item
    items = histories.items
    counts = sparse.csr_matrix((num_items, num_items), dtype=np.float32)
    for step in range(1, window + 1):
        before, after = items[:-step], items[step:]
        same = (
            (rows[:-step] == rows[step:])
            & (before >= FIRST_ITEM)
            & (after >= FIRST_ITEM)
        )
        before, after = before[same], after[same]
        weight = np.full(len(before), _STEP_DECAY ** (step - 1), np.float32)
        forward = sparse.csr_matrix(
            (weight, (before, after)), shape=counts.shape
        )
        counts = counts + forward
        if backward:
            counts = counts + backward * forward.T
    counts = sparse.csr_matrix(counts, dtype=np.float32)
    counts.setdiag(0)
    counts.eliminate_zeros()
    total = np.asarray(counts.sum(axis=1)).ravel() + _SHRINKAGE
    scale = sparse.diags((1.0 / total).astype(np.float32))
    return sparse.csr_matrix(scale @ counts, dtype=np.float32)


def item_knn(
    histories: Ragged,
    num_items: int,
    shrinkage: float = 10.0,
    num_neighbours: int = 200,
) -> sparse.csr_matrix:
    """Cosine between the users of two items, shrunk, best neighbours kept.

    In a large catalogue long histories count by their newest items, see
    `auto.knn_history`.

    Args:
        shrinkage: Added to the denominator; pairs seen rarely weigh less.
    """
    newest = auto.knn_history(num_items, histories.lengths).value
    users = _taken(histories, num_items, newest)
    columns = users.T.tocsr()
    norms = np.sqrt(np.asarray(users.sum(axis=0)).ravel())
    blocks = []
    for start in range(0, num_items, _ROWS_AT_ONCE):
        block = (columns[start : start + _ROWS_AT_ONCE] @ users).tocoo()
        row, column = block.row + start, block.col
        value = block.data / (norms[row] * norms[column] + shrinkage)
        value[row == column] = 0.0
        blocks.append(
            keep_largest(
                sparse.csr_matrix(
                    (value.astype(np.float32), (block.row, column)),
                    shape=block.shape,
                ),
                num_neighbours,
            )
        )
    return sparse.vstack(blocks, format="csr")


def ease(
    histories: Ragged, num_items: int, regularisation: float
) -> np.ndarray:
    """Closed-form linear item model (Steck 2019, "Embarrassingly shallow").

    Args:
        num_items: Rows and columns of the result; the time grows with their
            cube.
        regularisation: L2 weight, in interactions.
    """
    users = _taken(histories, num_items)[:, FIRST_ITEM:]
    gram = (users.T @ users).toarray().astype(np.float32)
    gram[np.diag_indices_from(gram)] += regularisation
    precision = scipy.linalg.inv(gram, overwrite_a=True, assume_a="pos")
    weights = np.zeros((num_items, num_items), np.float32)
    inner = weights[FIRST_ITEM:, FIRST_ITEM:]
    np.divide(precision, -np.diag(precision), out=inner)
    inner[np.diag_indices_from(inner)] = 0.0
    return weights


def keep_largest(table: sparse.csr_matrix, width: int) -> sparse.csr_matrix:
    """Keeps the `width` entries of largest magnitude in every row."""
    table = sparse.csr_matrix(table)
    lengths = np.diff(table.indptr)
    if not len(lengths) or lengths.max() <= width:
        return table
    rows = np.repeat(np.arange(table.shape[0]), lengths)
    order = np.lexsort((-np.abs(table.data), rows))
    place = np.arange(len(order)) - np.repeat(table.indptr[:-1], lengths)
    kept = np.sort(order[place < width])
    return sparse.csr_matrix(
        (table.data[kept], (rows[kept], table.indices[kept])),
        shape=table.shape,
    )


def largest_of_dense(weights: np.ndarray, width: int) -> sparse.csr_matrix:
    """The `width` entries of largest magnitude in every row of a matrix.

    Works on blocks of rows: a dense item-item matrix fits into memory once,
    its positions would not.
    """
    width = min(width, weights.shape[1])
    blocks = []
    for start in range(0, len(weights), _ROWS_AT_ONCE):
        block = weights[start : start + _ROWS_AT_ONCE]
        size = np.abs(block)
        least = np.partition(size, -width, axis=1)[:, [-width]]
        large = sparse.csr_matrix(np.where(size >= least, block, 0))
        blocks.append(keep_largest(large, width))
    return sparse.vstack(blocks, format="csr")


def _taken(
    histories: Ragged, num_items: int, newest: int = 0
) -> sparse.csr_matrix:
    """Whether a history has an item, 1 or 0, float32 `[B, num_items]`."""
    found = decayed(histories, num_items, decay=1.0, length=newest)
    found.data[:] = 1.0
    return found
