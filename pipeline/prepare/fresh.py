"""What came since a moment, beside the stretches of the same length before.

A new day is like the days before it, whatever they are like: how many are new
in it, how busy it is and at what hours. So it is held against them, not
against fixed numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models.config import FIRST_ITEM
from pipeline.tables import sequences
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import FIRST_MOMENT

# Stretches before, at most.
_BEFORE = 4
_DAY, _HOUR = 86_400, 3_600


@dataclass(frozen=True)
class Stretch:
    """Interactions of a stretch of time.

    Attributes:
        interactions: All of them.
        users: Who has any.
        new_users: Share of them by users who had none before the stretch.
        new_items: Share of them with items that had none.
        hours: How many by hour of the day, UTC, `[24]`.
    """

    interactions: int
    users: int
    new_users: float
    new_items: float
    hours: np.ndarray


def since(prepared: Prepared, moment: int) -> Sequence[Stretch]:
    """What came after a moment, then the stretches before, latest first.

    Args:
        prepared: On disk.
        moment: In seconds, the last of what is known already.

    Returns:
        Nothing where less than a day has come, or where times are positions.
    """
    first, last = prepared.summary["first"], prepared.summary["last"]
    length = last - moment
    if first < FIRST_MOMENT or length < _DAY // 2:
        return []
    # Down to whole days, or a stretch would lack hours that others have.
    length = max(length, _DAY)
    count = min(_BEFORE, (moment + 1 - first) // length)
    starts = moment + 1 - length * np.arange(count + 1)
    item_first = _first_of_items(prepared, last)
    # Interactions, users, interactions by new users, with new items; hours.
    sums = np.zeros((len(starts), 4), np.int64)
    hours = np.zeros((len(starts), 24), np.int64)
    for block in sequences.iterate(prepared.directory):
        times = block.timestamps
        lengths = np.diff(block.offsets)
        opening = np.append(times, 0)[block.offsets[:-1]]
        user_first = np.repeat(opening, lengths)
        users = np.repeat(np.arange(len(lengths)), lengths)
        # 0 for what is fresh, 1 for the stretch before, and so on.
        places = np.where(
            times > moment, 0, (moment - times) // length + 1
        ).clip(max=len(starts))
        for place, start in enumerate(starts):
            own = places == place
            sums[place] += (
                own.sum(),
                len(np.unique(users[own])),
                (user_first[own] >= start).sum(),
                (item_first[block.item_indices[own]] >= start).sum(),
            )
            hours[place] += np.bincount(times[own] // _HOUR % 24, minlength=24)
    return list(_stretches(sums, hours))


def _stretches(sums: np.ndarray, hours: np.ndarray) -> Iterator[Stretch]:
    for (total, users, by_new, of_new), by_hour in zip(
        sums, hours, strict=True
    ):
        of = max(int(total), 1)
        yield Stretch(int(total), int(users), by_new / of, of_new / of, by_hour)


def _first_of_items(prepared: Prepared, last: int) -> np.ndarray:
    """Time of the first interaction of each item; without an index, never."""
    found = np.full(len(prepared.items.ids), last, np.int64)
    for block in sequences.iterate(prepared.directory):
        np.minimum.at(found, block.item_indices, block.timestamps)
    found[:FIRST_ITEM] = last
    return found
