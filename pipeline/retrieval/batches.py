"""From ordered sequences to padded training batches and histories.

A user's sequence is cut into windows of at most `history_length` inputs that
overlap, each target once an epoch; where the cuts fall and the order of the
windows are drawn again every epoch, so that no negatives are frozen. Batches
are made whole in NumPy: one generator step a batch, not a row.

Shape letters: B histories, L positions, P targets, E events, Q queries.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from models.config import FeatureSpec
from pipeline.retrieval import popularity
from pipeline.retrieval.examples import Part
from pipeline.tables.prepared import Table
from pipeline.tables.sequences import Sequences, reorder

FIRST_USER = 2
# Overlap of neighbouring windows: a target reads at least this share of the
# history length where the user has it.
_OVERLAP = 0.2
_NUM_BUCKETS = 4


def position_stops(sequences: Sequences) -> np.ndarray:
    """Lets an event depend on all in front of it: int64 `[E]`."""
    return np.arange(len(sequences.item_indices), dtype=np.int64)


def strict_stops(sequences: Sequences) -> np.ndarray:
    """Lets an event depend on those with an earlier timestamp: int64 `[E]`."""
    events = len(sequences.item_indices)
    starts = np.ones(events, bool)
    starts[1:] = sequences.timestamps[1:] != sequences.timestamps[:-1]
    offsets = sequences.offsets[:-1]
    starts[offsets[offsets < events]] = True
    index = np.arange(events, dtype=np.int64)
    return np.maximum.accumulate(np.where(starts, index, 0))


def stops(sequences: Sequences, split: str) -> np.ndarray:
    """The rule of a split: positions order events only where papers say so."""
    if split == "temporal":
        return strict_stops(sequences)
    return position_stops(sequences)


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


def drawn(
    part: Part, rng: np.random.Generator, share: tuple[int, int] = (0, 1)
) -> Part:
    """The part as one epoch reads it: its order or its requests drawn."""
    if part.lag:
        part = _ask_early(part, rng)
    if part.is_unordered:
        users = users_of(part.sequences)
        order = np.lexsort([rng.random(len(users)), users])
        part = replace(part, sequences=reorder(part.sequences, order))
    return replace(part, share=share)


def _ask_early(part: Part, rng: np.random.Generator) -> Part:
    """Draws when each target is asked for, up to `lag` before it happens."""
    times = part.sequences.timestamps
    asked = times - rng.integers(0, part.lag, len(times), endpoint=True)
    stops = np.minimum(part.stops, first_at(part.sequences, asked))
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


def first_at(sequences: Sequences, times: np.ndarray) -> np.ndarray:
    """The first event of each event's user at its time or later, int64 `[E]`.

    Args:
        sequences: Events of all users.
        times: int64 `[E]`, none after its own event.
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
    sequences: Sequences, rows: np.ndarray, ends: np.ndarray, length: int
) -> np.ndarray:
    """The last `length` items before each query, left-padded with 0.

    Args:
        sequences: Events of all users.
        rows: int `[Q]` sequences row of each query's user.
        ends: int64 `[Q]`, the index of the event after the last one seen.
        length: L.

    Returns:
        int32 `[Q, L]`.
    """
    index = ends[:, None] - length + np.arange(length)
    inside = index >= sequences.offsets[rows][:, None]
    if not len(sequences.item_indices):
        return np.zeros(index.shape, np.int32)
    items = sequences.item_indices[np.where(inside, index, 0)]
    return np.where(inside, items, 0).astype(np.int32)


