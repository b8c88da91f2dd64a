"""The gate, the release of a version, and the way back.

A release copies the evaluated bundle to `.staging-<version>` beside each
model's versions, syncs it, renames it to the integer and, when all models
stand, replaces `models.config`, the one pointer that servers poll. A process
killed at any moment leaves the old pointer and complete versions only. Nothing
live is overwritten or deleted. Rollback replaces the pointer alone.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import catalogue, manifest, ondevice_release
from pipeline.config import Config, PublishConfig
from serving import signatures, versions

POINTER = "models.config"
GATE = "gate.json"


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
    for difference in evaluation.get("differences", ()):
        if (
            difference["against"] == "live"
            and difference["metric"] == metric
            and difference["high"] < 0
        ):
            reasons.append(
                f"two_stage must not be worse than the live version beyond "
                f"noise: {metric} differs by {difference['difference']:+.4f} "
                f"(95 % interval {difference['low']:+.4f} to "
                f"{difference['high']:+.4f})."
            )
    return reasons


def run(
    config: Config,
    exports: Path,
    evaluation: Path,
    ondevice: Path | None = None,
) -> tuple[int, bool]:
    """Publishes an evaluated bundle if the gate accepts it.

    Args:
        config: Names the serving directory and the gate's rules.
        exports: Directory of the export step.
        evaluation: The evaluation.json made from exactly those exports.
        ondevice: Directory of the ondevice-export step; None releases the
            server models alone.

    Returns:
        The live version, and whether it is new: a bundle that is live
        already is left as it is.

    Raises:
        GateRejected: If a rule of the gate is broken.
    """
    results = json.loads(evaluation.read_text(encoding="utf-8"))
    bundle_id = read_bundle_id(exports / signatures.BUNDLE[0])
    reasons = gate(results, config.publish)
    if results["bundle_id"] != bundle_id:
        reasons.append(
            "The evaluation must be of the staged bundle. Received: "
            f"{results['bundle_id']}, staged is {bundle_id}. Run evaluate "
            "again."
        )
    student = None
    if ondevice is not None and results.get("ondevice"):
        student = results["ondevice"]["bundle_id"]
        reasons += ondevice_release.obstacles(results, ondevice)
    manifest.write_json(
        evaluation.parent / GATE,
        {
            "bundle_id": bundle_id,
            "accepted": not reasons,
            "reasons": reasons,
            "not_compared": results.get("left_out", {}),
        },
    )
    if reasons:
        raise GateRejected(reasons)
    serving = config.serving_directory
    with _lock(serving):
        history = releases(serving)
        if live_bundle(serving) == bundle_id and student in (
            None,
            ondevice_release.bundle_id(
                serving / ondevice_release.NAME / str(history[0])
            ),
        ):
            return history[0], False
        version = 1 + max(
            (
                number
                for name in (*signatures.BUNDLE, ondevice_release.NAME)
                for number in versions.list_versions(serving / name)
            ),
            default=0,
        )
        for name in signatures.BUNDLE:
            _place(exports / name, serving / name, version)
        if ondevice is not None and student is not None:
            ondevice_release.place(
                ondevice,
                results,
                serving / ondevice_release.NAME / str(version),
            )
        history = [version, *history]
        if config.publish.keep_versions:
            history = history[: config.publish.keep_versions]
        _point(serving, history)
        if config.publish.keep_versions:
            _prune(serving, history)
    return version, True


def rollback(config: Config) -> tuple[int, int]:
    """Points back to the release before the live one.

    Returns:
        The version that was live and the one that is now.

    Raises:
        GateRejected: If there is no earlier release.
    """
    serving = config.serving_directory
    with _lock(serving):
        history = releases(serving)
        if len(history) < 2:
            live = f"version {history[0]} is live" if history else "none"
            raise GateRejected(
                [
                    "A rollback needs an earlier release. Received: "
                    f"{live} (from {serving / POINTER}). Publish a version "
                    "first: make retrain."
                ]
            )
        _point(serving, history[1:])
        return history[0], history[1]


def releases(serving: Path) -> list[int]:
    """Live version first, then those a rollback would return to."""
    try:
        text = (serving / POINTER).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    for line in text.splitlines():
        if line.startswith(_HISTORY):
            return [int(word) for word in line[len(_HISTORY) :].split()]
    return []


def live_bundle(serving: Path) -> str | None:
    """The bundle id of the live version, None where nothing is live."""
    history = releases(serving)
    if not history:
        return None
    return read_bundle_id(serving / signatures.BUNDLE[0] / str(history[0]))


def read_bundle_id(model: Path) -> str:
    """The bundle id inside an exported or published model."""
    return read_manifest(model)["bundle_id"]


def read_manifest(model: Path) -> dict[str, Any]:
    """What an exported or published model says of itself."""
    path = model / signatures.EXTRA_ASSETS / manifest.MANIFEST
    return json.loads(path.read_text(encoding="utf-8"))


# A comment line of the pointer file: the order of releases is part of the one
# thing that is replaced atomically. Servers skip it.
_HISTORY = "# releases, live first: "


def _point(serving: Path, history: list[int]) -> None:
    retrieval = serving / signatures.RETRIEVAL / str(history[0])
    catalogue.release(retrieval, serving)
    versions.write_models_config(
        serving / POINTER,
        {
            name: (str((serving / name).resolve()), [history[0]])
            for name in signatures.BUNDLE
        },
        comment=_HISTORY + " ".join(map(str, history)),
    )


def _place(source: Path, model: Path, version: int) -> None:
    """Copies one model to its version directory, complete or not at all."""
    model.mkdir(parents=True, exist_ok=True)
    staging = model / f".staging-{version}"
    shutil.rmtree(staging, ignore_errors=True)
    shutil.copytree(source, staging)
    path = staging / signatures.EXTRA_ASSETS / manifest.MANIFEST
    manifest.write_json(path, read_manifest(staging) | {"version": version})
    manifest.sync(staging)
    os.rename(staging, model / str(version))
    manifest.sync_path(model)


def _prune(serving: Path, kept: list[int]) -> None:
    ondevice_release.prune(serving, kept)
    for name in signatures.BUNDLE:
        for number in versions.list_versions(serving / name):
            if number not in kept:
                shutil.rmtree(serving / name / str(number))


@contextlib.contextmanager
def _lock(serving: Path) -> Iterator[None]:
    """Two releases at once would take the same version number."""
    serving.mkdir(parents=True, exist_ok=True)
    with (serving / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
