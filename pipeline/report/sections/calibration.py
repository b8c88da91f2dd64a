"""Whether what the exported ranking model predicts comes true."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.evaluate.calibration import Bin
from pipeline.measure.intervals import wilson
from pipeline.report.document import Figure, Section, Table
from pipeline.report.found import Run
from pipeline.report.plots import reliability
from pipeline.report.plots.forest import Estimate


def calibration(run: Run) -> Section:
    """Predicted probabilities and ratings against what happened."""
    if run.details is None:
        return Section("Calibration")
    chances, ratings = run.details.probabilities, run.details.ratings
    return Section(
        "Calibration",
        "The softmax of ranking's scores over its candidates is the "
        "probability it gives each of being the next item, on condition that "
        "the next is among them. On the dashed line predictions come true; "
        "below it the model is too sure. Order, and so every ranking metric, "
        "does not depend on it; thresholds and expected values do.",
        [*_probabilities(chances), *_ratings(ratings), *_table(chances)],
    )


def _probabilities(bins: Sequence[Bin]) -> Iterator[Figure]:
    if not bins:
        return
    seen = _observed(bins)
    # Each query has one next item, so this is the number of queries.
    queries = sum(group.count * group.observed for group in bins)
    wrong = sum(
        group.count * abs(group.predicted - group.observed) for group in bins
    )
    yield Figure(
        "Reliability of the probability of being next",
        f"Over {queries:,.0f} queries whose next item is among the "
        f"candidates, {wrong / (2 * queries):.1%} of the probability lies in "
        "a wrong bin. Bins are halvings.",
        reliability.diagram(
            [
                (group.predicted, row)
                for group, row in zip(bins, seen, strict=True)
            ],
            ("predicted", "observed"),
            is_log=True,
        ),
    )


def _table(bins: Sequence[Bin]) -> Iterator[Table]:
    seen = _observed(bins)
    yield Table(
        "Probabilities that ranking gave its candidates",
        ("predicted", "candidates", "came next", "observed", "95 %"),
        [
            (
                f"{group.predicted:.3%}",
                f"{group.count:,}",
                f"{group.count * group.observed:,.0f}",
                f"{group.observed:.3%}",
                f"{row.low:.3%} to {row.high:.3%}",
            )
            for group, row in zip(bins, seen, strict=True)
        ],
    )


def _ratings(bins: Sequence[Bin]) -> Iterator[Figure]:
    if not bins:
        return
    count = sum(group.count for group in bins)
    off = sum(
        group.count * (group.predicted - group.observed) for group in bins
    )
    yield Figure(
        "Predicted ratings, by tenths",
        f"Over {count:,} ratings predictions are {off / count:+.3f} from what "
        "was given, on average.".replace("-", "−"),
        reliability.diagram(
            [
                (
                    group.predicted,
                    Estimate(
                        "", group.observed, group.observed, group.observed
                    ),
                )
                for group in bins
            ],
            ("predicted rating", "mean rating given"),
            is_log=False,
        ),
    )


def _observed(bins: Sequence[Bin]) -> list[Estimate]:
    return [
        Estimate("", group.observed, *wilson(group.observed, group.count))
        for group in bins
    ]
