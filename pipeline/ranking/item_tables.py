"""Item statistics for the ranking model: neighbours, weights, popularity.

What enters: the interactions that may be counted. What leaves: arrays that
`models.signals` reads in the graph. The same function serves training, on a
log without the interactions that lists are made of, and serving, on the whole
log: rows are shares and logs of shares, so both mean the same.

Shape letters: N items with padding and out of vocabulary, K of them up to the
last with interactions, E neighbours of all items, T tables, P popularity
columns.
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
# this many items, a quarter of a minute each, it is not made.
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
    tables.append(cooccurrence.item_knn(histories, size, _KNN_SHRINKAGE, width))
    if not left_out(log):
        dense = cooccurrence.ease(histories, size, _EASE_REGULARISATION)
        tables.append(cooccurrence.largest_of_dense(dense, width))
    return ItemTables(*join(tables), popularity(log), len(TABLES))


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
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lays tables side by side over the neighbours that any of them has.

    Returns:
        Offsets int32 `[K + 1]`, neighbours int32 `[E]` and weights float32
        `[E, T]`, see `models.signals.ItemTables`.
    """
    starts = range(0, tables[0].shape[0], _ROWS_AT_ONCE)
    counts, neighbours, weights = zip(
        *(
            _join([table[start : start + _ROWS_AT_ONCE] for table in tables])
            for start in starts
        ),
        strict=True,
    )
    offsets = np.concatenate([[0], *counts]).cumsum()
    return (
        offsets.astype(np.int32),
        np.concatenate(neighbours),
        np.concatenate(weights),
    )


def _join(
    tables: list[sparse.csr_matrix],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same of some rows, with counts in place of offsets."""
    num_rows, num_items = tables[0].shape
    entries = [table.tocoo() for table in tables]
    keys = [e.row.astype(np.int64) * num_items + e.col for e in entries]
    union, where = np.unique(np.concatenate(keys), return_inverse=True)
    weights = np.zeros((len(union), len(tables)), np.float32)
    number = np.repeat(np.arange(len(tables)), [len(key) for key in keys])
    weights[where, number] = np.concatenate([e.data for e in entries])
    return (
        np.bincount(union // num_items, minlength=num_rows),
        (union % num_items).astype(np.int32),
        weights,
    )


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
