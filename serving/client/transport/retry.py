"""When to try again, and how long to wait before."""

import math
import random
from dataclasses import dataclass, fields
from numbers import Real

from serving import ids
from serving.errors import InvalidRequest

# The server is at fault or absent: another stage may still answer. Every
# other code is the caller's mistake and is raised as it is.
ABSENT = frozenset(
    {
        *("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"),
        *("NOT_FOUND", "INTERNAL", "UNKNOWN", "ABORTED", "DATA_LOSS"),
        "CANCELLED",
    }
)

# The server is not there, or went in the middle of the call: one that stops
# cancels what it has begun.
GONE = frozenset({"UNAVAILABLE", "CANCELLED"})
# A replica that fails so may be down as a whole.
SILENT = GONE | {"DEADLINE_EXCEEDED"}


@dataclass(frozen=True)
class Retry:
    """How often to try again and how long to wait in between.

    A call is made again after UNAVAILABLE or CANCELLED, once after
    RESOURCE_EXHAUSTED, after NOT_FOUND for a version that a swap is about to
    bring, and at another replica as `transport.fleet` says. Calls only read, so
    that is safe.

    Attributes:
        attempts: Calls at most, the first included.
        initial_backoff_seconds: Mean wait before the second call.
        multiplier: Growth of the wait from call to call.
        max_backoff_seconds: Longest mean wait.
        swap_wait_seconds: How long a request waits for the ranking model to
            reach the version that retrieval answered with.
    """

    attempts: int = 4
    initial_backoff_seconds: float = 0.02
    multiplier: float = 2.0
    max_backoff_seconds: float = 0.5
    swap_wait_seconds: float = 0.5

    def __post_init__(self) -> None:
        ids.whole(self.attempts, "attempts", 1, "Use 1 for no retries.")
        for part in fields(self)[1:]:
            value = getattr(self, part.name)
            if not isinstance(value, Real) or not 0 <= float(value) < math.inf:
                raise InvalidRequest(
                    f"`{part.name}` must be a number, not negative. Received: "
                    f"{value!r} (in Retry). Leave it out for the default."
                )

    def backoff(self, attempt: int) -> float:
        """Draws the wait in seconds after call number `attempt` (from 1).

        Spread by half around the mean, so that many clients that failed
        together do not come back together.
        """
        mean = min(
            self.initial_backoff_seconds * self.multiplier ** (attempt - 1),
            self.max_backoff_seconds,
        )
        return mean * random.uniform(0.5, 1.5)
