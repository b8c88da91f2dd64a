"""How popular each item was lately, at moments of the log and at its end.

An item's popularity at the moment of a request is known when it is served,
and in a temporal split it says more than most histories do. In training each
target therefore meets the counts of its own moment, never later ones; what is
served carries the counts of the end.

Shape letters: E events, T moments, N + 2 item indices, H half-lives.
"""

from dataclasses import dataclass

import numpy as np

# Shares of the log's duration after which a count is worth half. Fixed: the
# model learns how much each is worth.
HALF_LIVES = (0.02, 0.08, 0.3)
_MAX_MOMENTS = 64
_MIN_MOMENTS = 8
# Keeps the tables of a million items within 100 MB.
_MAX_VALUES = 25_000_000
# An item without recent counts is not impossible.
_SMOOTHING = 0.05


@dataclass(frozen=True)
class Trends:
    """Popularity as the logarithm of an item's share against the mean.

    Attributes:
        moments: int32 `[E]`, the table each event may read.
        tables: float32 `[T, N + 2, H]`; table t counts what came before its
            moment.
        now: float32 `[N + 2, H]`, counts of everything.
    """

    moments: np.ndarray
    tables: np.ndarray
    now: np.ndarray


def make(
    items: np.ndarray,
    timestamps: np.ndarray,
    weights: np.ndarray,
    num_rows: int,
) -> Trends:
    """Counts the events with a weight, moment by moment.

    Args:
        items: int32 `[E]` item indices.
        timestamps: int64 `[E]`, in any order.
        weights: float32 `[E]`; events of weight 0 are not counted.
        num_rows: N + 2.
    """
    width = len(HALF_LIVES)
    count = int(np.clip(_MAX_VALUES // (num_rows * width), 1, _MAX_MOMENTS))
    count = max(count, _MIN_MOMENTS)
    used = np.flatnonzero(weights > 0)
    used = used[np.argsort(timestamps[used], kind="stable")]
    times = timestamps[used]
    if not len(used):
        empty = np.zeros([1, num_rows, width], np.float32)
        return Trends(np.zeros(len(items), np.int32), empty, empty[0])
    # Equally many events between two moments; busy times get more of them.
    bounds = np.unique(times[np.arange(count) * len(used) // count])
    half_lives = np.array(HALF_LIVES) * max(1, times[-1] - times[0])
    tables = np.zeros([len(bounds), num_rows, width], np.float32)
    state = np.zeros([num_rows, width])
    previous = bounds[0]
    stops = np.append(bounds, times[-1] + 1)
    for number, bound in enumerate(stops):
        state *= np.exp2(-(bound - previous) / half_lives)
        begin, end = np.searchsorted(times, [previous, bound])
        for column, half_life in enumerate(half_lives):
            decay = np.exp2(-(bound - times[begin:end]) / half_life)
            state[:, column] += np.bincount(
                items[used[begin:end]], decay, num_rows
            )
        if number < len(bounds):
            tables[number] = _logarithm(state)
        previous = bound
    moments = np.searchsorted(bounds, timestamps, side="right") - 1
    return Trends(
        np.maximum(moments, 0).astype(np.int32), tables, _logarithm(state)
    )


def _logarithm(counts: np.ndarray) -> np.ndarray:
    """Log of each count against the mean item: `[N + 2, H]`."""
    mean = counts.sum(axis=0) / max(len(counts) - 2, 1)
    share = np.divide(counts, mean, out=np.ones_like(counts), where=mean > 0)
    return np.log(share + _SMOOTHING).astype(np.float32)
