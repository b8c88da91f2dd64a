"""What the values of columns say: the other part of what `guess` weighs.

Each piece of evidence is a number of points with its reason in words, so that
a guess can be explained beside it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.onboard import times
from pipeline.sources.canonical import cells

_TIME_OF_DAY = r"^\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[AaPp]\.?[Mm]\.?)?$"
# Rows from which on an id that never comes twice speaks against itself.
_ENOUGH_ROWS = 12
_TRUTH = {"0", "1", "true", "false", "yes", "no", "y", "n", "t", "f"}


# Points, above 0 for a meaning and below 0 against it, and the reason, as words
# behind the name of the column.
Evidence: TypeAlias = tuple[float, str]


@dataclass(frozen=True)
class Column:
    """A sample of the cells of one column, null where there is nothing."""

    name: str
    array: pa.Array

    @cached_property
    def text(self) -> pa.Array:
        """The values as text `[num_rows]`."""
        return cells.as_text(self.array)

    @cached_property
    def codes(self) -> np.ndarray:
        """A number for each value, -1 for none `[num_rows]`."""
        encoded = pc.dictionary_encode(self.text)
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
    def nested(self) -> bool:
        """Whether the values are lists or objects."""
        return bool(pa.types.is_nested(self.array.type))

    @cached_property
    def numbers(self) -> pa.Array:
        """Its numbers, where nearly all values are some; else none."""
        if self.nested or pa.types.is_temporal(self.array.type):
            return pa.array([], pa.float64())
        found, bad = cells.as_number(self.array)
        there = len(self.array) - self.array.null_count
        return found.drop_null() if bad.sum() <= 0.02 * there else found[:0]

    @cached_property
    def numeric(self) -> bool:
        """Whether nearly all values are numbers."""
        return len(self.numbers) > 0

    @cached_property
    def fractions(self) -> bool:
        """Whether there are numbers with decimals."""
        whole = pc.equal(self.numbers, pc.floor(self.numbers))
        return self.numeric and not pc.all(whole).as_py()

    @cached_property
    def form(self) -> times.Form | None:
        """How its times are written; None where they are none."""
        return times.form(self.array)

    @cached_property
    def is_time(self) -> bool:
        """Whether the values are moments."""
        return times.are_moments(self.array, self.form)

    @cached_property
    def is_time_of_day(self) -> bool:
        """Whether the values are times without a day."""
        if pa.types.is_time(self.array.type):
            return True
        if not pa.types.is_string(self.array.type):
            return False
        found = pc.match_substring_regex(self.array.drop_null(), _TIME_OF_DAY)
        return cells.share(found) > 0.95

    @cached_property
    def says_yes_or_no(self) -> bool:
        """Whether its values are true or false, in any words."""
        said = {value.lower() for value in self.values}
        return pa.types.is_boolean(self.array.type) or bool(
            said and said <= _TRUTH
        )

    @cached_property
    def is_rating(self) -> bool:
        """Whether its numbers could be ratings, -1 for none."""
        if not self.numeric:
            return False
        low, high = pc.min_max(self.numbers).as_py().values()
        return bool(low >= -1 and 1 <= high <= 10 and high > low)

    @cached_property
    def can_weigh(self) -> bool:
        """Whether its numbers can be the weight of targets as they are.

        Play counts cannot: the few largest would be all that training hears.
        """
        found = self.numbers.filter(pc.greater(self.numbers, 0.0))
        if not len(found):
            return False
        middle, high = pc.quantile(found, [0.5, 0.99]).to_pylist()
        return bool(high <= 20 * middle)

    @cached_property
    def values(self) -> list[str]:
        """The different values, most frequent first; [] for too many."""
        if self.distinct > 50 or self.nested:
            return []
        counts = cells.counts(self.text.drop_null())
        return sorted(counts, key=lambda v: (counts[v], v), reverse=True)

    @cached_property
    def length(self) -> float:
        """Mean number of words of a value."""
        words = pc.utf8_split_whitespace(self.text[:1000])
        return float(pc.mean(pc.list_value_length(words)).as_py() or 0.0)

    @cached_property
    def twins(self) -> int:
        """Values that another one is, but for capital letters."""
        values = pc.unique(self.text.drop_null())
        return len(values) - len(pc.unique(pc.utf8_lower(values)))

    @cached_property
    def identity(self) -> list[Evidence]:
        """For and against ids of any kind."""
        if self.nested:
            return [(-10.0, "holds lists or objects")]
        if not self.present:
            return [(-10.0, "is empty")]
        if self.distinct == 1:
            return [(-10.0, "says the same everywhere")]
        return list(self._identity())

    def _identity(self) -> Iterator[Evidence]:
        present, distinct = self.present, self.distinct
        if self.fractions:
            yield -6.0, "has numbers with decimals"
        if self.is_time_of_day:
            yield -6.0, "holds times of day"
        if self.is_time:
            yield -6.0, "holds times"
        if self.says_yes_or_no:
            yield -6.0, "says yes or no"
        if present >= _ENOUGH_ROWS and distinct > 0.99 * present:
            yield -4.0, "has another value in every row"
        elif present >= _ENOUGH_ROWS and distinct > 0.76 * present:
            yield -1.5, "hardly comes twice"
        if self.length > 6.0:
            yield -3.0, "holds sentences"
        if self.twins > 0.01 * distinct:
            told = f"has {self.twins} values that differ from another in "
            yield 0.0, f"{told}capitals alone"
        if distinct < 5 and present >= 40:
            yield -2.0, f"has {distinct} values only"
        if lacking := 1.0 - present / len(self.array):
            yield -3.0 * lacking, f"is missing in {lacking:.0%} of rows"


def between(user: Column, item: Column) -> list[Evidence]:
    """For and against one column of users and one of items, together."""
    both = (user.codes >= 0) & (item.codes >= 0)
    if not both.any():
        return [(-10.0, "is never there together with the other")]
    users = user.codes[both].astype(np.int64)
    items = item.codes[both].astype(np.int64)
    pairs = len(np.unique(users * item.distinct + items))
    return [
        (points, reason)
        for ids, points, reason in (
            (users, -3.0, "has one item each"),
            (items, -2.0, "has one user each"),
        )
        if pairs / len(np.unique(ids)) < 1.1
    ]


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


def columns(table: Mapping[str, pa.Array]) -> dict[str, Column]:
    """The columns of a sample by name."""
    return {name: Column(name, array) for name, array in table.items()}
