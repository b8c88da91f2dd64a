"""Order statistics of more values than memory holds.

Three passes over the values: their range, how many fall into each of some
millions of bins, and then only the values of the bins that are asked for.
"""

from collections.abc import Callable, Iterable

import numpy as np

# 32 MB of counts; a second a bin for seven weeks, 23 seconds for three years.
_NUM_BINS = 1 << 22


def select(
    read: Callable[[], Iterable[np.ndarray]],
    ranks: Callable[[int], np.ndarray],
) -> np.ndarray:
    """The values at given places of the sorted whole, exactly.

    Args:
        read: Gives all values, int64, in blocks; called up to three times.
        ranks: Places wanted, counted from 0, given how many values there are.

    Returns:
        int64, one a rank; empty where there are no values.
    """
    count, low, high = 0, np.iinfo(np.int64).max, np.iinfo(np.int64).min
    for values in read():
        if len(values):
            count += len(values)
            low = min(low, int(values.min()))
            high = max(high, int(values.max()))
    if not count:
        return np.zeros(0, np.int64)
    wanted = ranks(count)
    width = (high - low) // _NUM_BINS + 1
    counts = np.zeros((high - low) // width + 1, np.int64)
    for values in read():
        counts += np.bincount((values - low) // width, minlength=len(counts))
    ends = np.cumsum(counts)
    bins = np.searchsorted(ends, wanted, side="right")
    if width == 1:
        return low + bins
    chosen = np.unique(bins)
    kept = [np.zeros(0, np.int64)]
    for values in read():
        places = (values - low) // width
        found = np.searchsorted(chosen, places)
        found = np.minimum(found, len(chosen) - 1)
        kept.append(values[chosen[found] == places])
    inside = np.sort(np.concatenate(kept))
    # Values of the bins in front that were not kept.
    before = ends[chosen] - np.cumsum(counts[chosen])
    return inside[wanted - before[np.searchsorted(chosen, bins)]]
