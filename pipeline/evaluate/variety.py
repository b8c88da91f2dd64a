"""What kind of items lists hold: novel, popular, alike, the same for all.

Novelty is the self-information of an item, minus the binary logarithm of its
share of the train interactions (Zhou et al. 2010; Vargas and Castells 2011).
Popularity is its train interactions, averaged over lists (ARP of Yin et al.
2012). Gini is the inequality of how often items of the catalogue stand
in lists: 0 where all do alike, 1 where one takes all.

Shape letters: Q queries, K places, N items, D embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.config import FIRST_ITEM
from pipeline.evaluate.diversity import similarity
from pipeline.evaluate.scoreboard import LISTED, figure


@dataclass(frozen=True)
class Variety:
    """Means over lists of ten.

    Attributes:
        novelty_at_10: Self-information in bits.
        similarity_at_10: Cosine of two items of a list.
        popularity_at_10: Train interactions of an item.
        gini_at_10: Of the places that each item has in all lists.
    """

    novelty_at_10: float
    similarity_at_10: float
    popularity_at_10: float
    gini_at_10: float


def measure(
    items: np.ndarray, counts: np.ndarray, units: np.ndarray
) -> Variety:
    """The variety of lists.

    Args:
        items: int `[Q, K]`; below `FIRST_ITEM` is nothing.
        counts: Train interactions `[N]`.
        units: `[N, D]`, vectors of length 1.
    """
    items = np.where(items >= FIRST_ITEM, items, 0)[:, :LISTED]
    there = items > 0
    shares = np.maximum(counts, 1) / max(int(counts.sum()), 1)
    places = np.bincount(items[there], minlength=len(counts))[FIRST_ITEM:]
    return Variety(
        figure(_mean(-np.log2(shares)[items], there)),
        figure(similarity(items, units)),
        figure(_mean(counts[items], there)),
        figure(gini(places)),
    )


def gini(places: np.ndarray) -> float:
    """Gini coefficient of counts `[N]`, 0 where there are none."""
    total, size = int(places.sum()), len(places)
    if not total:
        return 0.0
    ranks = 2 * np.arange(1, size + 1) - size - 1
    return float((ranks * np.sort(places)).sum() / (size * total))


def _mean(values: np.ndarray, there: np.ndarray) -> float:
    """Mean over lists of the means of what is there."""
    counts = there.sum(axis=1)
    sums = (values * there).sum(axis=1)
    found = sums[counts > 0] / counts[counts > 0]
    return float(found.mean()) if len(found) else 0.0
