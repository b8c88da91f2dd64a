"""What the gate decides, with every rule, value, threshold and outcome.

Leaves `decision.json` beside the evaluation, and `gate.json` as it always was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.evaluate.details import Details
from pipeline.evaluate.evaluation import Evaluation
from pipeline.release import gate, servable
from pipeline.run import manifest, rules
from pipeline.run.config import Config
from pipeline.run.rules import Rule

FILE = "decision.json"


def decide(
    config: Config,
    results: Evaluation,
    evaluation: Path,
    exports: Path,
    found: list[Rule],
) -> list[str]:
    """Judges a staged bundle and writes what was decided; the reasons against.

    Args:
        config: Of the run.
        results: Read from `evaluation`.
        evaluation: The evaluation.json.
        exports: The staged bundle.
        found: Rules on what belongs together, judged already.
    """
    evaluated = evaluation.parent / "evaluate"
    details = Details.read(evaluated)
    options = config.publish
    halves = {
        "quality": found + gate.quality(results, options, details),
        "servable": _servable(config, results, exports, evaluated),
    }
    folder, live = evaluation.parent, results.live.version
    reasons = write(folder, results.bundle_id, live, halves)
    verdict = _verdict(results.bundle_id, reasons)
    beside = {"not_compared": results.left_out}
    manifest.write_json(folder / gate.RESULT, verdict | beside)
    return reasons


def write(
    directory: Path,
    bundle_id: str,
    live: int | None,
    halves: Mapping[str, Sequence[Rule]],
) -> list[str]:
    """Writes what was decided on a bundle; the reasons against.

    Args:
        directory: Of `decision.json`.
        bundle_id: What was judged.
        live: The version that it was held against.
        halves: "quality" and "servable".
    """
    reasons = rules.broken(rule for half in halves.values() for rule in half)
    manifest.write_json(
        directory / FILE,
        _verdict(bundle_id, reasons)
        | {"live": live}
        | {name: rules.plain(half) for name, half in halves.items()},
    )
    return reasons


def _verdict(bundle_id: str, reasons: list[str]) -> dict[str, object]:
    return {
        "bundle_id": bundle_id,
        "accepted": not reasons,
        "reasons": reasons,
    }


def _servable(
    config: Config, results: Evaluation, exports: Path, evaluated: Path
) -> list[Rule]:
    """Tries to serve it, once a bundle and live version where it goes well."""
    before = read(evaluated.parent)
    if (before.get("bundle_id"), before.get("live")) == (
        results.bundle_id,
        results.live.version,
    ):
        found = [Rule(**rule) for rule in before["servable"]]
        if not rules.broken(found):
            return found
    return servable.tried(
        exports,
        config.serving_directory,
        evaluated,
        config.publish.max_growth,
    )


def read(directory: Path) -> dict[str, Any]:
    """The last decision in a run's directory; empty where there is none."""
    path = directory / FILE
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def lines(directory: Path) -> list[str]:
    """What a terminal shows: one sentence a half, then what is broken."""
    found = read(directory)
    told = []
    for half in ("quality", "servable"):
        judged = [rule["outcome"] for rule in found.get(half, [])]
        if judged:
            counts = [
                f"{judged.count(outcome)} {outcome}"
                for outcome in ("holds", "broken", "not judged")
                if outcome in judged
            ]
            told.append(f"gate, {half}: {', '.join(counts)}")
        told += [
            f"  {rule['words']}"
            for rule in found.get(half, [])
            if rule["outcome"] != "holds"
        ]
    return told
