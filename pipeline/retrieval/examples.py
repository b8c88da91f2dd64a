"""A part of the training data: some users' events and what to learn of them.

Shape letters: U users, E events of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.tables import sequences as storage
from pipeline.tables.sequences import Sequences


@dataclass(frozen=True)
class Part:
    """Sequences of some users with what to train on.

    Attributes:
        sequences: The users' events.
        user_rows: int64 `[U]`, the users' rows among all users.
        stops: int64 `[E]`, the end of the events an event may depend on.
        weights: float32 `[E]`, weight of each event as a target; 0 never.
        moments: int32 `[E]`, which popularity table holds at each event.
        horizon: Targets are predicted up to so many events early; 1 never is.
        lag: Seconds. With them a target is asked for up to so long before it
            happens, and is one only where it is among the `horizon` events
            that come next; each epoch draws those times.
        bounds: int64 `[T]`, when each popularity table begins to hold; needed
            with a lag.
        is_unordered: Whether a target may follow from any other event of its
            user, so that each epoch draws an order.
        share: The how-manieth of how many equal shares of the batches to
            make; the draws are those of the whole.
    """

    sequences: Sequences
    user_rows: np.ndarray
    stops: np.ndarray
    weights: np.ndarray
    moments: np.ndarray
    horizon: int = 1
    lag: int = 0
    bounds: np.ndarray | None = None
    is_unordered: bool = False
    share: tuple[int, int] = (0, 1)


def join(parts: Sequence[Part]) -> Part:
    """Several parts as one."""
    bases = np.cumsum([0, *(len(part.weights) for part in parts[:-1])])
    stops = [p.stops + base for p, base in zip(parts, bases, strict=True)]
    return replace(
        parts[0],
        sequences=storage.join([part.sequences for part in parts]),
        user_rows=np.concatenate([part.user_rows for part in parts]),
        stops=np.concatenate(stops),
        weights=np.concatenate([part.weights for part in parts]),
        moments=np.concatenate([part.moments for part in parts]),
    )
