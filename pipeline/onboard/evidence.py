"""What the values of columns say: the other part of what `guess` weighs.

Each piece of evidence is a number of points with its reason in words, so that
a guess can be explained beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.onboard import times
from pipeline.sources.canonical import cells

_TIME_OF_DAY = r"^\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[AaPp]\.?[Mm]\.?)?$"
# Rows from which on an id that never comes twice speaks against itself.
_ENOUGH_ROWS = 12


@dataclass(frozen=True)
class Evidence:
    """One reason for or against a meaning of a column.

    Attributes:
        points: Above 0 for it, below 0 against it.
        reason: As words behind the name of the column.
    """

    points: float
    reason: str


@dataclass(frozen=True)
class Column:
    """A sample of the cells of one column.

    Attributes:
        name: In the file.
        array: Cells, null where there is nothing `[num_rows]`.
    """

    name: str
    array: pa.Array

    @cached_property
    def codes(self) -> np.ndarray:
        """A number for each value, -1 for none `[num_rows]`."""
        encoded = pc.dictionary_encode(cells.as_text(self.array))
        return pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)

    @cached_property
    def distinct(self) -> int:
        """Different values."""
        return int(self.codes.max(initial=-1)) + 1

    @cached_property
    def present(self) -> int:
        """Rows with a value."""
        return int((self.codes >= 0).sum())

    @cached_property
    def numeric(self) -> bool:
        """Whether nearly all values are numbers."""
        return is_numeric(self.array)

    @cached_property
    def fractions(self) -> bool:
        """Whether there are numbers with decimals."""
        return self.numeric and not are_whole(self.array)

    @cached_property
    def is_time(self) -> bool:
        """Whether the values are moments."""
        return times.are_moments(self.array)

    @cached_property
    def is_time_of_day(self) -> bool:
        """Whether the values are times without a day."""
        if pa.types.is_time(self.array.type):
            return True
        if not pa.types.is_string(self.array.type) or not self.present:
            return False
        found = pc.match_substring_regex(self.array.drop_null(), _TIME_OF_DAY)
        return bool(pc.mean(pc.cast(found, pa.int8())).as_py() > 0.95)

    @cached_property
    def values(self) -> list[str]:
        """The different values, most frequent first; [] for too many."""
        if self.distinct > 50 or pa.types.is_nested(self.array.type):
            return []
        counts = pc.value_counts(cells.as_text(self.array).drop_null())
        pairs = [(p["counts"].as_py(), p["values"].as_py()) for p in counts]
        return [value for _count, value in sorted(pairs, reverse=True)]

    @cached_property
    def length(self) -> float:
        """Mean number of words of a value."""
        text = cells.as_text(self.array.slice(0, 1000))
        counts = pc.list_value_length(pc.utf8_split_whitespace(text))
        return float(pc.mean(counts).as_py() or 0.0)

    @cached_property
    def twins(self) -> int:
        """Values that another one is, but for capital letters."""
        values = pc.unique(cells.as_text(self.array).drop_null())
        return len(values) - len(pc.unique(pc.utf8_lower(values)))

    @cached_property
    def identity(self) -> list[Evidence]:
        """For and against ids of any kind."""
        rows, present, distinct = len(self.array), self.present, self.distinct
        if pa.types.is_nested(self.array.type):
            return [Evidence(-10.0, "holds lists or objects")]
        if distinct <= 1:
            reason = "is empty" if not distinct else "says the same everywhere"
            return [Evidence(-10.0, reason)]
        found = []
        for wrong, points, reason in (
            (self.fractions, -6.0, "has numbers with decimals"),
            (self.is_time_of_day, -6.0, "holds times of day"),
            (self.is_time, -6.0, "holds times"),
            (
                pa.types.is_boolean(self.array.type)
                or (self.values and {v.lower() for v in self.values} <= _TRUTH),
                -6.0,
                "says yes or no",
            ),
            (
                distinct > 0.99 * present and present >= _ENOUGH_ROWS,
                -4.0,
                "has another value in every row",
            ),
            (
                0.76 * present < distinct <= 0.99 * present
                and present >= _ENOUGH_ROWS,
                -1.5,
                "hardly comes twice",
            ),
            (self.length > 6.0, -3.0, "holds sentences"),
            (
                self.twins > 0.01 * distinct,
                0.0,
                f"has {self.twins} values that differ from another in "
                "capitals alone",
            ),
            (
                distinct < 5 and present >= 40,
                -2.0,
                f"has {distinct} values only",
            ),
            (
                present < rows,
                -3.0 * (rows - present) / max(rows, 1),
                f"is missing in {(rows - present) / max(rows, 1):.0%} of rows",
            ),
        ):
            if wrong:
                found.append(Evidence(points, reason))
        return found


_TRUTH = {"0", "1", "true", "false", "yes", "no", "y", "n", "t", "f"}


def between(user: Column, item: Column) -> list[Evidence]:
    """For and against one column of users and one of items, together."""
    both = (user.codes >= 0) & (item.codes >= 0)
    if not both.any():
        return [Evidence(-10.0, "is never there together with the other")]
    users = user.codes[both].astype(np.int64)
    items = item.codes[both].astype(np.int64)
    pairs = len(np.unique(users * item.distinct + items))
    per_user = pairs / max(len(np.unique(users)), 1)
    per_item = pairs / max(len(np.unique(items)), 1)
    found = []
    if per_user < 1.1:
        found.append(Evidence(-3.0, "has one item each"))
    if per_item < 1.1:
        found.append(Evidence(-2.0, "has one user each"))
    return found


def depends(values: np.ndarray, ids: np.ndarray) -> bool:
    """Whether an id tells the value beside it, but for some corrections.

    Args:
        values: Code of each value, -1 for none `[num_rows]`.
        ids: Code of each id, each more than once `[num_rows]`.
    """
    there = (values >= 0) & (ids >= 0)
    pairs = np.stack([ids[there], values[there]], 1)
    kinds, counts = np.unique(pairs, axis=0, return_counts=True)
    if not len(kinds):
        return False
    most = np.zeros(ids.max() + 1, np.int64)
    np.maximum.at(most, kinds[:, 0], counts)
    return bool(most.sum() >= 0.9 * there.sum())


def numbers(array: pa.Array) -> pa.Array:
    """The numbers of a column."""
    return cells.as_number(array)[0].drop_null()


def is_numeric(array: pa.Array) -> bool:
    """Whether nearly all values of a column are numbers."""
    if pa.types.is_nested(array.type) or pa.types.is_temporal(array.type):
        return False
    found, bad = cells.as_number(array)
    there = len(array) - array.null_count
    return bool(len(found.drop_null()) > 0 and bad.sum() <= 0.02 * there)


def are_whole(array: pa.Array) -> bool:
    """Whether all numbers of a column are whole."""
    found = numbers(array)
    return bool(pc.all(pc.equal(found, pc.floor(found))).as_py())


def can_weigh(array: pa.Array) -> bool:
    """Whether a column can be the weight of targets as it is.

    Play counts cannot: the few largest would be all that training hears.
    """
    if not is_numeric(array):
        return False
    found = numbers(array)
    found = found.filter(pc.greater(found, 0.0))
    if not len(found):
        return False
    middle, high = pc.quantile(found, [0.5, 0.99]).to_pylist()
    return bool(high <= 20 * middle)


def is_rating(array: pa.Array) -> bool:
    """Whether the numbers of a column could be ratings, -1 for none."""
    if not is_numeric(array):
        return False
    low, high = pc.min_max(numbers(array)).as_py().values()
    return bool(low >= -1 and 1 <= high <= 10 and high > low)


def columns(table: Mapping[str, pa.Array]) -> dict[str, Column]:
    """The columns of a sample by name."""
    return {name: Column(name, array) for name, array in table.items()}
