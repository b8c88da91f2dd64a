"""Rows that cannot be used: counted, shown, kept in a file, limited.

On disk: `quarantine.jsonl`, one object a row with its reason, file, line and
values as read; absent when every row was usable.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.tables.schema import DataError

FILE = "quarantine.jsonl"
# Rows of one kind written out; the rest are counted.
KEPT = 10_000


class Quarantine:
    """Sets unusable rows aside, in a file at `path`, and counts them.

    At most `max_bad_share` of the rows of a file may be unusable.
    """

    def __init__(self, path: Path, max_bad_share: float) -> None:
        self.path = path
        self.max_bad_share = max_bad_share
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        self._rows: Counter[str] = Counter()
        self._bad: Counter[str] = Counter()
        self._cells: Counter[tuple[str, str]] = Counter()

    def seen(self, rows: int, file: str) -> None:
        """Counts the rows of a file, usable or not."""
        self._rows[file] += rows

    def add(
        self,
        reason: str,
        batch: Any,
        wrong: np.ndarray,
        bad: np.ndarray,
        cell: bool = False,
    ) -> np.ndarray:
        """Sets aside the rows of a batch that break a rule.

        Args:
            reason: The rule, as a sentence about the row.
            batch: Rows as read: `columns`, `lines` and `file`.
            wrong: Rows that break it, bool `[num_rows]`.
            bad: Rows set aside already, which are not counted again.
            cell: Whether one value is set aside and the row stays. A column
                of wrong values stops the run as wrong rows do.

        Returns:
            The rows set aside now, bool `[num_rows]`.
        """
        new = wrong & ~bad
        rows = np.flatnonzero(new)
        shown = rows[: max(0, KEPT - self.counts[reason])]
        for row in map(int, shown):
            values = {n: _shown(c, row) for n, c in batch.columns.items()}
            self._write(reason, batch.file, int(batch.lines[row]), values)
        if len(rows):
            self.counts[reason] += len(rows) - len(shown)
            if cell:
                self._cells[batch.file, reason] += len(rows)
            else:
                self._bad[batch.file] += len(rows)
        return new

    def add_line(self, reason: str, file: str, line: int, text: str) -> None:
        """Sets aside one line that could not be split into columns."""
        self._write(reason, file, line, {"text": text})
        self._bad[file] += 1
        self._rows[file] += 1

    def decode(
        self, raw: bytes, encoding: str, file: str, line: int
    ) -> str | None:
        """The text of a line; None where it is set aside for its bytes."""
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            shown = raw.decode("latin-1")
            self.add_line(f"it is not {encoding}", file, line, shown)
            return None

    def _write(
        self, reason: str, file: str, line: int, values: dict[str, Any]
    ) -> None:
        self.counts[reason] += 1
        if reason not in self.first:
            shown = ", ".join(f"{k}={v!r}" for k, v in values.items())
            self.first[reason] = f"{file} line {line}: {shown}"[:300]
        if self.counts[reason] <= KEPT:
            entry = dict(reason=reason, file=file, line=line, values=values)
            with self.path.open("a", encoding="utf-8") as kept:
                kept.write(json.dumps(entry, default=str) + "\n")

    def lines(self) -> list[str]:
        """Says what was set aside, one kind a line."""
        values = {reason for _file, reason in self._cells}
        return [
            f"{count:,} {'values' if reason in values else 'rows'} set aside "
            f"because {reason}; the first: {self.first[reason]}"
            for reason, count in self.counts.most_common()
        ]

    def _unusable(self) -> list[tuple[float, int, int, str]]:
        """Share, number and rows that are unusable in each file."""
        found = []
        for file, rows in self._rows.items():
            # Or lack the value of the worst column.
            cells = [n for (f, _), n in self._cells.items() if f == file]
            bad = self._bad[file] + max(cells, default=0)
            found.append((bad / max(rows, 1), bad, rows, file))
        return found

    def worst_share(self) -> float:
        """Share of unusable rows in the file that has most of them."""
        return max(self._unusable(), default=(0.0,))[0]

    def check(self) -> None:
        """Stops where too large a share of a file is unusable.

        Raises:
            DataError: If one has more than is permitted.
        """
        for share, bad, rows, file in self._unusable():
            if share > self.max_bad_share:
                kinds = "\n  ".join(self.lines())
                raise DataError(
                    f"At most {self.max_bad_share:.2%} of the rows of a file "
                    f"may be unusable. Received: {bad:,} of {rows:,} "
                    f"({share:.2%}) in {file}:\n"
                    f"  {kinds}\nCorrect them, or set source.max_bad_share "
                    "to leave them out."
                )


def _shown(column: pa.Array, row: int) -> object:
    cell = column.slice(row, 1)
    if pa.types.is_temporal(column.type):
        # Python has neither nanoseconds nor years of five digits.
        cell = pc.cast(cell, pa.string())
    return cell[0].as_py()
