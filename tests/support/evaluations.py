"""Evaluations with the figures that a test is about."""

from dataclasses import replace

from pipeline.evaluate.calibration import Bin
from pipeline.evaluate.details import Details, Length, Mean
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
from pipeline.evaluate.variety import Variety


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


def details(*models: str) -> Details:
    """Plausible details of some models, each a little behind the one before."""
    return Details(
        recall={
            model: tuple(k**0.5 / (12 + place) for k in range(1, 101))
            for place, model in enumerate(models)
        },
        lengths=tuple(
            Length(
                first,
                last,
                50,
                {
                    model: Mean(0.2 - place / 50, (0.15, 0.22))
                    for place, model in enumerate(models)
                },
            )
            for first, last in ((0, 0), (1, 4), (5, 9), (100, None))
        ),
        variety={
            model: Variety(8.0 - place, 0.3 + place / 10, 60.0, 0.75)
            for place, model in enumerate(models)
        },
        taken=Variety(9.25, 0.25, 40.0, 0.5),
        probabilities=(
            Bin(40, 0.7, 0.6),
            Bin(200, 0.2, 0.25),
            Bin(9_000, 0.01, 0.0105),
        ),
        ratings=(Bin(10, 2.5, 2.25), Bin(10, 4.0, 4.25)),
        latency_us={
            "retrieval": tuple(1_000.0 + 10 * k for k in range(50)),
            "ranking": tuple(2_000.0 + 10 * k for k in range(50)),
        },
    )
