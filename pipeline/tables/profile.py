"""What a log is like, in a few counts that can be kept and compared.

A release carries the profile of the data it was made from, so that a later run
can say what has changed since.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.config import FIRST_ITEM
from pipeline.tables import sequences
from pipeline.tables.prepared import Prepared, Table
from pipeline.tables.schema import FIRST_MOMENT
from pipeline.tables.sequences import Sequences

FILE = "profile.json"
_MOST_ITEMS = MOST_USERS = 1_000
_DAY, _HOUR = 86_400, 3_600
# 1, 2, up to 4, up to 8 and so on; the last has no end.
_DOUBLINGS = 8


@dataclass(frozen=True)
class Spread:
    """What values a column of numbers has."""

    low: float
    high: float
    mean: float
    std: float


@dataclass(frozen=True)
class Profile:
    """Counts of a log, or of a part of it.

    Attributes:
        first: Earliest time in seconds.
        last: Latest time.
        interactions: All of them.
        items: Interactions of the most popular items by id, falling.
        activity: How many users had 1, 2, up to 4, up to 8, ... interactions
            on a day, over all days; empty where times are positions.
        hours: Interactions by hour of the day, UTC; empty likewise.
        users: Who has any.
        catalogue: Items that can be recommended.
        known_users: A sample of the users: the least of the digests of their
            ids, rising.
        duplicates: Interactions of the same user, item and second as another.
        values: Of "rating" and "weight", where there are such.
        missing: Share of the rows without a value by feature, such as
            "items.genres"; of numbers those at the mean.

    What was added later is empty in profiles of older releases.
    """

    first: int
    last: int
    interactions: int
    items: dict[str, int]
    activity: tuple[int, ...] = ()
    hours: tuple[int, ...] = ()
    users: int = 0
    catalogue: int = 0
    known_users: tuple[int, ...] = ()
    duplicates: int = 0
    values: dict[str, Spread] = field(default_factory=dict)
    missing: dict[str, float] = field(default_factory=dict)

    def write(self, directory: Path) -> None:
        """Writes `profile.json`."""
        text = json.dumps(dataclasses.asdict(self), ensure_ascii=False)
        (directory / FILE).write_text(text + "\n", "utf-8")

    @classmethod
    def read(cls, directory: Path) -> Profile | None:
        """Reads what `write` wrote; None where nothing is."""
        path = directory / FILE
        if not path.exists():
            return None
        found = json.loads(path.read_text("utf-8"))
        for name in ("activity", "hours", "known_users"):
            found[name] = tuple(found.get(name, ()))
        found["values"] = {
            name: Spread(**spread)
            for name, spread in found.get("values", {}).items()
        }
        return cls(**found)


def of(
    prepared: Prepared, chosen: Callable[[Sequences], np.ndarray] | None = None
) -> Profile:
    """Counts prepared tables, a block of users at a time.

    Args:
        prepared: On disk.
        chosen: Which events `[num_events]` of a block count; None for all.
    """
    count = _Count(len(prepared.items.ids))
    for block in sequences.iterate(prepared.directory):
        if chosen is not None:
            block = sequences.keep(block, chosen(block))
        if len(block.timestamps):
            count.add(block)
    is_timed = count.first >= FIRST_MOMENT
    known = count.items.copy()
    known[:FIRST_ITEM] = 0
    order = np.argsort(-known, kind="stable")[:_MOST_ITEMS]
    return Profile(
        int(count.first),
        int(count.last),
        int(count.items.sum()),
        {str(prepared.items.ids[i]): int(known[i]) for i in order if known[i]},
        tuple(count.activity.tolist()) if is_timed else (),
        tuple(count.hours.tolist()) if is_timed else (),
        count.users,
        prepared.num_answered,
        tuple(sorted(count.digests)[:MOST_USERS]),
        count.duplicates,
        {name: _spread(*rest) for name, rest in count.values.items()},
        {
            f"{table}.{name}": share
            for table in ("items", "users")
            for name, share in _missing(getattr(prepared, table))
        },
    )


def digest(user_id: str) -> int:
    """What stands for a user in a sample of them."""
    return zlib.crc32(user_id.encode())


class _Count:
    """Sums over the blocks of a log."""

    def __init__(self, num_items: int) -> None:
        self.items = np.zeros(num_items, np.int64)
        self.activity = np.zeros(_DOUBLINGS, np.int64)
        self.hours = np.zeros(24, np.int64)
        self.first = np.iinfo(np.int64).max
        self.last = np.iinfo(np.int64).min
        self.users = self.duplicates = 0
        self.digests: list[int] = []
        # Least, largest, number, sum and sum of squares.
        self.values: dict[str, np.ndarray] = {}

    def add(self, block: Sequences) -> None:
        times, items = block.timestamps, block.item_indices
        self.first = min(self.first, int(times.min()))
        self.last = max(self.last, int(times.max()))
        self.items += np.bincount(items, minlength=len(self.items))
        self.hours += np.bincount(times // _HOUR % 24, minlength=24)
        self.activity += _activity(block)
        owners = np.repeat(
            np.arange(len(block.user_ids)), np.diff(block.offsets)
        )
        there = np.unique(owners)
        self.users += len(there)
        # Of a sample's size at any time.
        self.digests += [digest(str(name)) for name in block.user_ids[there]]
        self.digests = sorted(self.digests)[:MOST_USERS]
        same = (np.diff(owners) == 0) & (np.diff(times) == 0)
        same &= (np.diff(items) == 0) & (items[1:] >= FIRST_ITEM)
        self.duplicates += int(same.sum())
        for name, found in (
            ("rating", block.ratings),
            ("weight", block.weights),
        ):
            if found is not None:
                self._spread(name, found.astype(np.float64))

    def _spread(self, name: str, found: np.ndarray) -> None:
        own = [found.min(), found.max(), len(found), found.sum()]
        sums = np.array([*own, (found**2).sum()])
        if name in self.values:
            before = self.values[name]
            sums[0] = min(sums[0], before[0])
            sums[1] = max(sums[1], before[1])
            sums[2:] += before[2:]
        self.values[name] = sums


def _spread(
    low: float, high: float, count: float, total: float, squares: float
) -> Spread:
    mean = total / count
    variance = max(squares / count - mean**2, 0.0)
    return Spread(float(low), float(high), float(mean), float(variance**0.5))


def _missing(table: Table) -> Iterator[tuple[str, float]]:
    """The share of the rows without a value, by feature."""
    for name, values in table.features.items():
        rows = values[FIRST_ITEM:]
        first = rows if rows.ndim == 1 else rows[:, 0]
        yield name, float((first == 0).mean()) if len(first) else 0.0


def _activity(block: Sequences) -> np.ndarray:
    """Users and days by how many interactions they hold."""
    days = block.timestamps // _DAY
    starts = np.ones(len(days), bool)
    starts[1:] = days[1:] != days[:-1]
    offsets = block.offsets[:-1]
    starts[offsets[offsets < len(days)]] = True
    counts = np.diff(np.append(np.flatnonzero(starts), len(days)))
    doublings = np.ceil(np.log2(counts)).astype(int)
    return np.bincount(
        np.minimum(doublings, _DOUBLINGS - 1), minlength=_DOUBLINGS
    )
