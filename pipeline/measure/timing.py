"""How long calls take beside each other."""

import time
from collections.abc import Callable, Mapping

import numpy as np


def medians(
    calls: Mapping[str, Callable[[], object]], rounds: int
) -> dict[str, float]:
    """Median microseconds of each call.

    They are called in turn, so that what else runs on the machine slows all
    of them alike.
    """
    taken = np.zeros((rounds, len(calls)))
    for row in taken:
        for place, call in enumerate(calls.values()):
            started = time.perf_counter()
            call()
            row[place] = time.perf_counter() - started
    return dict(zip(calls, np.median(taken, axis=0) * 1e6, strict=True))
