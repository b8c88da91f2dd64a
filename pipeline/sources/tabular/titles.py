"""Titles that stand in the log itself, beside each item.

Without a table of the items the column `title` of the interactions tells what
to display: of each item the text it bears most often.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.sources.canonical import cells
from pipeline.sources.canonical.tables import Batch

# Pairs of an item and a text that may gather before they are added up.
_MOST_PENDING = 1_000_000


class Titles:
    """Counts the titles of each item while its interactions stream by."""

    def __init__(self, item_id: str, title: str) -> None:
        self._columns = {"item_id": item_id, "title_shown": title}
        # All so far, and what has come since they were added up.
        self._counts = [_PAIRS.empty_table()]

    def collect(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The rows as they are, their titles counted."""
        for batch in batches:
            rows = {
                name: cells.as_text(batch.columns[column])
                for name, column in self._columns.items()
            }
            rows["count"] = pa.array(np.ones(len(batch.lines), np.int64))
            self._counts.append(_summed([pa.table(rows)]))
            if sum(map(len, self._counts[1:])) > _MOST_PENDING:
                self._counts = [_summed(self._counts)]
            yield batch

    def write(self, path: Path) -> Path:
        """Writes the items table: each item with its title, null for none."""
        found = _summed(self._counts)
        found = found.filter(pc.is_valid(found["item_id"]))
        # What has no title comes last, whatever its count; of texts that are
        # as frequent as each other the first one in the log is taken.
        count = pc.if_else(pc.is_null(found["title_shown"]), 0, found["count"])
        best = found.set_column(2, "count", count)
        best = best.sort_by([("count", "descending")])
        pq.write_table(
            best.group_by("item_id", use_threads=False)
            .aggregate([("title_shown", "first")])
            .rename_columns(["item_id", "title_shown"]),
            path,
        )
        return path


_PAIRS = pa.schema(
    {"item_id": pa.string(), "title_shown": pa.string(), "count": pa.int64()}
)


def _summed(rows: list[pa.Table]) -> pa.Table:
    """Counts of the pairs, in order of their first row."""
    return (
        pa.concat_tables(rows)
        .group_by(["item_id", "title_shown"], use_threads=False)
        .aggregate([("count", "sum")])
        .rename_columns(["item_id", "title_shown", "count"])
    )
