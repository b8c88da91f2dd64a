"""Values of the items' features: what a filter may name, and what passes it."""

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.config import FIRST_ITEM
from pipeline.explore.catalogue import plain
from pipeline.tables.schema import DataError

_FOUND = 8


@dataclass(frozen=True)
class Value:
    """A value of an item feature, and how many items have it."""

    feature: str
    value: str
    items: int


class ItemValues:
    """Looks values up.

    Args:
        cells: The values of each item by feature, from
            `Prepared.item_values`.
        num_rows: Of the catalogue, those of no item included.
    """

    def __init__(
        self, cells: Mapping[str, pa.ListArray], num_rows: int
    ) -> None:
        self._cells = cells
        self._num_rows = num_rows
        found = [
            Value(name, one["values"], one["counts"])
            for name, column in cells.items()
            for one in pc.value_counts(column.flatten()).to_pylist()
        ]
        found.sort(key=lambda one: -one.items)
        self._texts = [
            (one, f" {plain(one.feature)} {plain(one.value)}") for one in found
        ]

    def search(self, text: str) -> list[Value]:
        """Values that have every word's start, the most frequent first.

        The name of the feature counts as a word; "" finds the most frequent.
        """
        words = [f" {word}" for word in plain(text).split()]
        found = (
            one
            for one, its in self._texts
            if all(word in its for word in words)
        )
        return list(itertools.islice(found, _FOUND))

    def passing(self, filters: Mapping[str, Collection[str]]) -> np.ndarray:
        """Which rows have any of the values of every feature, bool `[N]`.

        Raises:
            DataError: If there is no such feature.
        """
        passes = np.ones(self._num_rows, bool)
        for name, values in filters.items():
            if name not in self._cells:
                raise DataError(
                    "A filter must name a feature that items have: "
                    f"{', '.join(self._cells) or 'none'}. Received: {name!r}. "
                    "Search for a value."
                )
            column = self._cells[name]
            has = pc.is_in(column.flatten(), pa.array(values, pa.string()))
            rows = pc.list_parent_indices(column).filter(has).to_numpy()
            among = np.zeros(self._num_rows, bool)
            among[rows + FIRST_ITEM] = True
            passes &= among
        return passes
