"""One ordered sequence a user: the form every training step reads.

On disk `sequences.parquet`, one row a user: `user_id` and lists, in time
order, of item index, timestamp, part, rating and encoded context. Row groups
hold a bounded number of interactions, so that readers need little memory.

Shapes: `num_users`, and `num_events` interactions of all users end to end.
"""

import dataclasses
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.tables.ragged import Ragged

FILE = "sequences.parquet"


@dataclass(frozen=True)
class Sequences:
    """Sequences end to end; user `u` has events `offsets[u]:offsets[u + 1]`.

    Attributes:
        user_ids: Text `[num_users]`.
        offsets: int64 `[num_users + 1]`.
        item_indices: int32 `[num_events]`; 1 for items without an index.
        timestamps: Seconds, int64 `[num_events]`, never falling in a user.
        parts: Codes of `schema.PARTS`, int8 `[num_events]`; never falling in
            a user unless the split is random.
        ratings: float32 `[num_events]`; None if the source has none.
        context: Encoded context features, `[num_events]`.
        weights: float32 `[num_events]`; None if the source has none.
    """

    user_ids: np.ndarray
    offsets: np.ndarray
    item_indices: np.ndarray
    timestamps: np.ndarray
    parts: np.ndarray
    ratings: np.ndarray | None = None
    context: dict[str, np.ndarray] = field(default_factory=dict)
    weights: np.ndarray | None = None


class File:
    """Row groups of prepared sequences, read without the users' ids.

    Args:
        directory: Of the prepared tables.

    Attributes:
        num_groups: Row groups in the file.
        first_rows: Row of each group's first user, int64 `[num_groups]`.
        first_events: Place of its first event among all events.
    """

    def __init__(self, directory: Path) -> None:
        self._file = pq.ParquetFile(Path(directory) / FILE)
        # A training that ends may still read ahead when the next one starts.
        self._lock = threading.Lock()
        # Ratings and ids are not what training reads.
        self._columns = [
            name
            for name in self._file.schema_arrow.names
            if name not in ("user_id", "rating")
        ]
        meta = self._file.metadata
        self.num_groups = meta.num_row_groups
        groups = [meta.row_group(group) for group in range(self.num_groups)]
        place = meta.schema.names.index("element", 1)
        self.first_rows = _starts([group.num_rows for group in groups])
        self.first_events = _starts(
            [group.column(place).num_values for group in groups]
        )

    def read(self, groups: list[int]) -> Sequences:
        """Sequences of some row groups, end to end."""
        with self._lock:
            table = self._file.read_row_groups(groups, self._columns)
        return _sequences(table)


def _starts(sizes: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])[:-1]


def take(sequences: Sequences, rows: np.ndarray) -> Sequences:
    """The sequences of some users, by rows `[num_taken]`."""
    events = np.arange(len(sequences.item_indices))
    taken = Ragged(sequences.offsets, events).take(rows)
    return dataclasses.replace(
        reorder(sequences, taken.items),
        user_ids=sequences.user_ids[rows],
        offsets=taken.offsets,
    )


def join(parts: Sequence[Sequences]) -> Sequences:
    """Sequences end to end."""
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    first, events = parts[0], [_events(part) for part in parts]
    return dataclasses.replace(
        first,
        user_ids=np.concatenate([part.user_ids for part in parts]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        context={
            name: np.concatenate([part.context[name] for part in parts])
            for name in first.context
        },
        **{
            name: np.concatenate([values[name] for values in events])
            for name in events[0]
        },
    )


def keep(sequences: Sequences, kept: np.ndarray) -> Sequences:
    """The sequences with the events where `kept` `[num_events]` is true."""
    before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    return dataclasses.replace(
        reorder(sequences, kept), offsets=before[sequences.offsets]
    )


def reorder(sequences: Sequences, order: np.ndarray) -> Sequences:
    """The sequences with events in `order` `[num_events]`, users unchanged."""
    context = {name: v[order] for name, v in sequences.context.items()}
    events = {name: v[order] for name, v in _events(sequences).items()}
    return dataclasses.replace(sequences, context=context, **events)


def _events(sequences: Sequences) -> dict[str, np.ndarray]:
    """What is known of every event, without context."""
    names = ("item_indices", "timestamps", "parts", "ratings", "weights")
    found = {name: getattr(sequences, name) for name in names}
    return {name: v for name, v in found.items() if v is not None}


def iterate(directory: Path, rows: int = 65_536) -> Iterator[Sequences]:
    """Streams sequences, at most `rows` users of a row group at a time."""
    with pq.ParquetFile(Path(directory) / FILE) as file:
        for group in range(file.num_row_groups):
            for batch in file.iter_batches(rows, row_groups=[group]):
                yield _sequences(pa.table(batch))


def read(directory: Path) -> Sequences:
    """Reads all sequences of the prepared tables."""
    return _sequences(pq.read_table(Path(directory) / FILE))


def _sequences(table: pa.Table) -> Sequences:
    lists = {
        name: table[name].combine_chunks()
        for name in table.column_names
        if name != "user_id"
    }
    columns = {
        name: array.flatten().to_numpy(zero_copy_only=False)
        for name, array in lists.items()
    }
    offsets = lists["item_index"].offsets.to_numpy().astype(np.int64)
    has_ids = "user_id" in table.column_names
    ids = table["user_id"].to_pylist() if has_ids else [""] * len(table)
    return Sequences(
        user_ids=np.array(ids, object),
        offsets=offsets - offsets[0],
        item_indices=columns["item_index"],
        timestamps=columns["timestamp"],
        parts=columns["part"],
        ratings=columns.get("rating"),
        context={
            name.removeprefix("context_"): values
            for name, values in columns.items()
            if name.startswith("context_")
        },
        weights=columns.get("weight"),
    )
