"""The rules of quality that a staged bundle must meet before it is released.

Enters: evaluation.json of the staged bundle and what stands behind it. Leaves:
every rule with its value, threshold and outcome, see `pipeline.run.rules`.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pipeline.evaluate.details import Details
from pipeline.evaluate.evaluation import Difference, Evaluation
from pipeline.evaluate.latency import LIVE
from pipeline.run import rules
from pipeline.run.release import PublishConfig
from pipeline.run.rules import Rule

RESULT = "gate.json"


class GateRejected(Exception):
    """The staged bundle must not be published.

    Attributes:
        reasons: One sentence each.
    """

    def __init__(self, *reasons: str) -> None:
        self.reasons = reasons
        super().__init__("\n".join(reasons))


def gate(evaluation: Evaluation, config: PublishConfig) -> list[str]:
    """Reasons against publishing, none when the bundle is accepted."""
    return rules.broken(quality(evaluation, config))


def quality(
    evaluation: Evaluation,
    config: PublishConfig,
    details: Details | None = None,
) -> list[Rule]:
    """Every rule of quality.

    Args:
        evaluation: Of the staged bundle.
        config: What it must beat, and how much it may lose.
        details: What stands behind it, where that was kept.
    """
    metric = config.metric
    known = evaluation.models["two_stage"].figures
    if metric not in known:
        words = (
            f"`publish.metric` must be a column of the evaluation. Received: "
            f"{metric!r}. Choose one of {', '.join(known)}."
        )
        return [Rule.of("metric", False, words)]
    return [
        *_against_rows(evaluation, config),
        _against_live(evaluation, metric, details),
        *_coverage(evaluation, config.max_loss),
        _index(evaluation, config.max_loss),
        *_ondevice(evaluation, config.max_loss),
        *(_slices(details, config.max_loss) if details else ()),
        *(_latency(details.latency_us, config.max_growth) if details else ()),
    ]


def _against_rows(
    evaluation: Evaluation, config: PublishConfig
) -> Iterator[Rule]:
    metric = config.metric
    figures = {name: row.figures for name, row in evaluation.models.items()}
    required = {"two_stage": config.must_beat}
    # A model small enough for a device need not beat every baseline.
    if "student" in figures:
        required["student"] = config.must_beat[:1]
    for model, names in required.items():
        for name in names:
            title = f"{model} against {name}"
            if name not in figures:
                why = evaluation.left_out.get(name)
                words = (
                    f"`publish.must_beat` names {name!r}, which was not "
                    f"evaluated{f', since {why}' if why else ''}. Evaluated: "
                    f"{', '.join(figures)}."
                )
                yield Rule.of(title, False, words)
                continue
            ours, theirs = figures[model][metric], figures[name][metric]
            holds = ours > theirs
            said = (
                f"{model} must exceed {name} in {metric}: {ours:.4f} is "
                f"{'' if holds else 'not '}above {theirs:.4f}."
            )
            yield Rule.of(title, holds, said, ours, theirs)


def _against_live(
    evaluation: Evaluation, metric: str, details: Details | None
) -> Rule:
    """Whether the live version should stay."""
    name = "two_stage against live"
    compared: dict[str, Difference] = {
        difference.metric: difference
        for difference in evaluation.differences
        if difference.against == "live"
    }
    live = evaluation.live
    if not compared:
        why = "nothing is live"
        if live.version is not None:
            why = f"version {live.version} was not compared: "
            why += live.not_compared or "it answered nothing"
        return Rule(name, f"{why}; the baselines decide alone.")
    if metric not in compared:
        words = (
            "`publish.metric` must be a figure of every query, to be compared "
            f"with the live version. Received: {metric!r}. Choose one of "
            f"{', '.join(compared)}."
        )
        return Rule.of(name, False, words)
    found = compared[metric]
    words = (
        "two_stage must not be worse than the live version beyond noise: "
        f"{metric} differs by {found.difference:+.4f} (95 % interval "
        f"{found.low:+.4f} to {found.high:+.4f})."
    )
    if details and details.live_without:
        names = ", ".join(details.live_without)
        words += f" It was asked without {names}, which it "
        words += "takes and this run no longer has."
    return Rule.of(name, not found.high < 0, words, found.high, 0.0)


def _slices(details: Details, max_loss: float) -> Iterator[Rule]:
    """What an average may hide, with some room: several are looked at."""
    for found in details.live_slices:
        least = -max_loss * found.live
        yield Rule.of(
            f"{found.slice} against live",
            not found.high < least,
            f"for {found.slice} ({found.users:,} queries) ndcg@10 differs by "
            f"{found.difference:+.4f} from the live version's {found.live:.4f} "
            f"(95 % interval {found.low:+.4f} to {found.high:+.4f}); at most "
            f"{max_loss:.0%} of it may be lost.",
            found.high,
            least,
        )


def _coverage(evaluation: Evaluation, max_loss: float) -> Iterator[Rule]:
    if "live" in evaluation.models:
        new, old = (
            evaluation.models[name].coverage_at_10
            for name in ("two_stage", "live")
        )
        least = (1 - max_loss) * old
        yield Rule.of(
            "coverage",
            new >= least,
            f"{new:.1%} of the catalogue is in somebody's first ten, of the "
            f"live version {old:.1%}; at least {least:.1%} is expected.",
            new,
            least,
        )


def _index(evaluation: Evaluation, max_loss: float) -> Rule:
    found, least = evaluation.index, 1 - max_loss
    return Rule.of(
        "index recall",
        found.recall_at_100 >= least,
        f"the {found.kind} index finds {found.recall_at_100:.1%} of the exact "
        f"first hundred; at least {least:.0%} is expected.",
        found.recall_at_100,
        least,
    )


def _ondevice(evaluation: Evaluation, max_loss: float) -> Iterator[Rule]:
    student, least = evaluation.ondevice, 1 - max_loss
    found = student.precisions.get(student.precision) if student else None
    if student and found:
        value = found.agreement_at_10_float32
        yield Rule.of(
            "on-device agreement",
            value >= least,
            f"the {student.precision} file agrees with float32 in {value:.1%} "
            f"of the first ten; at least {least:.0%} is expected.",
            value,
            least,
        )


def _latency(
    latency_us: Mapping[str, Sequence[float]], max_growth: float
) -> Iterator[Rule]:
    """Medians, timed in turn with the live version in one process."""
    for name, taken in latency_us.items():
        before = latency_us.get(f"{LIVE} {name}")
        if before:
            new, old = np.median(taken) / 1e3, np.median(before) / 1e3
            most = (1 + max_growth) * old
            yield Rule.of(
                f"latency of {name}",
                bool(new <= most),
                f"{name} takes {new:.2f} ms a request, of the live version "
                f"{old:.2f} ms; at most {most:.2f} ms is expected.",
                float(new),
                float(most),
            )
