"""What the steps of a run left behind, as far as each of them has run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from pipeline.evaluate import evaluation, examples
from pipeline.evaluate.details import Details
from pipeline.evaluate.evaluation import Evaluation
from pipeline.evaluate.examples import Example
from pipeline.prepare import checks
from pipeline.release import decision, gate
from pipeline.retrieval import report as index_report
from pipeline.run import manifest
from pipeline.run.config import Config
from pipeline.tables import prepared
from pipeline.tables.prepared import Prepared
from pipeline.tables.profile import Profile
from pipeline.tables.schema import DataError
from serving import signatures

Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """Everything a report reads; None or empty for what is not there.

    Attributes:
        config: The options as they are now.
        origin: The config file.
        overrides: `section.key=value`, after the file.
        records: Of the complete steps, in order.
        prepared: The prepared tables.
        evaluation: What was measured.
        gate: What the gate said of exactly that evaluation.
        index: The report of the index step.
        retrieval: Curves of the retrieval models, by name.
        ranking: Curves of the second stage.
        student: Curves of the on-device models, by name.
        examples: A few queries with every model's list.
        details: What stands behind the figures.
        live_profile: Of the data of the version that was live.
        checks: What the data were held to before training.
        decision: Every rule of the gate, of exactly that evaluation.
    """

    config: Config
    origin: Path
    overrides: tuple[str, ...]
    records: Mapping[str, manifest.Record]
    prepared: Prepared | None
    evaluation: Evaluation | None
    gate: Json
    index: index_report.Report | None
    retrieval: Json
    ranking: Json
    student: Json
    examples: list[Example]
    details: Details | None
    live_profile: Profile | None
    checks: Json = field(default_factory=dict)
    decision: Json = field(default_factory=dict)

    @classmethod
    def read(
        cls, config: Config, origin: Path, overrides: tuple[str, ...] = ()
    ) -> Run:
        """Reads a run's directory.

        Raises:
            DataError: If no step of the run is complete.
        """
        directory = config.run_directory
        found_records = {
            path.parent.name: record
            for path in directory.glob(f"*/{manifest.MANIFEST}")
            if (record := manifest.Record.read(path.parent))
        }
        records = dict(
            sorted(found_records.items(), key=lambda item: item[1].made_at)
        )
        if not records:
            raise DataError(
                "A report needs a run. Received: no complete step in "
                f"{directory}. Run `make retrain` with the same config first."
            )
        measured = directory / evaluation.FILE
        found = Evaluation.read(measured) if measured.exists() else None
        verdict = _json(directory / gate.RESULT)
        # The gate's words on an earlier bundle say nothing about this one.
        if not found or verdict.get("bundle_id") != found.bundle_id:
            verdict = {}
        tables = directory / "prepare"
        return cls(
            config,
            origin,
            overrides,
            records,
            prepared.load(tables) if "prepare" in records else None,
            found,
            verdict,
            index_report.Report.read(directory / "index")
            if "index" in records
            else None,
            _json(directory / "train-retrieval" / "metrics.json"),
            _json(directory / "train-ranking" / "metrics.json"),
            _json(directory / "distill" / "metrics.json"),
            examples.read(directory / "evaluate") if found else [],
            Details.read(directory / "evaluate") if found else None,
            _live_profile(config, found),
            _json(directory / checks.FILE),
            _json(directory / decision.FILE) if verdict else {},
        )


def _live_profile(config: Config, found: Evaluation | None) -> Profile | None:
    """What the data were like of which the live version was made."""
    if found is None or found.live.version is None:
        return None
    models = config.serving_directory / signatures.RETRIEVAL
    version = models / str(found.live.version)
    return Profile.read(version / signatures.EXTRA_ASSETS)


def _json(path: Path) -> Json:
    return json.loads(path.read_text("utf-8")) if path.exists() else {}
