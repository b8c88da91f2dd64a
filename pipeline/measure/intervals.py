"""Intervals of shares."""

import math

# Of the normal distribution, the 97.5th percentile.
_Z = 1.959964


def wilson(share: float, trials: float) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927).

    Args:
        share: Of the trials, 0 to 1.
        trials: How many, or as how many independent ones they count.
    """
    middle = share + _Z * _Z / (2 * trials)
    half = _Z * math.sqrt(
        share * (1 - share) / trials + (_Z / (2 * trials)) ** 2
    )
    scale = 1 + _Z * _Z / trials
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
