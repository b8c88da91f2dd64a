"""Rows of item indices of different lengths, end to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.config import PADDING


@dataclass(frozen=True)
class Ragged:
    """Rows of item indices of different lengths.

    Attributes:
        offsets: int64 `[B + 1]`; row b is `items[offsets[b]:offsets[b + 1]]`.
        items: int32 `[total]`.
    """

    offsets: np.ndarray
    items: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[int] | np.ndarray]) -> Ragged:
        """Builds from one sequence a row."""
        lengths = [len(row) for row in rows]
        return cls(
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([np.zeros(0, np.int32), *rows]).astype(np.int32),
        )

    @classmethod
    def empty(cls, count: int) -> Ragged:
        """So many rows without items."""
        return cls(np.zeros(count + 1, np.int64), np.zeros(0, np.int32))

    @classmethod
    def unpadded(cls, items: np.ndarray) -> Ragged:
        """The rows of a matrix `[B, K]` without their padding."""
        there = items != PADDING
        offsets = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
        return cls(offsets.astype(np.int64), items[there].astype(np.int32))

    @classmethod
    def between(
        cls, items: np.ndarray, starts: np.ndarray, stops: np.ndarray
    ) -> Ragged:
        """Rows `items[start:stop]`."""
        lengths = np.maximum(stops - starts, 0)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        index = np.arange(offsets[-1]) - np.repeat(
            offsets[:-1] - starts, lengths
        )
        return cls(offsets, items[index])

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Items a row, int64 `[B]`."""
        return np.diff(self.offsets)

    @property
    def row_of_item(self) -> np.ndarray:
        """Row of every item, int64 `[total]`."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def take(self, rows: np.ndarray) -> Ragged:
        """The given rows, in the given order."""
        return Ragged.between(
            self.items, self.offsets[rows], self.offsets[rows + 1]
        )

    def backwards(self) -> Ragged:
        """Each row from its end."""
        ends = self.offsets[:-1] + self.offsets[1:] - 1
        place = ends[self.row_of_item] - np.arange(len(self.items))
        return Ragged(self.offsets, self.items[place])

    def last(self, width: int) -> np.ndarray:
        """The last `width` items a row, int32 `[B, width]`, 0 on the left."""
        padded = np.zeros((len(self), width), np.int32)
        from_end = self.offsets[1:][self.row_of_item] - np.arange(
            len(self.items)
        )
        keep = from_end <= width
        padded[self.row_of_item[keep], width - from_end[keep]] = self.items[
            keep
        ]
        return padded
