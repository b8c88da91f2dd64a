"""What diversity on request costs in relevance and gives in difference.

The exported fused model is asked the evaluation's queries once a setting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.evaluate.evaluation import Diversity
from pipeline.evaluate.scoreboard import LISTED, coverage, figure
from pipeline.measure import metrics
from pipeline.measure.requests import Requests

if TYPE_CHECKING:
    # TensorFlow is in it; a release is shown without.
    from pipeline.evaluate.artefacts import Artefacts

_SETTINGS = (0.0, 0.3)


def measure(
    bundle: Artefacts,
    asked: Requests,
    units: np.ndarray,
) -> tuple[Diversity, ...]:
    """One row a setting, that without diversity first.

    Args:
        bundle: With the fused model.
        units: Directions `[N, D]` of the items, for their likeness.
    """
    rows = []
    for diversity in _SETTINGS:
        items = bundle.recommend(asked, diversity)[1][:, :LISTED]
        hits = metrics.find_hits(items, asked.relevant)
        relevance = metrics.ndcg_at_k(hits, asked.num_relevant, LISTED)
        rows.append(
            Diversity(
                diversity,
                figure(relevance.mean()),
                figure(similarity(items, units)),
                coverage(items, len(units) - 2),
            )
        )
    return tuple(rows)


def units(embeddings: np.ndarray) -> np.ndarray:
    """Vectors `[N, D]` at length 1; those of length 0 stay so."""
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings / np.maximum(norms, 1e-12)


def similarity(items: np.ndarray, units: np.ndarray) -> float:
    """Mean cosine of two different items of a list.

    Args:
        items: int `[Q, K]`, 0 pads.
        units: `[N, D]`, vectors of length 1.
    """
    there = (items > 0)[..., None]
    sums = (units[items] * there).sum(axis=1)
    counts = there.sum(axis=(1, 2))
    # All pairs without each item's with itself.
    pairs = counts * (counts - 1)
    likeness = (sums**2).sum(axis=1) - counts
    found = likeness[pairs > 0] / pairs[pairs > 0]
    return float(found.mean()) if len(found) else 0.0
