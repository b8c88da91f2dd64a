"""How good the run is: the verdict, the models, what is live."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.evaluate import evaluation
from pipeline.evaluate.evaluation import (
    HEADLINE,
    Difference,
    Evaluation,
    Whole,
)
from pipeline.report.document import Facts, Figure, Notes, Section, Table
from pipeline.report.found import Run
from pipeline.report.plots import forest
from pipeline.report.plots.forest import Estimate
from pipeline.terminal import report as terminal

OURS = "two_stage"
METRICS = ("ndcg@10", "recall@10", "recall@100", "mrr")


def verdict(run: Run) -> tuple[str, str]:
    """The state of the run, and a sentence on it."""
    state, said = "open", "Nothing has judged this run yet"
    if run.gate:
        state = "accepted" if run.gate["accepted"] else "rejected"
        said = f"The gate {state} this run"
    if run.evaluation is None:
        return state, f"{said}: it has not been evaluated."
    ours = run.evaluation.models[OURS]
    sentence = (
        f"{said}: {ours.recall_at_10:.0%} of what users took next is among "
        f"the first ten, NDCG@10 is {ours.ndcg_at_10:.3f}"
    )
    best = best_baseline(run.evaluation)
    if best:
        beyond = "" if best.low > 0 or best.high < 0 else ", within noise"
        sentence += (
            f", {best.ratio:.2f} times that of {best.against}, the best "
            f"baseline{beyond}"
        )
    return state, sentence + "."


def best_baseline(found: Evaluation) -> Difference | None:
    """The paired difference to the strongest baseline."""
    for item in found.differences:
        if (
            item.model == OURS
            and item.metric == HEADLINE
            and item.against in found.baselines
        ):
            return item
    return None


def summary(run: Run) -> Section:
    """The figures that are quoted, and what to know before quoting them."""
    found = run.evaluation
    if found is None:
        return Section("Summary")
    ours = found.models[OURS]
    facts = [
        (name, f"{value:.3f}", f"95 %: {low:.3f} to {high:.3f}")
        for name, value, (low, high) in (
            ("NDCG@10", ours.ndcg_at_10, ours.ndcg_at_10_interval),
            ("recall@10", ours.recall_at_10, ours.recall_at_10_interval),
            ("recall@100", ours.recall_at_100, ours.recall_at_100_interval),
        )
    ]
    facts.append(
        ("coverage@10", f"{ours.coverage_at_10:.0%}", "of the catalogue")
    )
    if found.ratings:
        note = f"over {found.ratings.interactions:,} ratings"
        facts.append(("rating error", f"{found.ratings.rmse:.3f}", note))
    return Section(
        "Summary", "", [Facts(facts), Notes(terminal.warnings(found))]
    )


def models(run: Run) -> Section:
    """Every model over all queries, and the differences that decide."""
    found = run.evaluation
    if found is None:
        return Section("Models")
    rows = sorted(found.models.values(), key=lambda row: -row.ndcg_at_10)
    pairs = [item for item in found.differences if item.metric == HEADLINE]
    table = Table(
        "All models on the same queries, best first",
        ("model", *METRICS, "95 % of ndcg@10", "coverage@10"),
        [
            (
                row.model,
                *(f"{row.figures[name]:.4f}" for name in METRICS),
                "{:.4f} to {:.4f}".format(*row.ndcg_at_10_interval),
                f"{row.coverage_at_10:.3f}",
            )
            for row in rows
        ],
        ours=OURS,
    )
    first, *others = (_ranked(rows, name) for name in METRICS[:3])
    return Section(
        "Models",
        "Differences are paired: both models answered the same queries. An "
        "interval that holds zero is a tie.",
        [
            first,
            *([_differences(pairs)] if pairs else []),
            *others,
            table,
            _paired("Paired differences in ndcg@10", pairs),
        ],
    )


def _ranked(rows: Sequence[Whole], metric: str) -> Figure:
    """Every model's figure with its interval, best first."""
    shown = sorted(
        (
            Estimate(
                row.model,
                row.figures[metric],
                *evaluation.plain(row)[f"{metric}_interval"],
            )
            for row in rows
        ),
        key=lambda item: -item.value,
    )
    best, last = shown[0], shown[-1]
    return Figure(
        f"{metric} with its 95 % interval",
        f"From {best.name} at {best.value:.3f} down to {last.name} at "
        f"{last.value:.3f}.",
        forest.intervals(shown, metric, False),
    )


def _differences(pairs: list[Difference]) -> Figure:
    clear = sum(item.low > 0 or item.high < 0 for item in pairs)
    return Figure(
        "Paired differences in ndcg@10",
        f"{clear} of {len(pairs)} intervals do not hold zero.",
        forest.intervals(
            [
                Estimate(
                    f"{item.model} − {item.against}",
                    item.difference,
                    item.low,
                    item.high,
                )
                for item in pairs
            ],
            "difference in ndcg@10",
            True,
        ),
    )


def _paired(caption: str, pairs: list[Difference]) -> Table:
    return Table(
        caption,
        ("model", "against", "metric", "difference", "95 %", "ratio", "p"),
        [
            (
                item.model,
                item.against,
                item.metric,
                _signed(item.difference),
                f"{_signed(item.low)} to {_signed(item.high)}",
                f"{item.ratio:.2f}",
                f"{item.p_value:.3f}",
            )
            for item in pairs
        ],
        num_texts=3,
    )


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


def live(run: Run) -> Section:
    """The version that is live beside the new one."""
    found = run.evaluation
    if found is None or found.live.version is None:
        return Section("Live against new")
    pairs = [item for item in found.differences if item.against == "live"]
    if not pairs:
        return Section("Live against new")
    return Section(
        "Live against new",
        f"Version {found.live.version} answered the same queries. The gate "
        "asks that no difference is below zero beyond noise.",
        [
            _ratios(pairs),
            _paired("New against live, in every metric", pairs),
        ],
    )


def _ratios(pairs: list[Difference]) -> Figure:
    worse = [item.metric for item in pairs if item.high < 0]
    return Figure(
        "New minus live",
        f"Worse beyond noise in {', '.join(worse)}."
        if worse
        else "Worse beyond noise in none.",
        forest.intervals(
            [
                Estimate(item.metric, item.difference, item.low, item.high)
                for item in pairs
            ],
            "difference",
            True,
        ),
    )
