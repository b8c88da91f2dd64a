"""What was decided of this run, rule by rule."""

from __future__ import annotations

from pipeline.report.document import Notes, Section, Table
from pipeline.report.found import Json, Run


def checks(run: Run) -> Section:
    """The data of this run held against the live version's."""
    found = run.checks
    if not found:
        return Section("Data checks")
    if found["not_compared"]:
        said = f"Nothing was compared: {found['not_compared']}."
    else:
        said = f"Held against the data of version {found['live']}: "
        said += f"{found['verdict']}."
    if found["accepted"]:
        said += f" Somebody accepted what is broken: {found['accepted']}"
    return Section(
        "Data checks",
        "Before training; the thresholds are options of [checks].",
        [Notes([said]), table("What the data were held to", found)],
    )


def gate(run: Run) -> Section:
    """Every rule of both halves of the gate."""
    return Section(
        "Decision",
        "What was judged before the release; what is broken rejects, what is "
        "not judged decides nothing. The thresholds are options of [publish].",
        [
            table(title, {"rules": run.decision[half]})
            for half, title in (("quality", "Quality"), ("servable", "Serving"))
            if run.decision.get(half)
        ],
    )


def table(title: str, found: Json) -> Table:
    """The rules of a decision, those that are broken first."""
    rules = sorted(found["rules"], key=lambda rule: rule["outcome"] != "broken")
    return Table(
        title,
        ("rule", "outcome", "found", "value", "threshold"),
        [
            (
                rule["name"],
                rule["outcome"],
                rule["words"],
                *(_figure(rule[key]) for key in ("value", "threshold")),
            )
            for rule in rules
        ],
        num_texts=3,
    )


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
