"""How popular each item was lately, at moments of the log and at its end.

An item's popularity at the moment of a request is known when it is served,
and in a temporal split it says more than most histories do. In training each
target therefore meets the counts of its own moment, never later ones; what is
served carries the counts of the end.

Shape letters: E events, T moments, N + 2 item indices, H half-lives.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.retrieval import quantiles

# Shares of the log's duration after which a count is worth half. Fixed: the
# model learns how much each is worth.
HALF_LIVES = (0.02, 0.08, 0.3)
_MAX_MOMENTS = 64
_MIN_MOMENTS = 8
# Keeps the tables of a million items within 100 MB.
_MAX_VALUES = 25_000_000
# An item without recent counts is not impossible.
_SMOOTHING = 0.05

# Item indices, timestamps and weights of some events.
Events = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Trends:
    """Popularity as the logarithm of an item's share against the mean.

    Attributes:
        bounds: int64 `[T]`, the moments in seconds, rising.
        tables: float32 `[T, N + 2, H]`; table t counts what came before its
            moment.
        now: float32 `[N + 2, H]`, counts of everything.
    """

    bounds: np.ndarray
    tables: np.ndarray
    now: np.ndarray


def moments(bounds: np.ndarray, timestamps: np.ndarray) -> np.ndarray:
    """Which table a request at each timestamp may read, int32 `[E]`."""
    found = np.searchsorted(bounds, timestamps, side="right") - 1
    return np.maximum(found, 0).astype(np.int32)


def make(read: Callable[[], Iterable[Events]], num_rows: int) -> Trends:
    """Counts the events with a weight, moment by moment.

    Args:
        read: Gives all events, in any order and in blocks of any size; called
            several times. Events of weight 0 are not counted.
        num_rows: N + 2.
    """
    width = len(HALF_LIVES)
    count = int(np.clip(_MAX_VALUES // (num_rows * width), 1, _MAX_MOMENTS))
    count = max(count, _MIN_MOMENTS)

    def times() -> Iterable[np.ndarray]:
        for _items, timestamps, weights in read():
            yield timestamps[weights > 0]

    # Equally many events between two moments; busy times get more of them.
    found = quantiles.select(
        times, lambda n: np.append(np.arange(count) * n // count, n - 1)
    )
    if not len(found):
        empty = np.zeros([1, num_rows, width], np.float32)
        return Trends(np.zeros(1, np.int64), empty, empty[0])
    bounds, last = np.unique(found[:-1]), found[-1]
    half_lives = np.array(HALF_LIVES) * max(1, last - bounds[0])
    stops = np.append(bounds, last + 1)
    # What happened between a moment and the next, as worth at the next.
    between = np.zeros([len(stops), num_rows, width])
    for items, timestamps, weights in read():
        used = np.flatnonzero(weights > 0)
        used = used[np.argsort(timestamps[used], kind="stable")]
        place = np.searchsorted(bounds, timestamps[used], side="right")
        age = stops[place] - timestamps[used]
        for column, half_life in enumerate(half_lives):
            np.add.at(
                between[..., column],
                (place, items[used]),
                np.exp2(-age / half_life),
            )
    tables = np.zeros([len(bounds), num_rows, width], np.float32)
    state = np.zeros([num_rows, width])
    previous = bounds[0]
    for number, bound in enumerate(stops):
        state *= np.exp2(-(bound - previous) / half_lives)
        state += between[number]
        if number < len(bounds):
            tables[number] = _logarithm(state)
        previous = bound
    return Trends(bounds, tables, _logarithm(state))


def _logarithm(counts: np.ndarray) -> np.ndarray:
    """Log of each count against the mean item: `[N + 2, H]`."""
    mean = counts.sum(axis=0) / max(len(counts) - 2, 1)
    share = np.divide(counts, mean, out=np.ones_like(counts), where=mean > 0)
    return np.log(share + _SMOOTHING).astype(np.float32)
