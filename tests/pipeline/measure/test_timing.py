"""Calls timed beside each other."""

import time

from pipeline.measure import timing


def test_calls_take_turns_and_are_told_apart() -> None:
    called: list[str] = []

    def slow() -> None:
        called.append("slow")
        time.sleep(0.01)

    found = timing.medians(
        {"slow": slow, "fast": lambda: called.append("fast")}, 3
    )
    assert called == ["slow", "fast"] * 3
    assert found["slow"] >= 10_000 > found["fast"]
