"""Intervals that hold what they say, where trials of one user are alike."""

import numpy as np
import pytest
from scipy import stats

from pipeline.feedback import intervals


def users(
    random: np.random.Generator, mean: float, count: int = 300
) -> tuple[np.ndarray, np.ndarray]:
    """Taken and shown of users who differ much in what they take."""
    trials = random.integers(1, 40, count)
    rates = random.beta(2 * mean, 2 * (1 - mean), count)
    return random.binomial(trials, rates), trials


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    random = np.random.default_rng(5)
    held, naive = 0, 0
    for _ in range(400):
        taken, shown = users(random, 0.1)
        found = intervals.share(taken, shown)
        held += found.low <= 0.1 <= found.high
        # As if no two impressions had anything to do with each other.
        alone = stats.binomtest(int(taken.sum()), int(shown.sum()))
        low, high = alone.proportion_ci(method="wilson")
        naive += low <= 0.1 <= high
    assert 0.92 < held / 400 < 0.98
    assert naive / 400 < 0.7


@pytest.mark.parametrize("effect", [0.0, 0.04])
def test_an_effect_is_found_and_none_is_not(effect: float) -> None:
    random = np.random.default_rng(6)
    held = called = 0
    for _ in range(300):
        old = intervals.share(*users(random, 0.1, 800))
        new = intervals.share(*users(random, 0.1 + effect, 300))
        gap = intervals.gap(new, old)
        held += gap.low <= effect <= gap.high
        called += gap.low > 0 or gap.high < 0
    assert 0.92 < held / 300 < 0.985
    if effect:
        assert called / 300 > 0.4
    else:
        assert called / 300 < 0.08


def test_where_every_trial_is_a_user_it_is_wilsons() -> None:
    taken = np.array([1] * 30 + [0] * 170)
    found = intervals.share(taken, np.ones(200))
    low, high = stats.binomtest(30, 200).proportion_ci(method="wilson")
    assert (found.count, found.trials, found.users) == (30, 200, 200)
    assert found.value == 0.15
    assert found.low == pytest.approx(low, abs=2e-4)
    assert found.high == pytest.approx(high, abs=2e-4)


def test_nothing_taken_still_has_a_bound() -> None:
    found = intervals.share(np.zeros(50), np.full(50, 10.0))
    low, high = stats.binomtest(0, 50).proportion_ci(method="wilson")
    assert (found.value, found.low) == (0.0, pytest.approx(low))
    assert found.high == pytest.approx(high)
    none = intervals.share(np.zeros(0), np.zeros(0))
    assert (none.trials, np.isnan(none.value)) == (0, True)
