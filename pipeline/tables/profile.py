"""What a log is like, in a few counts that can be kept and compared.

A release carries the profile of the data it was made from, so that a later run
can say what has changed since.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.config import FIRST_ITEM
from pipeline.tables import sequences
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import FIRST_MOMENT
from pipeline.tables.sequences import Sequences

FILE = "profile.json"
_MOST_ITEMS = 1_000
_DAY, _HOUR = 86_400, 3_600
# 1, 2, up to 4, up to 8 and so on; the last has no end.
_DOUBLINGS = 8


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
    """

    first: int
    last: int
    interactions: int
    items: dict[str, int]
    activity: tuple[int, ...] = ()
    hours: tuple[int, ...] = ()

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
        for name in ("activity", "hours"):
            found[name] = tuple(found[name])
        return cls(**found)


def of(
    prepared: Prepared, chosen: Callable[[Sequences], np.ndarray] | None = None
) -> Profile:
    """Counts prepared tables, a block of users at a time.

    Args:
        prepared: On disk.
        chosen: Which events `[num_events]` of a block count; None for all.
    """
    items = np.zeros(len(prepared.items.ids), np.int64)
    activity, hours = np.zeros(_DOUBLINGS, np.int64), np.zeros(24, np.int64)
    first, last = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    for block in sequences.iterate(prepared.directory):
        if chosen is not None:
            block = sequences.keep(block, chosen(block))
        times = block.timestamps
        if not len(times):
            continue
        first = min(first, int(times.min()))
        last = max(last, int(times.max()))
        items += np.bincount(block.item_indices, minlength=len(items))
        hours += np.bincount(times // _HOUR % 24, minlength=24)
        activity += _activity(block)
    is_timed = first >= FIRST_MOMENT
    known = items.copy()
    known[:FIRST_ITEM] = 0
    order = np.argsort(-known, kind="stable")[:_MOST_ITEMS]
    return Profile(
        int(first),
        int(last),
        int(items.sum()),
        {str(prepared.items.ids[i]): int(known[i]) for i in order if known[i]},
        tuple(activity.tolist()) if is_timed else (),
        tuple(hours.tolist()) if is_timed else (),
    )


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
