"""How much a distribution has moved: the population stability index.

The index of two distributions is the sum over their bins of
(new - old) ln(new / old). By the usual rule below 0.1 little has changed,
above 0.25 a lot (Lewis 1994; Siddiqi 2006).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.tables.profile import Profile

LITTLE, MUCH = 0.1, 0.25
# A bin that holds nothing counts as if it held this share.
_LEAST_SHARE = 1e-4
_GROUPS = 10


@dataclass(frozen=True)
class Compared:
    """One distribution at two times.

    Attributes:
        name: What was counted.
        bins: Their names.
        before: Shares `[num_bins]`.
        after: Likewise.
    """

    name: str
    bins: Sequence[str]
    before: np.ndarray
    after: np.ndarray

    @property
    def psi(self) -> float:
        """The population stability index."""
        return psi(self.before, self.after)

    @property
    def says(self) -> str:
        """The index in words."""
        if self.psi < LITTLE:
            return "little change"
        return "some change" if self.psi <= MUCH else "much change"


def psi(before: np.ndarray, after: np.ndarray) -> float:
    """The index of two distributions, as shares `[num_bins]`."""
    before = np.maximum(before, _LEAST_SHARE)
    after = np.maximum(after, _LEAST_SHARE)
    return float(((after - before) * np.log(after / before)).sum())


def shares(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Counts `[num_bins]` as shares of their sum."""
    found = np.asarray(counts, np.float64)
    return found / max(found.sum(), 1.0)


def compare(before: Profile, after: Profile) -> Iterator[Compared]:
    """What two profiles have in common, as distributions."""
    yield _items(before, after)
    for name, old, new, names in (
        (
            "interactions of a user on a day",
            before.activity,
            after.activity,
            _doublings,
        ),
        ("hour of the day (UTC)", before.hours, after.hours, _hours),
    ):
        # Times that are all midnight are days.
        if len(old) == len(new) and np.count_nonzero(np.add(old, new)) > 1:
            yield Compared(name, names(len(old)), shares(old), shares(new))


def _items(before: Profile, after: Profile) -> Compared:
    """Items in groups that held a tenth of the interactions each."""
    counts = np.array(list(before.items.values()))
    behind = np.cumsum(counts) - counts
    groups = behind * _GROUPS // max(before.interactions, 1)
    groups = np.unique(groups, return_inverse=True)[1]
    group_of = dict(zip(before.items, groups.tolist(), strict=True))
    sizes = np.bincount(groups)
    # What was rare before, or not there, is in the last.
    sums = np.zeros((2, len(sizes) + 1))
    for row, found in zip(sums, (before, after), strict=True):
        for item, count in found.items.items():
            row[group_of.get(item, -1)] += count
        row[-1] += found.interactions - sum(found.items.values())
    names = [str(place) for place in range(1, len(sizes) + 1)]
    return Compared(
        "items by popularity",
        [*names, "other"],
        shares(sums[0]),
        shares(sums[1]),
    )


def _doublings(count: int) -> list[str]:
    """1, 2, 3 to 4, 5 to 8 and so on; the last has no end."""
    ends = [2**place for place in range(count)]
    return [
        "1",
        *(
            f"{low + 1}–{high}" if high > low + 1 else str(high)
            for low, high in itertools.pairwise(ends[:-1])
        ),
        f"{ends[-2] + 1}+",
    ]


def _hours(count: int) -> list[str]:
    # Every third, or they would run into each other.
    return [str(hour) if hour % 3 == 0 else "" for hour in range(count)]
