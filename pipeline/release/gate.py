"""The rules a staged bundle must meet before it is released.

Enters: evaluation.json of the staged bundle. Leaves: one sentence for each
rule that is broken.
"""

from pipeline.evaluate.evaluation import Evaluation
from pipeline.run.release import PublishConfig

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
    metric = config.metric
    figures = {name: row.figures for name, row in evaluation.models.items()}
    if metric not in figures["two_stage"]:
        return [
            f"`publish.metric` must be a column of the evaluation. Received: "
            f"{metric!r}. Choose one of {', '.join(figures['two_stage'])}."
        ]
    reasons = []
    rules = [("two_stage", "must_beat", config.must_beat)]
    if "student" in figures:
        rules += [("student", "student_must_beat", config.student_must_beat)]
    required = ((*rule, name) for *rule, names in rules for name in names)
    for model, option, name in required:
        if name not in figures:
            why = evaluation.left_out.get(name)
            reasons.append(
                f"`publish.{option}` names {name!r}, which was not evaluated"
                f"{f', since {why}' if why else ''}. Evaluated: "
                f"{', '.join(figures)}."
            )
        elif not figures[model][metric] > figures[name][metric]:
            reasons.append(
                f"{model} must exceed {name} in {metric}: "
                f"{figures[model][metric]:.4f} is not above "
                f"{figures[name][metric]:.4f}."
            )
    return reasons + _against_live(evaluation, metric)


def _against_live(evaluation: Evaluation, metric: str) -> list[str]:
    """Reasons why the live version should stay."""
    compared = {
        difference.metric: difference
        for difference in evaluation.differences
        if difference.against == "live"
    }
    if not compared:
        return []
    if metric not in compared:
        return [
            "`publish.metric` must be a figure of every query, to be compared "
            f"with the live version. Received: {metric!r}. Choose one of "
            f"{', '.join(compared)}."
        ]
    found = compared[metric]
    if not found.high < 0:
        return []
    return [
        "two_stage must not be worse than the live version beyond noise: "
        f"{metric} differs by {found.difference:+.4f} (95 % interval "
        f"{found.low:+.4f} to {found.high:+.4f})."
    ]
