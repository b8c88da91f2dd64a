"""Evaluations with the figures that a test is about."""

from dataclasses import replace

from pipeline.evaluate.evaluation import (
    ALL,
    Again,
    Difference,
    Diversity,
    Evaluation,
    Index,
    Norm,
    Ratings,
    Row,
    Sanity,
    Whole,
)


def made(bundle_id: str = "b1", **rows: float) -> Evaluation:
    """Two models and two baselines, by their NDCG@10."""
    rows = {
        "two_stage": 0.2,
        "popularity": 0.1,
        "recent_popularity": 0.1,
    } | rows
    return Evaluation(
        dataset="tiny",
        split="temporal",
        part="test",
        protocol="split",
        seen="excluded",
        label="honest",
        queries=150,
        bundle_id=bundle_id,
        rows=(
            *(whole(model, value) for model, value in rows.items()),
            Row("two_stage", "cold", 9, *[0.0] * 5),
            Row("retrieval", "cold", 9, *[0.0] * 5),
        ),
        differences=(),
        baselines={},
        index=Index("exact", 0.4, 1.0, 1.0),
        sanity=Sanity({"two_stage": 0.1}, Norm(1.0, 0.1, 0.0), 0.0),
        seconds=1.0,
    )


def full() -> Evaluation:
    """Everything that there may be beside the rows, but a student."""
    return replace(
        made(two_stage=1.0),
        again=Again(3, 4, "misses"),
        differences=(
            Difference(
                "two_stage", "retrieval", "ndcg@10", 0.5693, 0.5, 0.6, 0.01, 2.3
            ),
        ),
        ratings=Ratings(0.91, 20_000),
        diversity=(
            Diversity(0.0, 0.20, 0.5, 0.4),
            Diversity(0.3, 0.18, 0.3, 0.4),
        ),
    )


def whole(model: str, value: float) -> Whole:
    """A row of all queries in which every figure is the same."""
    shown = (0.1, 0.2)
    figures = [value] * 5
    return Whole(model, ALL, 150, *figures, shown, shown, shown, value, value)


def compared(highs: dict[str, float]) -> Evaluation:
    """Compared with the live version in metrics, by their upper ends."""
    return replace(
        made(),
        differences=tuple(
            Difference("two_stage", "live", name, -0.02, -0.03, high, 0.1, 0.9)
            for name, high in highs.items()
        ),
    )
