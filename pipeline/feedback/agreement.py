"""How much two answers to one request agree.

Shape letters: none; an answer is a list of items with its scores, best first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from pipeline.feedback.log import Shown

K = 10
# Fewer items in common have no order worth the name.
_LEAST_COMMON = 3


@dataclass(frozen=True)
class Figures:
    """Agreement of a new version's lists with the live one's, of one model.

    Attributes:
        lists: That both answered.
        overlap_at_10: Mean share of the live version's first ten items that
            are among the new one's.
        overlap_at_10_low: The same of the tenth that agrees least, at most.
        common: Mean share of the whole live list that the new one has.
        spearman: Mean rank correlation of the items in common, over whole
            lists; NaN where no list has three.
        kendall: Likewise.
        score_shift: Mean difference of the scores of the items in common, new
            minus live.
        score_ks: Largest distance of the two distributions of all scores
            (Kolmogorov-Smirnov), 0 to 1.
        shown_overlap_live: `overlap_at_10` of the live answers with what was
            logged: 1 where the same version is asked the same.
        shown_overlap_new: Likewise of the new answers.
        emptied: Lists of the new version without an item, where the live one
            has some.
    """

    lists: int
    overlap_at_10: float
    overlap_at_10_low: float
    common: float
    spearman: float
    kendall: float
    score_shift: float
    score_ks: float
    shown_overlap_live: float
    shown_overlap_new: float
    emptied: int


@dataclass
class Pairs:
    """Collects answers of both sides and what was logged."""

    _rows: list[dict[str, float]] = field(default_factory=list)
    _scores: tuple[list[float], list[float]] = field(
        default_factory=lambda: ([], [])
    )
    _emptied: int = 0

    def add(self, live: Shown, new: Shown, shown: Shown | None) -> None:
        """Takes the answers to one list."""
        for kept, side in zip(self._scores, (live, new), strict=True):
            kept += side.scores
        self._emptied += bool(live.item_ids and not new.item_ids)
        places = {item: place for place, item in enumerate(new.item_ids)}
        common = [
            (place, places[item])
            for place, item in enumerate(live.item_ids)
            if item in places
        ]
        row = {
            "overlap": overlap(live.item_ids, new.item_ids),
            "common": len(common) / max(1, len(live.item_ids)),
            "spearman": math.nan,
            "kendall": math.nan,
            "shift": math.nan,
            "shown_live": math.nan,
            "shown_new": math.nan,
        }
        if common:
            before, after = (list(side) for side in zip(*common, strict=True))
            row["shift"] = float(
                np.mean(np.array(new.scores)[after])
                - np.mean(np.array(live.scores)[before])
            )
            if len(common) >= _LEAST_COMMON:
                row["spearman"] = stats.spearmanr(before, after).statistic
                row["kendall"] = stats.kendalltau(before, after).statistic
        if shown is not None:
            row["shown_live"] = overlap(shown.item_ids, live.item_ids)
            row["shown_new"] = overlap(shown.item_ids, new.item_ids)
        self._rows.append(row)

    def figures(self) -> Figures:
        """The means over what was added, one list at least."""

        def of(name: str) -> np.ndarray:
            found = np.array([row[name] for row in self._rows])
            return found[np.isfinite(found)]

        def mean(name: str) -> float:
            found = of(name)
            return _rounded(found.mean()) if len(found) else math.nan

        live, new = self._scores
        distance = stats.ks_2samp(live, new).statistic if live and new else 1.0
        return Figures(
            lists=len(self._rows),
            overlap_at_10=mean("overlap"),
            overlap_at_10_low=_rounded(np.percentile(of("overlap"), 10)),
            common=mean("common"),
            spearman=mean("spearman"),
            kendall=mean("kendall"),
            score_shift=mean("shift"),
            score_ks=_rounded(distance),
            shown_overlap_live=mean("shown_live"),
            shown_overlap_new=mean("shown_new"),
            emptied=self._emptied,
        )


def overlap(live: Sequence[str], new: Sequence[str], k: int = K) -> float:
    """Share of the first `k` of one list among the first `k` of another."""
    first = set(live[:k])
    if not first:
        return 1.0 if not new else 0.0
    return len(first & set(new[:k])) / len(first)


def _rounded(value: float) -> float:
    return round(float(value), 6)
