"""Who is asked in an evaluation, with which history, and what was right.

The same queries are put to every model, so that figures can be compared and
paired. Rules: a query sees only interactions in front of its targets; targets
are distinct. All of them count: those outside the catalogue and, where items
of the history are not recommended, those that stand in it are missed by
every model.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.measure.metrics import Ragged
from pipeline.retrieval import batches
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import PARTS, DataError
from pipeline.tables.sequences import Sequences

_UNKNOWN = 1


@dataclass(frozen=True)
class Queries:
    """Questions with their answers, Q of them.

    Attributes:
        rows: Sequences row of each query's user, int64 `[Q]`.
        events: First event to find: its request context, int64 `[Q]`.
        histories: What the user did before, oldest first.
        relevant: Distinct items of the catalogue to find.
        num_relevant: All distinct targets, those outside the catalogue too,
            int64 `[Q]`.
    """

    rows: np.ndarray
    events: np.ndarray
    histories: Ragged
    relevant: Ragged
    num_relevant: np.ndarray

    def __len__(self) -> int:
        """Number of queries."""
        return len(self.rows)

    def take(self, chosen: np.ndarray) -> "Queries":
        """The queries at the given positions."""
        return Queries(
            self.rows[chosen],
            self.events[chosen],
            self.histories.take(chosen),
            self.relevant.take(chosen),
            self.num_relevant[chosen],
        )


def make(
    prepared: Prepared,
    part: str,
    protocol: str = "split",
    num_users: int = 0,
    seed: int = 0,
) -> Queries:
    """Makes the queries of a part.

    Args:
        prepared: The prepared tables.
        part: "validation" or "test"; its interactions are the targets.
        protocol: "split" asks once a user, with everything before the part
            as history; "rolling" before each interaction of the part.
        num_users: Users drawn, 0 for all.
        seed: Of the draw.
    """
    sequences = prepared.sequences()
    code = PARTS.index(part)
    users = batches.users_of(sequences)
    targets = np.flatnonzero(sequences.parts == code)
    if num_users:
        asked = np.unique(users[targets])
        if len(asked) > num_users:
            rng = np.random.default_rng(seed)
            asked = rng.choice(asked, num_users, replace=False)
        targets = targets[np.isin(users[targets], asked)]
    if protocol == "rolling":
        rows, events = users[targets], targets
        group = np.arange(len(targets))
        stops = batches.stops(sequences, prepared.split)[targets]
        histories = past(sequences, rows, stops, code)
    else:
        rows, first, group = np.unique(
            users[targets], return_index=True, return_inverse=True
        )
        events = targets[first]
        before = sequences.parts < code
        counts = np.bincount(users[before], minlength=len(sequences.offsets))
        offsets = np.concatenate([[0], np.cumsum(counts[:-1])])
        histories = Ragged(
            offsets.astype(np.int64), sequences.item_indices[before]
        ).take(rows)
    relevant, num_relevant = _targets(
        group, sequences.item_indices[targets], len(rows)
    )
    return Queries(
        rows.astype(np.int64), events, histories, relevant, num_relevant
    )


def hidden(prepared: Prepared, histories: Ragged) -> Ragged:
    """What may not be recommended: the histories, or nothing at all."""
    if not prepared.repeat_consumption:
        return histories
    return Ragged(np.zeros_like(histories.offsets), histories.items[:0])


def again(queries: Queries) -> np.ndarray:
    """How many targets of each query stand in its history, int64 `[Q]`."""
    targets, had = queries.relevant, queries.histories
    width = np.int64(1) + max(
        int(targets.items.max(initial=0)), int(had.items.max(initial=0))
    )
    there = np.isin(
        targets.row_of_item * width + targets.items,
        had.row_of_item * width + had.items,
    )
    return np.bincount(targets.row_of_item[there], minlength=len(queries))


def ratings(
    prepared: Prepared, part: str, num_users: int = 0, seed: int = 0
) -> tuple[Queries, np.ndarray, np.ndarray]:
    """Every rated interaction of a part as a candidate of its user.

    Returns:
        The queries (one a user), candidates int32 `[Q, C]` with 0 for padding
        and items outside the catalogue, and their ratings float32 `[Q, C]`.
    """
    sequences = prepared.sequences()
    if sequences.ratings is None:
        raise DataError(
            "Ratings need a `rating` column. Received: none (from "
            f"{prepared.directory}). Set source.rating."
        )
    asked = make(prepared, part, "split", num_users, seed)
    place = np.full(len(sequences.offsets) - 1, -1)
    place[asked.rows] = np.arange(len(asked))
    events = np.flatnonzero(
        (sequences.parts == PARTS.index(part))
        & (place[batches.users_of(sequences)] >= 0)
        & np.isfinite(sequences.ratings)
    )
    rows = place[batches.users_of(sequences)[events]]
    starts = np.searchsorted(rows, rows)
    column = np.arange(len(rows)) - starts
    shape = (len(asked), 1 + int(column.max(initial=0)))
    candidates = np.zeros(shape, np.int32)
    truth = np.zeros(shape, np.float32)
    candidates[rows, column] = sequences.item_indices[events]
    truth[rows, column] = sequences.ratings[events]
    return asked, candidates, truth


def untied(queries: Queries, prepared: Prepared) -> np.ndarray:
    """Whether the first target is later than the last of the history.

    Many logs hold several interactions of a user in one second, whose order
    is unknown. bool `[Q]`.
    """
    sequences = prepared.sequences()
    before = np.maximum(queries.events - 1, 0)
    times = sequences.timestamps
    return (times[before] < times[queries.events]) | (
        queries.events == sequences.offsets[queries.rows]
    )


def past(
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
    return between(
        sequences.item_indices[known],
        before[sequences.offsets[rows]],
        before[stops],
    )


def between(items: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> Ragged:
    """Rows `items[start:stop]`."""
    lengths = np.maximum(stops - starts, 0)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    index = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - starts, lengths)
    return Ragged(offsets, items[index])


def _targets(
    group: np.ndarray,
    items: np.ndarray,
    num_groups: int,
) -> tuple[Ragged, np.ndarray]:
    """Distinct targets of each query, and how many there are in all.

    Items outside the catalogue share one index; each of their interactions
    counts as a target of its own.
    """
    known = items > _UNKNOWN
    unknown = np.bincount(group[~known], minlength=num_groups)
    width = np.int64(1) + int(items.max(initial=0))
    keys = np.unique(group[known].astype(np.int64) * width + items[known])
    counts = np.bincount(keys // width, minlength=num_groups)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    relevant = Ragged(offsets, (keys % width).astype(np.int32))
    return relevant, counts + unknown