def user_features(users: Table, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Encoded user columns `[Q, ...]` of sequences rows `[Q]`."""
    return {
        name: values[rows + FIRST_USER]
        for name, values in users.features.items()
    }


def training(
    read: Callable[[np.random.Generator], Iterable[Part]],
    users: Table,
    context_specs: tuple[FeatureSpec, ...],
    history_length: int,
    batch_positions: int,
    seed: int,
) -> tf.data.Dataset:
    """Batches for `RetrievalModel`, epoch after epoch without end.

    Keras wants epochs of one length, and these differ by a few batches:
    `steps` says where it may draw the line.

    Args:
        read: Gives the parts of the data; called once an epoch with that
            epoch's random state.
        users: Their features.
        context_specs: Columns of `Sequences.context` to pass on.
        history_length: L at most.
        batch_positions: Positions in a batch, about.
        seed: Epoch n draws from (seed, n).
    """

    def generate() -> Iterator[dict[str, Any]]:
        for epoch in itertools.count():
            reading, cutting = _draws(seed, epoch)
            empty = True
            for part in read(reading):
                for batch in _batches(
                    part,
                    users,
                    context_specs,
                    history_length,
                    batch_positions,
                    cutting,
                ):
                    empty = False
                    yield batch
            if empty:
                return

    integers = tf.TensorSpec([None], tf.int32)
    signature = {
        "history": tf.TensorSpec([None, None], tf.int32),
        "user_index": integers,
        "user_features": {
            name: tf.TensorSpec([None, *values.shape[1:]], values.dtype)
            for name, values in users.features.items()
        },
        "row": integers,
        "state": integers,
        "target": integers,
        "moment": integers,
        "weight": tf.TensorSpec([None], tf.float32),
        "context": {
            spec.name: tf.TensorSpec(
                [None], tf.float32 if spec.kind == "numeric" else tf.int32
            )
            for spec in context_specs
        },
    }
    return tf.data.Dataset.from_generator(
        generate, output_signature=signature
    ).prefetch(4)


def _draws(
    seed: int, epoch: int
) -> tuple[np.random.Generator, np.random.Generator]:
    """Of what an epoch reads, and of how that is cut into batches.

    Two, because a stream reads ahead in a thread of its own: from one, the
    clock would decide which draw goes where.
    """
    reading, cutting = np.random.default_rng([seed, epoch]).spawn(2)
    return reading, cutting


def steps(
    read: Callable[[np.random.Generator], Iterable[Part]],
    history_length: int,
    batch_positions: int,
    seed: int,
    epoch: int = 0,
) -> int:
    """Batches of an epoch of `training`, all shares together, within a few."""
    reading, cutting = _draws(seed, epoch)
    return sum(
        len(
            _groups(
                _windows(part, history_length, cutting),
                history_length,
                batch_positions,
                cutting,
            )
        )
        for part in read(reading)
    )


@dataclass(frozen=True)
class _Windows:
    """Cuts of sequences, `[windows]` each; ends are exclusive.

    Inputs are events `start` to `stop - 1`, targets `first` to `stop`.
    """

    rows: np.ndarray
    start: np.ndarray
    first: np.ndarray
    stop: np.ndarray


def _windows(part: Part, length: int, rng: np.random.Generator) -> _Windows:
    """Cuts every user's events up to the last target."""
    offsets = part.sequences.offsets
    used = part.weights > 0
    index = np.arange(len(used), dtype=np.int64)
    last = np.maximum.accumulate(np.where(used, index, -1))
    ends = np.concatenate([[0], last + 1])[offsets[1:]]
    counts = np.maximum(ends - offsets[:-1], 0)
    # The first window needs nothing in front of it, so all its positions can
    # be targets; later ones spend the overlap on context.
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
    windows: _Windows,
    history_length: int,
    batch_positions: int,
    rng: np.random.Generator,
) -> list[tuple[np.ndarray, int]]:
    """Windows of similar length, in random order, and the width they need."""
    sizes = windows.stop - 1 - windows.start
    widths = sorted(
        {max(1, history_length >> shift) for shift in range(_NUM_BUCKETS)}
    )
    buckets = np.searchsorted(widths, sizes)
    groups = []
    for bucket, width in enumerate(widths):
        members = rng.permutation(np.flatnonzero(buckets == bucket))
        count = max(1, batch_positions // width)
        groups += [
            (members[start : start + count], width)
            for start in range(0, len(members), count)
        ]
    return groups


def _batches(
    part: Part,
    users: Table,
    context_specs: tuple[FeatureSpec, ...],
    history_length: int,
    batch_positions: int,
    rng: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    """The batches of one part, in random order."""
    windows = _windows(part, history_length, rng)
    groups = _groups(windows, history_length, batch_positions, rng)
    index, count = part.share
    for group in rng.permutation(len(groups))[index::count]:
        members, width = groups[group]
        batch = _batch(part, windows, members, width, rng)
        if len(batch["target"]):
            rows = part.user_rows[windows.rows[members]]
            batch["user_index"] = (rows + FIRST_USER).astype(np.int32)
            batch["user_features"] = user_features(users, rows)
            events = batch.pop("event")
            batch["context"] = {
                spec.name: part.sequences.context[spec.name][events]
                for spec in context_specs
            }
            yield batch


def _batch(
    part: Part,
    windows: _Windows,
    members: np.ndarray,
    width: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Inputs and targets of some windows, padded to `width` positions."""
    sequences = part.sequences
    start, stop = windows.start[members], windows.stop[members]
    first = windows.first[members]
    sizes = stop - 1 - start
    index = (stop - 1)[:, None] - width + np.arange(width)
    inside = index >= start[:, None]
    history = sequences.item_indices[np.where(inside, index, 0)]
    counts = stop - first
    row = np.repeat(np.arange(len(members)), counts)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    event = first[row] + place
    begin = sequences.offsets[windows.rows[members][row]]
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
    return {
        "history": np.where(inside, history, 0).astype(np.int32),
        "row": row.astype(np.int32),
        "state": state.astype(np.int32),
        "target": sequences.item_indices[event].astype(np.int32),
        "moment": moment.astype(np.int32),
        "weight": part.weights[event].astype(np.float32),
        "event": event,
    }
