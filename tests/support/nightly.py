"""A log of some weeks that grows by a day, with daily and weekly rhythm."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

DAY = 86_400
START = 19_000 * DAY
# Interactions by hour of the day, as of people who sleep.
_HOURS = np.array([1] * 7 + [4] * 10 + [8] * 6 + [2], float)


@dataclass(frozen=True)
class Log:
    """Columns of interactions in order of time, `[num_rows]` each."""

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    ratings: np.ndarray

    def take(self, rows: np.ndarray) -> "Log":
        return Log(
            self.users[rows],
            self.items[rows],
            self.times[rows],
            self.ratings[rows],
        )

    def table(self) -> pa.Table:
        return pa.table(
            {
                "user_id": [f"u{user}" for user in self.users],
                "item_id": [f"i{item}" for item in self.items],
                "timestamp": self.times,
                "rating": self.ratings,
            }
        )


def join(*logs: Log) -> Log:
    return Log(
        *(
            np.concatenate([getattr(log, name) for log in logs])
            for name in ("users", "items", "times", "ratings")
        )
    )


def days(first: int, last: int, seed: int, a_day: int = 1_200) -> Log:
    """The interactions of some days, `last` left out.

    Users and items are born every day; weekends are busier; popularity falls
    off and drifts.
    """
    return join(*(_day(day, seed, a_day) for day in range(first, last)))


def _day(day: int, seed: int, a_day: int) -> Log:
    rng = np.random.default_rng([seed, day])
    count = rng.poisson(a_day * (1.6 if day % 7 in (2, 3) else 1.0))
    users = rng.integers(0, 600 + 8 * day, count)
    ranks = rng.zipf(1.3, count) % (200 + day)
    hours = rng.choice(24, count, p=_HOURS / _HOURS.sum())
    times = START + day * DAY + hours * 3_600 + rng.integers(0, 3_600, count)
    order = np.argsort(times, kind="stable")
    ratings = rng.choice([1.0, 2.0, 3.0, 4.0, 5.0], count)
    return Log(users[order], (ranks + day // 3)[order], times[order], ratings)
