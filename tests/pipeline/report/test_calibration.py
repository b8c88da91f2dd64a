"""Shares with the interval that few cases leave."""

import pytest

from pipeline.report.sections import calibration


def test_wilson_holds_the_share_and_stays_a_share() -> None:
    # 8 of 10, as in tables of the score interval.
    assert calibration.wilson(0.8, 10) == pytest.approx(
        (0.4902, 0.9433), abs=1e-4
    )
    assert calibration.wilson(0.0, 10)[0] == 0.0
