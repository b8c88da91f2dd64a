"""How far into a log a model has learned.

A model that goes on from another's weights knows what that one knew. It may do
so only where nothing is kept from it, to be validated or tested with, that the
other has learned: a split moves forward as a log grows, so that this holds from
night to night, and does not where a log was cut or its shares were changed.

Shape letters: E events, K users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.config import FIRST_ITEM
from pipeline.tables import past
from pipeline.tables.prepared import Prepared
from pipeline.tables.sequences import Sequences

_NEVER = np.iinfo(np.int64).min


class Block(NamedTuple):
    """Neighbouring users, and which of their events a model learns.

    Attributes:
        first_row: Row of the first user among all users.
        events: Of the users.
        learned: bool `[E]`; those of a user stand before all others.
    """

    first_row: int
    events: Sequences
    learned: np.ndarray


@dataclass(frozen=True)
class Seen:
    """The last interaction that a model has learned.

    Attributes:
        users: Ids `[K]`; the one "" stands for everybody, where a split cuts
            the whole log.
        times: When, int64 `[K]`.
        items: Of what, ids `[K]`; "" where everybody is meant.
    """

    users: np.ndarray
    times: np.ndarray
    items: np.ndarray

    @classmethod
    def of(cls, prepared: Prepared, blocks: Iterable[Block]) -> Seen:
        """What a model has seen that learned these."""
        if prepared.split == "temporal":
            last = max(
                int(events.timestamps[learned].max(initial=_NEVER))
                for _row, events, learned in blocks
            )
            nobody = np.array([""], object)
            return cls(nobody, np.array([last]), nobody)
        users, times, items = [], [], []
        for first_row, events, learned in blocks:
            counts = np.bincount(
                past.users_of(events)[learned],
                minlength=len(events.offsets) - 1,
            )
            rows = np.flatnonzero(counts)
            last_of = events.offsets[rows] + counts[rows] - 1
            users.append(prepared.users.ids[first_row + FIRST_ITEM + rows])
            times.append(events.timestamps[last_of])
            items.append(prepared.items.ids[events.item_indices[last_of]])
        return cls(*map(np.concatenate, (users, times, items)))

    def known(self, prepared: Prepared, blocks: Iterable[Block]) -> int:
        """How many events that a model is not to learn were learned here.

        Args:
            prepared: Of the run that the model is for.
            blocks: What it learns; the other events are kept from it.
        """
        has = self.among(prepared)
        return sum(
            int((~learned & has(first_row, events)).sum())
            for first_row, events, learned in blocks
        )

    def among(
        self, prepared: Prepared
    ) -> Callable[[int, Sequences], np.ndarray]:
        """Tells which events were learned here.

        Args:
            prepared: Of the run that the events are of.

        Returns:
            Takes the row of the first user among all users, and the events
            of neighbouring users; returns bool `[E]`.
        """
        place = {user: number for number, user in enumerate(self.users)}
        index = {item: row for row, item in enumerate(prepared.items.ids)}
        # The last user stands for those that are not known.
        times = np.append(self.times, _NEVER)
        items = np.array([*(index.get(item, -1) for item in self.items), -1])

        def has(first_row: int, events: Sequences) -> np.ndarray:
            stop = first_row + len(events.offsets) - 1
            ids = prepared.users.ids[first_row + FIRST_ITEM : stop + FIRST_ITEM]
            whose = (place.get(user, place.get("", -1)) for user in ids)
            rows = np.fromiter(whose, np.int64, len(ids))
            rows = rows[past.users_of(events)]
            then, at = times[rows], events.timestamps
            if prepared.split == "temporal":
                return at <= then
            is_last = (at == then) & (events.item_indices == items[rows])
            return (at < then) | is_last

        return has

    def write(self, path: Path) -> None:
        """Writes a file that `read` reads."""
        table = pa.table(
            {"user": self.users, "time": self.times, "item": self.items}
        )
        pq.write_table(table, path, compression="zstd")

    @classmethod
    def read(cls, path: Path) -> Seen:
        """Reads what `write` wrote."""
        table = pq.read_table(path)
        users, items = (
            np.array(table[name].to_pylist(), object)
            for name in ("user", "item")
        )
        return cls(users, table["time"].to_numpy(), items)
