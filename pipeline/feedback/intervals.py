"""Intervals of shares whose trials come in clusters, one a user.

A user's impressions are alike, so that intervals which count them one by one
are too narrow. Here the variance is taken over users: it says how many
independent trials would be as uncertain (Kish's effective sample size), and
Wilson's score interval is of that many. A difference of two independent
shares has Newcombe's interval of the two (Statistics in Medicine 17, 1998).

Shape letter: U users.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipeline.measure.intervals import wilson


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval.

    Attributes:
        count: What was taken.
        trials: Of so many.
        users: Who had them.
        value: `count / trials`; NaN without trials, as are the bounds.
    """

    count: int
    trials: int
    users: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Gap:
    """A difference of two shares with its 95 % interval."""

    value: float
    low: float
    high: float


def share(count: np.ndarray, trials: np.ndarray) -> Share:
    """Estimates a share.

    Args:
        count: Of each user, `[U]`.
        trials: Of each user, `[U]`.
    """
    total, users = int(trials.sum()), int(np.count_nonzero(trials))
    taken = int(count.sum())
    if not total:
        return Share(0, 0, 0, math.nan, math.nan, math.nan)
    value = taken / total
    low, high = wilson(value, _effective(count, trials, value))
    return Share(taken, total, users, value, low, high)


def _effective(count: np.ndarray, trials: np.ndarray, value: float) -> float:
    """Independent trials that would be as uncertain as these."""
    total = float(trials.sum())
    users = np.count_nonzero(trials)
    if users < 2 or not 0.0 < value < 1.0:
        return min(total, max(1.0, float(users)))
    # Of a ratio of sums, by linearization.
    residuals = count - value * trials
    variance = users / (users - 1) * float((residuals**2).sum()) / total**2
    if not variance:
        return total
    return min(total, value * (1.0 - value) / variance)


def gap(new: Share, old: Share) -> Gap:
    """The first share less the second, of different users."""
    value = new.value - old.value
    below = math.hypot(new.value - new.low, old.high - old.value)
    above = math.hypot(new.high - new.value, old.value - old.low)
    return Gap(value, value - below, value + above)
