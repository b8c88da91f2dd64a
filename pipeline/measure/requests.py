"""Who asks, when, with which history, and what was right.

The same requests are put to every model, so that figures can be compared and
paired. Rules: a request sees only interactions in front of its targets;
targets are distinct. All of them count: those outside the catalogue and, where
items of the history are not recommended, those that stand in it are missed by
every model.

Shape letters: Q requests, L history.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from models.config import FIRST_ITEM, UNKNOWN
from models.query import Query
from pipeline.measure import metrics
from pipeline.tables import past
from pipeline.tables.prepared import Prepared
from pipeline.tables.ragged import Ragged
from pipeline.tables.schema import PARTS, DataError
from pipeline.tables.sequences import Sequences

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Requests:
    """Requests with their answers, Q of them.

    Attributes:
        rows: Sequences row of each one's user, int64 `[Q]`.
        events: First event to find, int64 `[Q]`.
        histories: What the user did before, oldest first.
        context: Encoded columns of those events `[Q]`.
        relevant: Distinct items of the catalogue to find.
        num_relevant: All distinct targets, those outside the catalogue too,
            int64 `[Q]`.
    """

    rows: np.ndarray
    events: np.ndarray
    histories: Ragged
    context: Columns
    relevant: Ragged
    num_relevant: np.ndarray

    @classmethod
    def before(
        cls, sequences: Sequences, events: np.ndarray, histories: Ragged
    ) -> Requests:
        """One request for each of some events `[Q]`, its item the target."""
        return cls(
            past.users_of(sequences)[events],
            events,
            histories,
            {name: v[events] for name, v in sequences.context.items()},
            Ragged.between(sequences.item_indices, events, events + 1),
            np.ones(len(events), np.int64),
        )

    def __len__(self) -> int:
        """Number of requests."""
        return len(self.rows)

    def take(self, chosen: np.ndarray) -> Requests:
        """The requests at the given positions."""
        return Requests(
            self.rows[chosen],
            self.events[chosen],
            self.histories.take(chosen),
            {name: values[chosen] for name, values in self.context.items()},
            self.relevant.take(chosen),
            self.num_relevant[chosen],
        )

    def inputs(self, prepared: Prepared, length: int) -> Query:
        """What the models are told: `length` items of each history at most."""
        return Query(
            self.histories.last(length),
            (self.rows + FIRST_ITEM).astype(np.int32),
            user_features(prepared, self.rows),
            self.context,
        )


def user_features(prepared: Prepared, rows: np.ndarray) -> Columns:
    """Encoded user columns `[Q, ...]` of sequences rows `[Q]`."""
    return {
        name: values[rows + FIRST_ITEM]
        for name, values in prepared.users.features.items()
    }


def make(
    prepared: Prepared,
    part: str,
    protocol: str = "split",
    num_users: int = 0,
    seed: int = 0,
) -> Requests:
    """Makes the requests of a part.

    Args:
        part: "validation" or "test"; its interactions are the targets.
        protocol: "split" asks once a user, with everything before the part
            as history; "rolling" before each interaction of the part.
        num_users: Users drawn, 0 for all.
    """
    sequences, code = prepared.sequences(), PARTS.index(part)
    users = past.users_of(sequences)
    targets = np.flatnonzero(sequences.parts == code)
    asked = draw(np.unique(users[targets]), num_users, seed)
    targets = targets[np.isin(users[targets], asked)]
    if protocol == "split":
        return once(sequences, code, targets)
    stops = past.stops(sequences, prepared.split)[targets]
    histories = past.histories(sequences, users[targets], stops, code)
    group = np.arange(len(targets))
    return _answered(sequences, targets, histories, targets, group)


def draw(users: np.ndarray, num_users: int, seed: int) -> np.ndarray:
    """Draws at most `num_users` users, 0 for all; in rising order."""
    if not num_users or len(users) <= num_users:
        return users
    random = np.random.default_rng(seed)
    return np.sort(random.choice(users, num_users, replace=False))


def once(sequences: Sequences, part: int, targets: np.ndarray) -> Requests:
    """Asks each user once, for all of some events `[T]` of a part."""
    rows, first, group = np.unique(
        past.users_of(sequences)[targets],
        return_index=True,
        return_inverse=True,
    )
    histories = past.histories(
        sequences, rows, sequences.offsets[rows + 1], part - 1
    )
    return _answered(sequences, targets[first], histories, targets, group)


def _answered(
    sequences: Sequences,
    events: np.ndarray,
    histories: Ragged,
    targets: np.ndarray,
    group: np.ndarray,
) -> Requests:
    """Requests at events `[Q]` with the targets of each (its `group`).

    Items outside the catalogue share one index; each of their interactions
    counts as a target of its own.
    """
    items = sequences.item_indices[targets]
    known = items > UNKNOWN
    unknown = np.bincount(group[~known], minlength=len(events))
    width = np.int64(1) + int(items.max(initial=0))
    keys = np.unique(group[known].astype(np.int64) * width + items[known])
    counts = np.bincount(keys // width, minlength=len(events))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return dataclasses.replace(
        Requests.before(sequences, events, histories),
        relevant=Ragged(offsets, (keys % width).astype(np.int32)),
        num_relevant=counts + unknown,
    )


def hidden(prepared: Prepared, histories: Ragged) -> Ragged:
    """What may not be recommended: the histories, or nothing at all."""
    if not prepared.repeat_consumption:
        return histories
    return Ragged.empty(len(histories))


def recommendable(prepared: Prepared, asked: Requests) -> Requests:
    """Those whose target, one each, is not among what is hidden."""
    targets = asked.relevant.items[:, None]
    had = metrics.find_hits(targets, hidden(prepared, asked.histories))[:, 0]
    return asked.take(np.flatnonzero(~had))


def without(asked: Requests, items: np.ndarray) -> Requests:
    """Requests whose targets are others than `items`; some may then go."""
    targets = asked.relevant
    kept = ~np.isin(targets.items, items)
    before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    left = dataclasses.replace(
        asked,
        relevant=Ragged(before[targets.offsets], targets.items[kept]),
        num_relevant=asked.num_relevant
        - np.bincount(targets.row_of_item[~kept], minlength=len(asked)),
    )
    return left.take(np.flatnonzero(left.num_relevant > 0))


def again(asked: Requests) -> np.ndarray:
    """How many targets of each request stand in its history, int64 `[Q]`."""
    targets, had = asked.relevant, asked.histories
    width = np.int64(1) + max(
        int(targets.items.max(initial=0)), int(had.items.max(initial=0))
    )
    there = np.isin(
        targets.row_of_item * width + targets.items,
        had.row_of_item * width + had.items,
    )
    return np.bincount(targets.row_of_item[there], minlength=len(asked))


def ratings(
    prepared: Prepared, part: str, num_users: int = 0, seed: int = 0
) -> tuple[Requests, np.ndarray, np.ndarray]:
    """Every rated interaction of a part as a candidate of its user.

    Returns:
        The requests (one a user), candidates int32 `[Q, C]` with 0 for padding
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
        & (place[past.users_of(sequences)] >= 0)
        & np.isfinite(sequences.ratings)
    )
    rows = place[past.users_of(sequences)[events]]
    starts = np.searchsorted(rows, rows)
    column = np.arange(len(rows)) - starts
    shape = (len(asked), 1 + int(column.max(initial=0)))
    candidates = np.zeros(shape, np.int32)
    truth = np.zeros(shape, np.float32)
    candidates[rows, column] = sequences.item_indices[events]
    truth[rows, column] = sequences.ratings[events]
    return asked, candidates, truth


def untied(asked: Requests, prepared: Prepared) -> np.ndarray:
    """Whether the first target is later than the last of the history.

    Many logs hold several interactions of a user in one second, whose order
    is unknown. bool `[Q]`.
    """
    sequences = prepared.sequences()
    before = np.maximum(asked.events - 1, 0)
    times = sequences.timestamps
    return (times[before] < times[asked.events]) | (
        asked.events == sequences.offsets[asked.rows]
    )
