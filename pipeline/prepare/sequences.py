"""Writes one ordered sequence a user, checking for leaks.

Enters: interactions as a stream of rows ordered by user and time. Leaves:
`sequences.parquet`, as `pipeline.tables.sequences` describes it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.tables.schema import DataError

# Interactions a row group holds at most, except where one user alone has more.
ROW_GROUP_SIZE = 131_072


class Writer:
    """Writes rows that come ordered by user and time.

    Args:
        path: File to write.
        user_ids: Text of every user by its row, `[num_users]`.
        ordered: Whether parts must follow each other in every sequence.
    """

    def __init__(self, path: Path, user_ids: pa.Array, ordered: bool) -> None:
        self.path = path
        self.user_ids = user_ids
        self.ordered = ordered
        self.row_group_size = ROW_GROUP_SIZE
        self.num_users = 0
        self._writer: pq.ParquetWriter | None = None
        self._kept: list[dict[str, np.ndarray]] = []
        self._num_kept = 0

    def add(self, columns: dict[str, np.ndarray]) -> None:
        """Takes the next rows.

        Args:
            columns: `user_row`, which is not written, and others in their
                order in the file, `[num_rows]` each.

        Raises:
            DataError: If a row is out of order: the future would be in a
                history.
        """
        self._kept.append(columns)
        self._num_kept += len(columns["user_row"])
        if self._num_kept >= self.row_group_size:
            self._flush(last=False)

    def close(self) -> None:
        """Writes what is left.

        Raises:
            DataError: If a user has no row.
        """
        self._flush(last=True)
        if self._writer:
            self._writer.close()
        if self.num_users != len(self.user_ids):
            raise DataError(
                "Every user must have one sequence. Received: "
                f"{self.num_users} sequences of {len(self.user_ids)} users "
                "(an error of the prepare step). Please report it."
            )

    def _flush(self, last: bool) -> None:
        if not self._kept:
            return
        columns = {
            name: np.concatenate([rows[name] for rows in self._kept])
            for name in self._kept[0]
        }
        users = columns["user_row"]
        # The last user may go on in the next rows.
        end = len(users) if last else int(np.searchsorted(users, users[-1]))
        self._kept = [{name: v[end:] for name, v in columns.items()}]
        self._num_kept = len(users) - end
        if end == 0:
            return
        users = columns.pop("user_row")[:end]
        starts = np.flatnonzero(np.r_[True, users[1:] != users[:-1]])
        self._check(columns, users, starts)
        # Split at users, so that a group holds at most `row_group_size`.
        bounds = np.append(starts, end)
        for first, past in _groups(bounds, self.row_group_size):
            group = bounds[first : past + 1]
            lists = {
                name: pa.ListArray.from_arrays(
                    pa.array(group - group[0], pa.int32()),
                    pa.array(values[group[0] : group[-1]]),
                )
                for name, values in columns.items()
            }
            ids = self.user_ids.slice(self.num_users, past - first)
            table = pa.table({"user_id": ids, **lists})
            if self._writer is None:
                self._writer = pq.ParquetWriter(
                    self.path, table.schema, compression="zstd"
                )
            self._writer.write_table(table)
            self.num_users += past - first

    def _check(
        self,
        columns: Mapping[str, np.ndarray],
        users: np.ndarray,
        starts: np.ndarray,
    ) -> None:
        wanted = np.arange(len(starts)) + self.num_users
        if not np.array_equal(users[starts], wanted):
            raise DataError(
                "Sequences must come one user after the other. Received: "
                f"another order at user row {self.num_users} (an error of "
                "the prepare step). Please report it."
            )
        inside = users[1:] == users[:-1]
        for name in ("timestamp", "part") if self.ordered else ("timestamp",):
            values = columns[name][: len(users)]
            fell = np.flatnonzero(inside & (np.diff(values) < 0))
            if fell.size:
                user = self.user_ids[int(users[fell[0]])].as_py()
                raise DataError(
                    f"`{name}` must never fall along a user's history: the "
                    "future would leak into it. Received: "
                    f"{values[fell[0]]} before {values[fell[0] + 1]} for "
                    f"user {user!r} (an error of the prepare step). Please "
                    "report it with the config."
                )


def _groups(bounds: np.ndarray, size: int) -> Iterator[tuple[int, int]]:
    """Runs of users `[first, past)` with at most `size` events, or one user."""
    first = 0
    while first < len(bounds) - 1:
        past = int(np.searchsorted(bounds, bounds[first] + size, "right")) - 1
        past = max(past, first + 1)
        yield first, past
        first = past
