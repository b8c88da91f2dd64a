"""Writes the report of a run: one HTML file and its Markdown twin.

Enters: a run's directory. Leaves there `report.html` and `report.md`, which
hold everything they show. Nothing is measured or trained for them.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.report import markdown, page
from pipeline.report.document import Document
from pipeline.report.found import Run
from pipeline.report.sections import (
    calibration,
    data,
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
    drift.drift,
    origin.origin,
)


def run(config: Config, path: Path, overrides: tuple[str, ...] = ()) -> Path:
    """Writes both files.

    Args:
        config: Of the run.
        path: The file it was read from.
        overrides: `section.key=value`, after the file.

    Returns:
        The HTML file.

    Raises:
        DataError: If no step of the run is complete.
    """
    document = compose(Run.read(config, path, overrides))
    shown = config.run_directory / f"{NAME}.html"
    for write, target in (
        (markdown.write, shown.with_suffix(".md")),
        (page.write, shown),
    ):
        with files.staged(target) as staged:
            staged.write_text(write(document), "utf-8")
    return shown


def compose(found: Run) -> Document:
    """The report of what was found; what is absent has no section."""
    state, verdict = quality.verdict(found)
    sections = [make(found).filled() for make in _SECTIONS]
    return Document(
        found.config.name,
        state,
        verdict,
        found.gate.get("reasons", []),
        _about(found),
        [section for section in sections if section.blocks],
    )


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
