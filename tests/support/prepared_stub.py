"""Small prepared tables in memory, for tests that need no files."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.tables.prepared import Prepared, Table
from pipeline.tables.sequences import Sequences


class InMemory(Prepared):
    """Prepared tables whose sequences are not on disk."""

    def sequences(self):
        return self.summary["sequences"]


def make_table(prefix, count, num_known, counts=None, specs=(), features=None):
    """Encoded rows without titles; index 0 and 1 are reserved."""
    if counts is None:
        counts = np.ones((3, count + 2), np.int64)
    return Table(
        np.array(["", "", *(f"{prefix}{row}" for row in range(count))], object),
        features or {},
        specs,
        counts,
        num_known,
        np.full(count + 2, "", object),
        np.zeros(count + 2, np.int64),
    )


def make_prepared(
    rows,
    num_items,
    split="leave_last_out",
    timestamps=None,
    parts=None,
    ratings=None,
    items=None,
):
    """Prepared tables of item index lists, one a user, oldest first.

    The last item is test, the one before validation, unless `parts` says
    otherwise. Times count up from 0, a day apart, unless given.
    """
    lengths = [len(row) for row in rows]
    flat = np.array([item for row in rows for item in row], np.int32)
    if parts is None:
        parts = np.concatenate([[0] * (size - 2) + [1, 2] for size in lengths])
    if timestamps is None:
        timestamps = np.concatenate(
            [np.arange(size) * 86_400 for size in lengths]
        )
    counts = np.stack(
        [
            np.bincount(
                flat[np.asarray(parts) == part], minlength=num_items + 2
            )
            for part in range(3)
        ]
    )
    sequences = Sequences(
        np.array([f"u{row}" for row in range(len(rows))], object),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        flat,
        np.asarray(timestamps, np.int64),
        np.asarray(parts, np.int8),
        None if ratings is None else np.asarray(ratings, np.float32),
        {},
    )
    known = np.flatnonzero(counts[0])
    table = items or make_table(
        "i", num_items, int(known.max(initial=1)) + 1, counts
    )
    return InMemory(
        Path("memory"),
        replace(table, counts=counts),
        make_table("u", len(rows), len(rows) + 2),
        (),
        {},
        {"sequences": sequences, "interactions": len(flat)},
        split,
    )
