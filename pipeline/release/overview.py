"""What is released: every version with its role, since when and why.

Enters: the published folder. The pointer says what is live, the ledger since
when and why; a version the ledger does not know is shown without.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.release import repository
from pipeline.terminal import console
from pipeline.terminal.console import Answer
from serving.releases import history, ledger
from serving.releases.history import State
from serving.releases.ledger import Entry

# Reasons of a refusal can be long; the ledger has all of them.
_LONGEST = 300


@dataclass(frozen=True)
class Row:
    """One version on disk.

    Attributes:
        version: Its number.
        role: "live", "canary", "previous", "staged" or "".
        event: "withdrawn" if that was the last of it, else "kept".
        since: When it got that role, or was last spoken of; in UTC.
        why: The ledger's reason.
        run: Name of the run that made it.
        figures: What its evaluation found.
        whole: Whether all of its models are there.
    """

    version: int
    role: str
    event: str
    since: str
    why: str
    run: str
    figures: dict[str, float]
    whole: bool


def rows(serving: Path, state: State, entries: Sequence[Entry]) -> list[Row]:
    """Every version on disk, highest first."""
    return [
        _row(
            serving,
            state.role(number),
            number,
            [entry for entry in entries if entry.version == number],
        )
        for number in repository.numbers(serving)
    ]


def _row(serving: Path, role: str, number: int, told: Sequence[Entry]) -> Row:
    last = told[-1] if told else None
    return Row(
        number,
        role,
        "withdrawn" if last and last.event == ledger.WITHDRAWN else "kept",
        last.at if last else "",
        last.why if last else "",
        next((entry.run for entry in told if entry.run), ""),
        next((dict(entry.figures) for entry in told if entry.figures), {}),
        not history.missing(serving, number),
    )


def short(state: State) -> str:
    """One line: what is live, canary, previous and staged."""
    if state.live is None:
        return "nothing is live"
    said = [f"version {state.live} is live"]
    if state.canary is not None:
        said.append(f"{state.canary} canary at {state.share} percent of users")
    if state.previous is not None:
        said.append(f"{state.previous} previous")
    if state.staged is not None:
        said.append(f"{state.staged} staged")
    return ", ".join(said)


def answer(serving: Path) -> Answer:
    """All of it, for people and for programs."""
    state = history.state(serving)
    entries, problems = ledger.read(serving)
    found = rows(serving, state, entries)
    told = [entry for entry in entries if entry.event == ledger.REJECTED]
    rejected = told[-1:]
    table = [("version", "is", "since (UTC)", "run", "figures", "why")]
    table += [
        (
            str(row.version),
            (row.role or row.event) + ", not whole" * (not row.whole),
            row.since.replace("T", " ").rstrip("Z"),
            row.run,
            ", ".join(f"{k} {v:.4f}" for k, v in row.figures.items()),
            row.why,
        )
        for row in found
    ]
    lines = [short(state)]
    lines += [
        f"last rejected: {entry.at}, {entry.why[:_LONGEST]}"
        for entry in rejected
    ]
    lines += [f"ledger: {problem}" for problem in problems]
    shown = [console.table("releases", table)] if found else []
    return Answer(
        console.text(*shown, *lines).rstrip("\n"),
        {
            "live": state.live,
            "canary": state.canary,
            "share": state.share,
            "previous": state.previous,
            "staged": state.staged,
            "versions": [asdict(row) for row in found],
            "last_rejected": asdict(rejected[0]) if rejected else None,
            "problems": problems,
        },
    )
