"""Where training reads interactions: from memory, or row group by row group.

Both give the same two things. `chunks` goes through everything in the order
of the file, for what has to be counted before training. `parts` goes through
one epoch's share in an order of its own. Streaming holds a few buffers and
otherwise nothing that grows with the log.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from pipeline.retrieval import batches
from pipeline.retrieval.batches import Part, Read
from pipeline.run import auto
from pipeline.tables import sequences
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import DataError
from pipeline.tables.sequences import Sequences

T = TypeVar("T")

# Interactions of row groups from all over the log that a stream holds to draw
# batches from, about.
BUFFER = 2_000_000


@dataclass(frozen=True)
class Chunk:
    """Neighbouring users of the prepared tables.

    Attributes:
        sequences: Their events.
        first_row: Row of the first user among all users.
        first_event: Place of the first event among all events.
    """

    sequences: Sequences
    first_row: int = 0
    first_event: int = 0


# Says what of a chunk is trained on.
Make = Callable[[Chunk], Part]


@dataclass(frozen=True)
class Memory:
    """All interactions at once."""

    held: Sequences

    def chunks(self) -> Iterator[Chunk]:
        """All interactions as one chunk."""
        yield Chunk(self.held)

    def parts(self, make: Make, share: tuple[int, int] = (0, 1)) -> Read:
        """One part an epoch; shares are taken of its batches."""
        part = make(Chunk(self.held))

        def read(rng: np.random.Generator) -> Iterable[Part]:
            yield batches.drawn(part, rng, share)

        return read


class Stream:
    """Row groups of the prepared sequences, a few in memory at a time.

    Row groups hold users in the order of how much they did; an epoch joins
    groups from all over the file into a buffer, and the batches of a buffer
    are shuffled.

    Args:
        directory: Of the prepared tables.
        buffer: Interactions in a buffer, about.
    """

    def __init__(self, directory: Path, buffer: int) -> None:
        self._file = sequences.File(directory)
        self._buffer = buffer

    def chunks(self) -> Iterator[Chunk]:
        """All interactions, about a buffer at a time."""
        yield from _ahead(self._chunks())

    def parts(self, make: Make, share: tuple[int, int] = (0, 1)) -> Read:
        """Buffers of row groups; shares are taken of the groups."""
        if share[1] > self._file.num_groups:
            raise DataError(
                "Every worker must have a row group of the sequences to read. "
                f"Received: {share[1]} workers for {self._file.num_groups} row "
                "groups. Start fewer workers."
            )

        def read(rng: np.random.Generator) -> Iterator[Part]:
            index, count = share
            groups = rng.permutation(self._file.num_groups)[index::count]
            held: list[Part] = []
            events = 0
            for group in groups:
                held.append(batches.drawn(make(self._chunk([group])), rng))
                events += len(held[-1].weights)
                if events >= self._buffer:
                    yield batches.join(held)
                    held, events = [], 0
            if held:
                yield batches.join(held)

        return lambda rng: _ahead(read(rng))

    def _chunks(self) -> Iterator[Chunk]:
        bounds = self._file.first_events
        group = 0
        while group < self._file.num_groups:
            end = np.searchsorted(bounds, bounds[group] + self._buffer)
            past = min(max(int(end), group + 1), self._file.num_groups)
            yield self._chunk(range(group, past))
            group = past

    def _chunk(self, groups: Iterable[int]) -> Chunk:
        groups = [int(group) for group in groups]
        return Chunk(
            self._file.read(groups),
            int(self._file.first_rows[groups[0]]),
            int(self._file.first_events[groups[0]]),
        )


Feed = Memory | Stream


def open_feed(prepared: Prepared) -> Feed:
    """Memory or a stream, as the size of the log says."""
    if auto.is_streamed(prepared.summary["interactions"]).value:
        return Stream(prepared.directory, BUFFER)
    return Memory(prepared.sequences())


def pick(feed: Feed, rows: np.ndarray) -> Sequences:
    """The sequences of some users, by their rising rows among all users."""
    found: list[Sequences] = []
    for chunk in feed.chunks():
        local = rows - chunk.first_row
        local = local[(local >= 0) & (local < len(chunk.sequences.user_ids))]
        if len(local) or not found:
            found.append(sequences.take(chunk.sequences, local))
    return sequences.join(found)


def _ahead(items: Iterable[T]) -> Iterator[T]:
    """Makes the next item in a thread of its own while one is used."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, iterator, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, iterator, None)
            yield item
