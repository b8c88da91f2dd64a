"""The rules a staged bundle must meet before it is released.

Enters: evaluation.json of the staged bundle. Leaves: one sentence for each
rule that is broken.
"""

from typing import Any

from pipeline.run.config import PublishConfig

RESULT = "gate.json"


class GateRejected(Exception):
    """The staged bundle must not be published.

    Attributes:
        reasons: One sentence each.
    """

    def __init__(self, reasons: list[str]) -> None:
        self.reasons = reasons
        super().__init__("\n".join(reasons))


def gate(evaluation: dict[str, Any], config: PublishConfig) -> list[str]:
    """Reasons against publishing, none when the bundle is accepted.

    Args:
        evaluation: What the evaluate step wrote.
        config: The metric and the rows that must be beaten.
    """
    metric = config.metric
    rows = {
        row["model"]: row for row in evaluation["rows"] if row["slice"] == "all"
    }
    ours = rows["two_stage"].get(metric)
    if ours is None:
        return [
            f"`publish.metric` must be a column of the evaluation. Received: "
            f"{metric!r}. Choose one of {', '.join(rows['two_stage'])}."
        ]
    reasons = []
    required = [("two_stage", "must_beat", name) for name in config.must_beat]
    if "student" in rows:
        required += [
            ("student", "student_must_beat", name)
            for name in config.student_must_beat
        ]
    for model, option, name in required:
        if name not in rows:
            why = evaluation.get("left_out", {}).get(name)
            reasons.append(
                f"`publish.{option}` names {name!r}, which was not evaluated"
                f"{f', since {why}' if why else ''}. Evaluated: "
                f"{', '.join(rows)}."
            )
        elif not rows[model][metric] > rows[name][metric]:
            reasons.append(
                f"{model} must exceed {name} in {metric}: "
                f"{rows[model][metric]:.4f} is not above "
                f"{rows[name][metric]:.4f}."
            )
    return reasons + _against_live(evaluation, metric)


def _against_live(evaluation: dict[str, Any], metric: str) -> list[str]:
    """Reasons why the live version should stay."""
    compared = {
        difference["metric"]: difference
        for difference in evaluation["differences"]
        if difference["against"] == "live"
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
    if not found["high"] < 0:
        return []
    return [
        "two_stage must not be worse than the live version beyond noise: "
        f"{metric} differs by {found['difference']:+.4f} (95 % interval "
        f"{found['low']:+.4f} to {found['high']:+.4f})."
    ]
