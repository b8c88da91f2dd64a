"""From ordered sequences to padded training batches and histories.

A user's sequence is cut into windows of at most `history_length` inputs that
overlap, each target once an epoch; where the cuts fall and the order of the
windows are drawn again every epoch, so that no negatives are frozen. Batches
are made whole in NumPy: one generator step a batch, not a row.

Shape letters: B histories, L positions, P targets, E events, Q queries.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.config import FIRST_ITEM
from models.retrieval import Batch
from pipeline.measure import requests
from pipeline.retrieval import popularity
from pipeline.tables import past
from pipeline.tables import sequences as storage
from pipeline.tables.prepared import Prepared
from pipeline.tables.sequences import Sequences

# Overlap of neighbouring windows: a target reads at least this share of the
# history length where the user has it.
_OVERLAP = 0.2
_NUM_BUCKETS = 4


@dataclass(frozen=True)
class Part:
    """Sequences of some users with what to train on.

    Attributes:
        sequences: The users' events.
        user_rows: int64 `[U]`, the users' rows among all users.
        stops: int64 `[E]`, the end of the events an event may depend on.
        weights: float32 `[E]`, weight of each event as a target; 0 never.
        moments: int32 `[E]`, which popularity table holds at each event.
        horizon: Targets are predicted up to so many events early; 1 never is.
        lag: Seconds. With them a target is asked for up to so long before it
            happens, and is one only where it is among the `horizon` events
            that come next; each epoch draws those times.
        bounds: int64 `[T]`, when each popularity table begins to hold; needed
            with a lag.
        is_unordered: Whether a target may follow from any other event of its
            user, so that each epoch draws an order.
        share: The how-manieth of how many equal shares of the batches to
            make; the draws are those of the whole.
    """

    sequences: Sequences
    user_rows: np.ndarray
    stops: np.ndarray
    weights: np.ndarray
    moments: np.ndarray
    horizon: int = 1
    lag: int = 0
    bounds: np.ndarray | None = None
    is_unordered: bool = False
    share: tuple[int, int] = (0, 1)


# Gives the parts of the data; called with an epoch's random state.
Read = Callable[[np.random.Generator], Iterable[Part]]


def join(parts: Sequence[Part]) -> Part:
    """Several parts as one."""
    bases = np.cumsum([0, *(len(part.weights) for part in parts[:-1])])
    stops = [p.stops + base for p, base in zip(parts, bases, strict=True)]
    return replace(
        parts[0],
        sequences=storage.join([part.sequences for part in parts]),
        user_rows=np.concatenate([part.user_rows for part in parts]),
        stops=np.concatenate(stops),
        weights=np.concatenate([part.weights for part in parts]),
        moments=np.concatenate([part.moments for part in parts]),
    )


def drawn(
    part: Part, rng: np.random.Generator, share: tuple[int, int] = (0, 1)
) -> Part:
    """The part as one epoch reads it: its order or its requests drawn."""
    if part.lag:
        part = _ask_early(part, rng)
    if part.is_unordered:
        users = past.users_of(part.sequences)
        order = np.lexsort([rng.random(len(users)), users])
        part = replace(
            part,
            sequences=storage.reorder(part.sequences, order),
            weights=part.weights[order],
            moments=part.moments[order],
        )
    return replace(part, share=share)


def _ask_early(part: Part, rng: np.random.Generator) -> Part:
    """Draws when each target is asked for, up to `lag` before it happens."""
    times = part.sequences.timestamps
    asked = times - rng.integers(0, part.lag, len(times), endpoint=True)
    stops = np.minimum(part.stops, past.first_at(part.sequences, asked))
    is_next = np.arange(len(times)) - stops < part.horizon
    moments = part.moments
    if part.bounds is not None:
        moments = popularity.moments(part.bounds, asked)
    return replace(
        part,
        stops=stops,
        moments=moments,
        weights=np.where(is_next, part.weights, 0).astype(np.float32),
    )


class _Windows(NamedTuple):
    """Cuts of sequences, `[windows]` each; ends are exclusive.

    Inputs are events `start` to `stop - 1`, targets `first` to `stop`.
    """

    rows: np.ndarray
    start: np.ndarray
    first: np.ndarray
    stop: np.ndarray

    def take(self, members: np.ndarray) -> _Windows:
        """Some of them."""
        return _Windows(*(values[members] for values in self))


@dataclass(frozen=True)
class Cut:
    """How sequences are cut into batches.

    Attributes:
        history_length: L at most.
        batch_positions: Positions in a batch, about.
        seed: Epoch n draws from (seed, n).
    """

    history_length: int
    batch_positions: int
    seed: int

    def training(self, read: Read, prepared: Prepared) -> tf.data.Dataset:
        """Batches for `RetrievalModel`, epoch after epoch without end.

        Keras wants epochs of one length, and these differ by a few batches:
        `steps` says where it may draw the line.
        """

        def generate() -> Iterator[Batch]:
            for epoch in itertools.count():
                reading, cutting = self._draws(epoch)
                batch = None
                for part in read(reading):
                    for batch in self._batches(part, prepared, cutting):
                        yield batch
                if batch is None:
                    return

        return tf.data.Dataset.from_generator(
            generate, output_signature=_signature(prepared)
        ).prefetch(4)

    def steps(self, read: Read, epoch: int = 0) -> int:
        """Batches of an epoch, all shares together, within a few."""
        reading, cutting = self._draws(epoch)
        return sum(
            len(self._groups(self._windows(part, cutting), cutting))
            for part in read(reading)
        )

    def _draws(
        self, epoch: int
    ) -> tuple[np.random.Generator, np.random.Generator]:
        """States of what an epoch reads, and of how that is cut.

        Two, because a stream reads ahead in a thread of its own: from one, the
        clock would decide which draw goes where.
        """
        reading, cutting = np.random.default_rng([self.seed, epoch]).spawn(2)
        return reading, cutting

    def _batches(
        self, part: Part, prepared: Prepared, rng: np.random.Generator
    ) -> Iterator[Batch]:
        """The batches of one part, in random order."""
        windows = self._windows(part, rng)
        groups = self._groups(windows, rng)
        index, count = part.share
        for group in rng.permutation(len(groups))[index::count]:
            members, width = groups[group]
            batch = _batch(part, prepared, windows.take(members), width, rng)
            if len(batch["target"]):
                yield batch

    def _windows(self, part: Part, rng: np.random.Generator) -> _Windows:
        """Cuts every user's events up to the last target."""
        length = self.history_length
        offsets = part.sequences.offsets
        used = part.weights > 0
        index = np.arange(len(used), dtype=np.int64)
        last = np.maximum.accumulate(np.where(used, index, -1))
        ends = np.concatenate([[0], last + 1])[offsets[1:]]
        counts = np.maximum(ends - offsets[:-1], 0)
        # The first window needs nothing in front of it, so all its positions
        # can be targets; later ones spend the overlap on context.
        stride = max(1, round(length * (1 - _OVERLAP)))
        head = length - rng.integers(0, stride, len(counts))
        numbers = np.where(
            counts > 0, 1 + -(-np.maximum(counts - head, 0) // stride), 0
        )
        rows = np.repeat(np.arange(len(counts)), numbers)
        place = np.arange(len(rows)) - np.repeat(
            np.cumsum(numbers) - numbers, numbers
        )
        first = np.where(place == 0, 0, head[rows] + (place - 1) * stride)
        stop = np.minimum(head[rows] + place * stride, counts[rows])
        start = np.maximum(stop - 1 - length, 0)
        base = offsets[rows]
        return _Windows(rows, start + base, first + base, stop + base)

    def _groups(
        self, windows: _Windows, rng: np.random.Generator
    ) -> list[tuple[np.ndarray, int]]:
        """Windows of similar length, in random order, and their width."""
        sizes = windows.stop - 1 - windows.start
        halved = (self.history_length >> n for n in range(_NUM_BUCKETS))
        widths = sorted({max(1, width) for width in halved})
        buckets = np.searchsorted(widths, sizes)
        groups = []
        for bucket, width in enumerate(widths):
            members = rng.permutation(np.flatnonzero(buckets == bucket))
            count = max(1, self.batch_positions // width)
            groups += [
                (members[start : start + count], width)
                for start in range(0, len(members), count)
            ]
        return groups


def _signature(prepared: Prepared) -> dict[str, tf.TypeSpec]:
    names = ("user_index", "row", "state", "target", "moment")
    return {
        **dict.fromkeys(names, tf.TensorSpec([None], tf.int32)),
        "history": tf.TensorSpec([None, None], tf.int32),
        "user_features": {
            name: tf.TensorSpec([None, *values.shape[1:]], values.dtype)
            for name, values in prepared.users.features.items()
        },
        "weight": tf.TensorSpec([None], tf.float32),
        "context": {
            spec.name: tf.TensorSpec(
                [None], tf.float32 if spec.kind == "numeric" else tf.int32
            )
            for spec in prepared.context_specs
        },
    }


def _batch(
    part: Part,
    prepared: Prepared,
    windows: _Windows,
    width: int,
    rng: np.random.Generator,
) -> Batch:
    """Inputs and targets of some windows, padded to `width` positions."""
    sequences = part.sequences
    start, stop, first = windows.start, windows.stop, windows.first
    sizes = stop - 1 - start
    index = (stop - 1)[:, None] - width + np.arange(width)
    inside = index >= start[:, None]
    history = sequences.item_indices[np.where(inside, index, 0)]
    counts = stop - first
    row = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    event = first[row] + place
    begin = sequences.offsets[windows.rows[row]]
    # Drawn back, a state has still read only what it may; it stays inside
    # the window, at its first item unless the sequence starts here too.
    reach = 1 if part.lag else part.horizon
    early = rng.integers(0, reach, len(event))
    floor = start[row] + (start[row] > begin)
    stop_of = np.maximum(part.stops[event] - early, floor)
    stop_of = np.minimum(stop_of, part.stops[event])
    read = stop_of - start[row]
    # Nothing read is the start of a sequence only where the window is one;
    # elsewhere ties have pushed the state out of the window.
    reachable = (read > 0) | (stop_of == begin)
    trained = reachable & (part.weights[event] > 0)
    row, event, read = row[trained], event[trained], read[trained]
    # Without a lag the request happens when the first unread event does.
    moment = part.moments[event if part.lag else stop_of[trained]]
    state = np.where(read > 0, width - sizes[row] + read, 0)
    users = part.user_rows[windows.rows]
    return {
        "history": np.where(inside, history, 0).astype(np.int32),
        "row": row.astype(np.int32),
        "state": state.astype(np.int32),
        "target": sequences.item_indices[event].astype(np.int32),
        "moment": moment.astype(np.int32),
        "weight": part.weights[event].astype(np.float32),
        "user_index": (users + FIRST_ITEM).astype(np.int32),
        "user_features": requests.user_features(prepared, users),
        "context": {
            spec.name: sequences.context[spec.name][event]
            for spec in prepared.context_specs
        },
    }
