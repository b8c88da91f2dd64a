"""What an evaluation reports, as far as the gate reads it."""

from typing import Any


def made(bundle_id: str = "b1", **rows: float) -> dict[str, Any]:
    rows = {
        "two_stage": 0.2,
        "popularity": 0.1,
        "recent_popularity": 0.1,
    } | rows
    return {
        "bundle_id": bundle_id,
        "rows": [
            {"model": model, "slice": "all", "ndcg@10": value}
            for model, value in rows.items()
        ]
        + [{"model": "two_stage", "slice": "cold", "ndcg@10": 0.0}],
        "differences": [],
    }
