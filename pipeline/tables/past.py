"""Which events of a user may be read when: what keeps the future out.

Shape letters: E events, Q queries.
"""

import numpy as np

from pipeline.tables.ragged import Ragged
from pipeline.tables.sequences import Sequences


def stops(sequences: Sequences, split: str) -> np.ndarray:
    """The first event that each event may not depend on: int64 `[E]`.

    Positions order events only where papers say so: in a temporal split what
    stands in the same second may not be read.
    """
    events = len(sequences.item_indices)
    index = np.arange(events, dtype=np.int64)
    if split != "temporal":
        return index
    starts = np.ones(events, bool)
    starts[1:] = sequences.timestamps[1:] != sequences.timestamps[:-1]
    offsets = sequences.offsets[:-1]
    starts[offsets[offsets < events]] = True
    return np.maximum.accumulate(np.where(starts, index, 0))


def part_stops(sequences: Sequences, part: int) -> np.ndarray:
    """Where each user's events of parts before `part` end: int64 `[users]`."""
    before = np.concatenate([[0], np.cumsum(sequences.parts < part)])
    counts = before[sequences.offsets[1:]] - before[sequences.offsets[:-1]]
    return sequences.offsets[:-1] + counts


def users_of(sequences: Sequences) -> np.ndarray:
    """The sequences row of each event, int64 `[E]`."""
    return np.repeat(
        np.arange(len(sequences.user_ids)), np.diff(sequences.offsets)
    )


def first_at(sequences: Sequences, times: np.ndarray) -> np.ndarray:
    """The first event of each event's user at its time or later, int64 `[E]`.

    Of the times, int64 `[E]`, none is after its own event.
    """
    timestamps = sequences.timestamps
    if not len(timestamps):
        return np.zeros(0, np.int64)
    origin = timestamps.min()
    # Users one after the other on one line, each a span of his own.
    span = int(timestamps.max() - origin) + 1
    users = users_of(sequences) * span
    line = users + (timestamps - origin)
    wanted = users + np.maximum(times - origin, 0)
    return np.searchsorted(line, wanted, side="left")


def histories(
    sequences: Sequences, rows: np.ndarray, stops: np.ndarray, part: int
) -> Ragged:
    """What users did in front of moments, in a part and those before it.

    In a random split later parts lie between: they were not there to be read.

    Args:
        sequences: Events of all users.
        rows: Whose histories, int64 `[Q]`.
        stops: The event each ends in front of, int64 `[Q]`.
        part: Code of the last part that counts.
    """
    known = sequences.parts <= part
    before = np.concatenate([[0], np.cumsum(known)]).astype(np.int64)
    return Ragged.between(
        sequences.item_indices[known],
        before[sequences.offsets[rows]],
        before[stops],
    )
