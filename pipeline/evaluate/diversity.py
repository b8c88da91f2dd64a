"""What diversity on request costs in relevance and gives in difference.

The exported fused model is asked the evaluation's queries once a setting.
"""

from typing import Any

import numpy as np

from pipeline.evaluate.artefacts import Artefacts
from pipeline.measure import metrics
from pipeline.measure.queries import Queries

_LISTED = 10


def measure(
    bundle: Artefacts,
    asked: Queries,
    embeddings: np.ndarray,
    settings: tuple[float, ...],
) -> list[dict[str, float]]:
    """One row a setting, that without diversity first.

    Args:
        bundle: With the fused model.
        asked: The evaluation's queries.
        embeddings: `[N, D]` vectors of the items, for their likeness.
        settings: Diversities to ask for, each above 0 and at most 1.

    Returns:
        `diversity`, `ndcg@10`, `similarity@10` (mean cosine of two items of a
        list) and `coverage@10` (share of the catalogue in any list).
    """
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    units = embeddings / np.maximum(norms, 1e-12)
    rows = []
    for diversity in (0.0, *settings):
        items = bundle.recommend(asked, diversity)[1][:, :_LISTED]
        hits = metrics.find_hits(items, asked.relevant)
        relevance = metrics.ndcg_at_k(hits, asked.num_relevant, _LISTED)
        rows.append(
            {
                "diversity": diversity,
                "ndcg@10": _rounded(relevance.mean()),
                "similarity@10": _rounded(similarity(items, units)),
                "coverage@10": _rounded(
                    len(np.setdiff1d(items, [0])) / max(len(units) - 2, 1)
                ),
            }
        )
    return rows


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


def sentences(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as a person reads them."""
    plain = rows[0]
    return [
        f"diversity {row['diversity']:g}: ndcg@10 {row['ndcg@10']:.4f} "
        f"({row['ndcg@10'] - plain['ndcg@10']:+.4f}), likeness within a list "
        f"{row['similarity@10']:.3f} (was {plain['similarity@10']:.3f}), "
        f"coverage@10 {row['coverage@10']:.3f} "
        f"(was {plain['coverage@10']:.3f})"
        for row in rows[1:]
    ]


def _rounded(value: float) -> float:
    return round(float(value), 5)
