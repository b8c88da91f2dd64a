"""Intervals of shares against published ones."""

import pytest

from pipeline.measure import intervals


def test_wilson_holds_the_share_and_stays_a_share() -> None:
    # 8 of 10, as in tables of the score interval.
    assert intervals.wilson(0.8, 10) == pytest.approx(
        (0.4902, 0.9433), abs=1e-4
    )
    assert intervals.wilson(0.0, 10)[0] == 0.0
    assert intervals.wilson(1.0, 10)[1] == pytest.approx(1.0)
