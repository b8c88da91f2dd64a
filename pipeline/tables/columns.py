"""The kinds of feature column: raw values to what a tower takes, and back.

Index 0 is padding or missing, 1 is out of vocabulary, 2 and up are values;
numbers are normalised and 0 where missing. `pipeline.export.encode` does the
same inside the exported graph, and a test holds the two against each other.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.config import FIRST_ITEM, FeatureSpec

_SEPARATORS = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class FeatureColumn:
    """One value a row, int32 `[num_rows]`: categorical, refined by the others.

    Attributes:
        spec: What a tower needs to know of it.
        vocabulary: The values of indices 2, 3, …; empty for numbers.
    """

    spec: FeatureSpec
    vocabulary: Sequence[str] = ()

    @staticmethod
    def cells(raw: pa.Array) -> list[list[str]]:
        """The words that each canonical value consists of."""
        return [[value] if value else [] for value in raw.to_pylist()]

    def encode(self, raw: pa.Array) -> np.ndarray:
        """Encodes canonical values `[num_rows]`."""
        known = pa.array(["", *self.vocabulary], pa.string())
        found = pc.index_in(pc.fill_null(raw, ""), value_set=known)
        places = pc.fill_null(found, -1).to_numpy(zero_copy_only=False)
        # From 0 "", 1 the first value and -1 none.
        return np.where(places > 0, places + 1, -places).astype(np.int32)

    def decode(self, encoded: np.ndarray) -> np.ndarray:
        """Values a request may carry for encoded ones, "" where missing.

        What is unknown becomes a word that is in no vocabulary.
        """
        other = "unknown"
        while other in self.vocabulary:
            other += "x"
        return np.array(["", other, *self.vocabulary], object)[encoded]

    def words(self, encoded: np.ndarray) -> list[list[str]]:
        """The known words of each row."""
        return [
            [self.vocabulary[i - FIRST_ITEM] for i in row if i >= FIRST_ITEM]
            for row in encoded.reshape(len(encoded), -1)
        ]


class Numeric(FeatureColumn):
    """Numbers, normalised to float32 `[num_rows]`."""

    def encode(self, raw: pa.Array) -> np.ndarray:
        """Normalises; what is missing or beyond float32 becomes the mean."""
        # Requests carry float32, which the graph normalises as exactly.
        with np.errstate(over="ignore"):
            numbers = raw.to_numpy(zero_copy_only=False).astype(np.float32)
            centred = numbers.astype(np.float64) - self.spec.mean
            normal = (centred / self.spec.std).astype(np.float32)
        return np.where(np.isfinite(normal), normal, np.float32(0.0))

    def decode(self, encoded: np.ndarray) -> np.ndarray:
        """Numbers as float32."""
        numbers = encoded.astype(np.float64) * self.spec.std + self.spec.mean
        return numbers.astype(np.float32)


class MultiCategorical(FeatureColumn):
    """Several values a row, int32 `[num_rows, width]`, right-padded with 0."""

    @staticmethod
    def cells(raw: pa.Array) -> list[list[str]]:
        """The values that are there."""
        return [[v for v in cell or () if v] for cell in raw.to_pylist()]

    def encode(self, raw: pa.Array) -> np.ndarray:
        """Looks the first values of each row up."""
        width = self.spec.width
        cells = [cell[:width] for cell in self.cells(raw)]
        lengths = np.array([len(cell) for cell in cells], np.int64)
        encoded = np.zeros((len(cells), width), np.int32)
        encoded[np.arange(width) < lengths[:, np.newaxis]] = super().encode(
            pa.array(chain.from_iterable(cells), pa.string())
        )
        return encoded


class Text(MultiCategorical):
    """The first words of a text, int32 `[num_rows, width]`."""

    @staticmethod
    def cells(raw: pa.Array) -> list[list[str]]:
        """Lower-case runs of letters and digits.

        The graph knows Unicode 13: capital letters that are younger stay as
        they are there.
        """
        return [
            [word for word in _SEPARATORS.split((text or "").lower()) if word]
            for text in raw.to_pylist()
        ]

    def decode(self, encoded: np.ndarray) -> np.ndarray:
        """Words with blanks between."""
        rows = super().decode(encoded)
        return np.array([" ".join(row).strip() for row in rows], object)


KINDS: dict[str, type[FeatureColumn]] = {
    "categorical": FeatureColumn,
    "multi_categorical": MultiCategorical,
    "numeric": Numeric,
    "text": Text,
}


def make(spec: FeatureSpec, vocabulary: Sequence[str] = ()) -> FeatureColumn:
    """The column of a spec."""
    return KINDS[spec.kind](spec, vocabulary)
