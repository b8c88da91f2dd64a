"""Which interactions of a log are left out before anything else, and counted.

Types of events without a weight, and what was taken back: returns and
cancellations, whose quantity is not above 0.
"""

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.run.data import TabularSource
from pipeline.sources.canonical import cells
from pipeline.sources.canonical.tables import Batch


class Selection:
    """Leaves interactions out by their type and quantity."""

    def __init__(self, source: TabularSource) -> None:
        self.source = source
        self._types: Counter[str] = Counter()
        self._taken_back = 0

    def select(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The rows that stay, with `event_weight` where there are types."""
        for batch in batches:
            if self.source.quantity:
                batch = self._taken(batch)
            if self.source.event:
                batch = self._weighted(batch)
            yield batch

    def _taken(self, batch: Batch) -> Batch:
        numbers, _bad = cells.as_number(batch.columns[self.source.quantity])
        kept = pc.fill_null(pc.greater(numbers, 0.0), True)
        self._taken_back += len(kept) - cells.count(kept)
        return _filtered(batch, kept)

    def _weighted(self, batch: Batch) -> Batch:
        weights = self.source.event_weights
        types = cells.as_text(batch.columns[self.source.event])
        index = pc.index_in(types, value_set=pa.array(weights, pa.string()))
        known = index.is_valid()
        self._types.update(cells.counts(types.filter(pc.invert(known))))
        chosen = _filtered(batch, known)
        values = pa.array(list(weights.values()), pa.float64())
        weight = {"event_weight": values.take(index.filter(known))}
        return Batch({**chosen.columns, **weight}, chosen.lines, chosen.file)

    def notes(self) -> list[str]:
        """What was left out, one kind a line."""
        lines = [
            f"{count:,} interactions of the type {name!r} left out: it has no "
            "weight in event_weights"
            for name, count in self._types.items()
        ]
        if self._taken_back:
            lines.append(
                f"{self._taken_back:,} interactions left out because "
                f"`{self.source.quantity}` is not above 0: returns or "
                "cancellations"
            )
        return lines


def _filtered(batch: Batch, kept: pa.Array) -> Batch:
    return Batch(
        {name: column.filter(kept) for name, column in batch.columns.items()},
        batch.lines[kept.to_numpy(zero_copy_only=False)],
        batch.file,
    )
