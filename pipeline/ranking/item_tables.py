"""Item statistics for the ranking model: neighbours, weights, popularity.

What enters: the interactions that may be counted. What leaves: arrays that
`models.signals` reads in the graph. The same function serves training, on a
log without the interactions that lists are made of, and serving, on the whole
log: rows are shares and logs of shares, so both mean the same.

Shape letters: N items with padding and out of vocabulary, K of them up to the
last with interactions, M neighbours, T tables, P popularity columns.
"""

import numpy as np
import scipy.sparse as sparse

from models.signals import ItemTables
from pipeline.ranking import cooccurrence
from pipeline.ranking.cooccurrence import Log
from pipeline.run import auto
from pipeline.run.auto import Choice

TABLES = ("forward", "backward", "together", "linear")
# The linear item model inverts a dense matrix three times in a run. Beyond
# this many items, a quarter of a minute each, its column is left empty.
LINEAR_MAX_ITEMS = 8_000
# Half-lives of popularity as shares of the log's duration: its unit and
# length differ between data sets.
_HALF_LIVES = (0.01, 0.05, 0.2)
_WINDOW = 10
_EASE_REGULARISATION = 500.0
_KNN_SHRINKAGE = 10.0
# Of the tables that are joined together; a million take 4 GB.
_ROWS_AT_ONCE = 65_536


def build(log: Log) -> ItemTables:
    """Counts the interactions that may be counted."""
    histories, size = log.histories, log.num_known
    width = auto.neighbours(size).value
    # Each as it is made: a whole table is far larger than what is kept of it.
    tables = [
        cooccurrence.keep_largest(
            cooccurrence.window_markov(given, size, _WINDOW, backward=0.0),
            width,
        )
        for given in (histories, histories.backwards())
    ]
    tables.append(cooccurrence.item_knn(histories, size, _KNN_SHRINKAGE))
    if left_out(log):
        tables.append(sparse.csr_matrix(tables[0].shape, dtype=np.float32))
    else:
        dense = cooccurrence.ease(histories, size, _EASE_REGULARISATION)
        tables.append(cooccurrence.largest_of_dense(dense, width))
    neighbours, weights = join(
        [cooccurrence.keep_largest(table, width) for table in tables]
    )
    return ItemTables(neighbours, weights, popularity(log))


def choices(log: Log) -> list[Choice[int]]:
    """What the size of the catalogue decides."""
    return [
        auto.neighbours(log.num_known),
        auto.knn_history(log.num_known, log.histories.lengths),
    ]


def left_out(log: Log) -> dict[str, str]:
    """Tables whose column stays empty, with the reason."""
    reason = log.too_large(LINEAR_MAX_ITEMS)
    return {"linear": reason} if reason else {}


def join(
    tables: list[sparse.csr_matrix],
) -> tuple[np.ndarray, np.ndarray]:
    """Lays tables side by side over the neighbours that any of them has.

    Returns:
        Neighbours int32 `[K, M]`, 0-padded, and weights float32 `[K, M, T]`.
    """
    size = tables[0].shape[0]
    starts = range(0, size, _ROWS_AT_ONCE)
    joined = [
        _join([table[start : start + _ROWS_AT_ONCE] for table in tables])
        for start in starts
    ]
    # One column at least, so that the graph has something to gather.
    width = max(1, *(near.shape[1] for near, _ in joined))
    neighbours = np.zeros((size, width), np.int32)
    weights = np.zeros((size, width, len(tables)), np.float32)
    for start, (near, found) in zip(starts, joined, strict=True):
        rows = slice(start, start + len(near))
        neighbours[rows, : near.shape[1]] = near
        weights[rows, : near.shape[1]] = found
    return neighbours, weights


def _join(
    tables: list[sparse.csr_matrix],
) -> tuple[np.ndarray, np.ndarray]:
    """The same of some rows, as wide as they need."""
    num_rows, num_items = tables[0].shape
    entries = [table.tocoo() for table in tables]
    keys = [e.row.astype(np.int64) * num_items + e.col for e in entries]
    union, where = np.unique(np.concatenate(keys), return_inverse=True)
    rows, columns = union // num_items, union % num_items
    counts = np.bincount(rows, minlength=num_rows)
    starts = np.concatenate([[0], np.cumsum(counts)])[:-1]
    place = np.arange(len(union)) - starts[rows]
    width = int(counts.max(initial=0))
    neighbours = np.zeros((num_rows, width), np.int32)
    neighbours[rows, place] = columns
    weights = np.zeros((num_rows, width, len(tables)), np.float32)
    number = np.repeat(np.arange(len(tables)), [len(key) for key in keys])
    values = np.concatenate([e.data for e in entries])
    weights[rows[where], place[where], number] = values
    return neighbours, weights


def popularity(log: Log) -> np.ndarray:
    """Log popularity over the whole log and lately, trend, and age.

    Returns:
        float32 `[N, P]`: log of an item's share against the mean item's, over
        all time and with each half-life; log of the share of the log's
        duration since the item was first seen.
    """
    columns = [_log_share(log.popularity())]
    times = log.timestamps.astype(np.float64)
    last = times.max() if len(times) else 0.0
    span = max(1.0, last - times.min()) if len(times) else 1.0
    columns += [
        _log_share(log.popularity(half_life, span)) for half_life in _HALF_LIVES
    ]
    first = np.full(log.num_items, last)
    np.minimum.at(first, log.histories.items, times)
    columns.append(np.log((last - first) / span + 0.01))
    return np.stack(columns, axis=1).astype(np.float32)


def _log_share(counts: np.ndarray) -> np.ndarray:
    """Log of counts over their mean, half an interaction for those without."""
    mean = max(counts.sum() / max(np.count_nonzero(counts), 1), 1e-9)
    return np.log((counts + 0.5 * min(1.0, mean)) / mean)
