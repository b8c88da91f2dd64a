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
    """Counts the titles of each item while its interactions stream by.

    Args:
        item_id: Column of the item.
        title: Column of the title.
    """

    def __init__(self, item_id: str, title: str) -> None:
        self.item_id = item_id
        self.title = title
        self._counts = pa.table(
            {
                "item_id": pa.array([], pa.string()),
                "title_shown": pa.array([], pa.string()),
                "count": pa.array([], pa.int64()),
            }
        )
        self._pending: list[pa.Table] = []

    def collect(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The rows as they are, their titles counted."""
        for batch in batches:
            rows = pa.table(
                {
                    "item_id": cells.as_text(batch.columns[self.item_id]),
                    "title_shown": cells.as_text(batch.columns[self.title]),
                    "count": pa.array(np.ones(len(batch.lines), np.int64)),
                }
            )
            self._pending.append(_summed(rows))
            if sum(map(len, self._pending)) > _MOST_PENDING:
                self._merge()
            yield batch

    def write(self, path: Path) -> Path:
        """Writes the items table: each item with its title, null for none.

        Args:
            path: Parquet file to write.
        """
        self._merge()
        known = self._counts.filter(pc.is_valid(self._counts["item_id"]))
        # What has no title comes last, whatever its count; of texts that are
        # as frequent as each other the first one in the log is taken.
        ranked = known.append_column(
            "none", pc.is_null(known["title_shown"])
        ).append_column("place", pa.array(np.arange(len(known))))
        best = ranked.sort_by(
            [
                ("none", "ascending"),
                ("count", "descending"),
                ("place", "ascending"),
            ]
        )
        pq.write_table(
            best.group_by("item_id", use_threads=False)
            .aggregate([("title_shown", "first")])
            .rename_columns({"title_shown_first": "title_shown"}),
            path,
        )
        return path

    def _merge(self) -> None:
        self._counts = _summed(pa.concat_tables([self._counts, *self._pending]))
        self._pending = []


def _summed(rows: pa.Table) -> pa.Table:
    """Counts of the pairs, in order of their first row."""
    return (
        rows.group_by(["item_id", "title_shown"], use_threads=False)
        .aggregate([("count", "sum")])
        .rename_columns({"count_sum": "count"})
    )
