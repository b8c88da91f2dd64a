"""How long calls take beside each other."""

import time
from collections.abc import Callable, Mapping

import numpy as np


def medians(
    calls: Mapping[str, Callable[[], object]], rounds: int
) -> dict[str, float]:
    """Median microseconds of each call, see `samples`."""
    taken = samples(calls, rounds)
    return {name: float(np.median(found)) for name, found in taken.items()}


def samples(
    calls: Mapping[str, Callable[[], object]], rounds: int
) -> dict[str, np.ndarray]:
    """Microseconds of each call in each round, `[rounds]`.

    They are called in turn, so that what else runs on the machine slows all
    of them alike.
    """
    taken = np.zeros((rounds, len(calls)))
    for row in taken:
        for place, call in enumerate(calls.values()):
            started = time.perf_counter()
            call()
            row[place] = time.perf_counter() - started
    return dict(zip(calls, taken.T * 1e6, strict=True))
