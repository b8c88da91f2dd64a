"""A shop's log that grows by a file a day, with tastes that a model can learn.

Users keep to a group of items and take four of five from it; popularity falls
off within a group, users and items are born every day, hours have a rhythm.
The same seed gives the same days.

Leaves: one Parquet file a day (user_id, item_id, timestamp).
"""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from serving.releases import files

DAY_SECONDS = 86_400
# The first day of the log; the days before its first night are one file.
_START = datetime.date(2026, 3, 1)
_GROUPS = 8
_HOURS = np.array([1] * 7 + [4] * 10 + [8] * 6 + [2], float)
_Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Interactions in order of time, `[num_rows]` each.

    Attributes:
        users: Numbers of users.
        items: Numbers of items; the group is the number modulo the groups.
        times: In seconds since 1970.
    """

    users: _Ints
    items: _Ints
    times: _Ints

    def take(self, places: _Ints) -> "Rows":
        """Some of the rows."""
        return Rows(self.users[places], self.items[places], self.times[places])

    def write(self, path: Path) -> None:
        """Writes them as a source reads them; a file there is replaced."""
        ids = {
            "user_id": [f"u{user}" for user in self.users.tolist()],
            "item_id": [f"i{item}" for item in self.items.tolist()],
        }
        with files.staged(path) as part:
            pq.write_table(pa.table(ids | {"timestamp": self.times}), part)


def name(day: int) -> str:
    """The file of a day, such as 2026-03-28.parquet."""
    return f"{_START + datetime.timedelta(days=day):%Y-%m-%d}.parquet"


def generate(first: int, last: int, seed: int, a_day: int) -> Rows:
    """The interactions of some days, `last` left out."""
    found = [_day(day, seed, a_day) for day in range(first, last)]
    return Rows(
        *(
            np.concatenate([getattr(rows, name) for rows in found])
            for name in ("users", "items", "times")
        )
    )


def _day(day: int, seed: int, a_day: int) -> Rows:
    rng = np.random.default_rng([seed, day])
    count = int(rng.poisson(a_day))
    users = rng.integers(0, _num_users(day), count)
    group = np.where(
        rng.random(count) < 0.8,
        users % _GROUPS,
        rng.integers(0, _GROUPS, count),
    )
    ranks = rng.zipf(1.3, count) % (25 + day // 4)
    hours = rng.choice(24, count, p=_HOURS / _HOURS.sum())
    begin = datetime.datetime.combine(_START, datetime.time(), datetime.UTC)
    times = (
        int(begin.timestamp())
        + day * DAY_SECONDS
        + hours * 3_600
        + rng.integers(0, 3_600, count)
    )
    order = np.argsort(times, kind="stable")
    items = ranks * _GROUPS + group
    return Rows(users[order], items[order], times[order])


def _num_users(day: int) -> int:
    """Users who may come on a day."""
    return 400 + 5 * day


def likes(user: int, item: int) -> bool:
    """Whether an item is of the group that a user keeps to."""
    return user % _GROUPS == item % _GROUPS


def mixed_up(rows: Rows, seed: int) -> Rows:
    """The same users, items and times, joined at random: nothing to learn."""
    rng = np.random.default_rng(seed)
    return Rows(rows.users, rng.permutation(rows.items), rows.times)
