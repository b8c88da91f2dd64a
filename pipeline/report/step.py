"""Writes the report of a run: one HTML file, its Markdown twin, two cards.

Enters: a run's directory. Leaves there `report.html` and `report.md`, which
hold everything they show, and from the same parts `model_card.md` and
`data_sheet.md`. Nothing is measured or trained for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.report import markdown, page
from pipeline.report.cards import model, sheet
from pipeline.report.cards.owner import Owner
from pipeline.report.document import Document, Fold, Notes, Section
from pipeline.report.found import Run
from pipeline.report.sections import (
    calibration,
    data,
    decision,
    drift,
    latency,
    ondevice,
    origin,
    people,
    quality,
    recall,
    slices,
    training,
    variety,
)
from pipeline.run.config import Config
from serving.releases import files

NAME = "report"
_SECTIONS = (
    quality.summary,
    quality.models,
    quality.live,
    decision.gate,
    recall.recall,
    slices.slices,
    variety.variety,
    variety.popularity,
    calibration.calibration,
    people.people,
    latency.latency,
    ondevice.ondevice,
    training.training,
    training.index,
    data.data,
    decision.checks,
    drift.drift,
    origin.origin,
)


def run(config: Config, path: Path, overrides: tuple[str, ...] = ()) -> Path:
    """Writes all files.

    Args:
        config: Of the run.
        path: The file it was read from.
        overrides: `section.key=value`, after the file.

    Returns:
        The HTML file.

    Raises:
        DataError: If no step of the run is complete.
    """
    found = Run.read(config, path, overrides)
    cards = _cards(found, Owner.read(path))
    document = compose(found, cards)
    directory = config.run_directory
    shown = directory / f"{NAME}.html"
    texts = {
        directory / _file(name): markdown.write(
            Document(
                f"{config.name}: {name.lower()}", "open", "", (), (), parts
            )
        )
        for name, parts in cards.items()
    }
    texts |= {
        shown.with_suffix(".md"): markdown.write(document),
        shown: page.write(document),
    }
    for target, text in texts.items():
        with files.staged(target) as staged:
            staged.write_text(text, "utf-8")
    return shown


def compose(found: Run, cards: Mapping[str, Sequence[Section]]) -> Document:
    """The report of what was found; what is absent has no section."""
    state, verdict = quality.verdict(found)
    sections = [make(found).filled() for make in _SECTIONS]
    folded = [
        Section(
            name,
            "What the run knows; the rest is marked for its owner. The same "
            f"text stands beside this report as {_file(name)}.",
            [Fold(part.title, part.blocks) for part in parts],
        ).filled()
        for name, parts in cards.items()
    ]
    sections[-1:-1] = folded
    return Document(
        found.config.name,
        state,
        verdict,
        found.gate.get("reasons", []),
        _about(found),
        [section for section in sections if section.blocks],
    )


def _file(name: str) -> str:
    return f"{name.lower().replace(' ', '_')}.md"


def _cards(found: Run, owner: Owner) -> dict[str, list[Section]]:
    """The sections of both cards, by name; only those that have any."""
    cards = {"Model card": model.card(found, owner)}
    cards["Data sheet"] = sheet.sheet(found, owner)
    cards = {
        name: [part.filled() for part in parts]
        for name, parts in cards.items()
        if parts
    }
    known = [part.title for parts in cards.values() for part in parts]
    unused = owner.unused(known)
    if unused:
        next(iter(cards.values())).insert(
            0, Section("Not used", "", [Notes(unused)])
        )
    return cards


def _about(found: Run) -> list[str]:
    """What was measured, when and of which bundle."""
    measured = found.evaluation
    if measured is None:
        return []
    facts = [
        f"{measured.queries:,} queries",
        f"{measured.split} split, {measured.part} part",
        f"{measured.protocol} protocol, seen items {measured.seen}",
        measured.label,
        f"bundle {measured.bundle_id}",
    ]
    if "evaluate" in found.records:
        when = origin.finished(found.records["evaluate"].made_at)
        facts.append(f"evaluated {when} UTC")
    return facts
