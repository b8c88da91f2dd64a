"""The release of a version, and the way back.

A release copies the evaluated bundle to `.staging-<version>` beside each
model's versions, syncs it, renames it to the integer and, when all models
stand, replaces `models.config`, the one pointer that servers poll. A process
killed at any moment leaves the old pointer and complete versions only; one
that fails, as on a full disk, takes back what it had placed. Nothing live is
overwritten or deleted. Rollback replaces the pointer alone.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from models.config import at_most
from pipeline.evaluate.evaluation import Evaluation
from pipeline.export import bundle, catalogue
from pipeline.release import gate as gates
from pipeline.release import ondevice as ondevice_release
from pipeline.release.gate import GateRejected
from pipeline.run import manifest
from pipeline.run.config import Config
from serving import signatures
from serving.errors import ServingError
from serving.releases import files, locks, versions
from serving.releases import history as release_history
from serving.releases.history import POINTER


def run(
    config: Config,
    exports: Path,
    evaluation: Path,
    ondevice: Path | None = None,
) -> tuple[int, bool]:
    """Publishes an evaluated bundle if the gate accepts it.

    Args:
        exports: Directory of the export step.
        evaluation: The evaluation.json made from exactly those exports.
        ondevice: Directory of the ondevice-export step; None releases the
            server models alone.

    Returns:
        The live version, and whether it is new: a bundle that is live
        already, and whole, is left as it is.

    Raises:
        GateRejected: If a rule of the gate is broken.
        ServingError: If the release cannot be written; nothing of it stays.
    """
    results = Evaluation.read(evaluation)
    bundle_id = bundle.read_bundle_id(exports / signatures.BUNDLE[0])
    reasons = gates.gate(results, config.publish)
    if results.bundle_id != bundle_id:
        reasons.append(
            "The evaluation must be of the staged bundle. Received: "
            f"{results.bundle_id}, staged is {bundle_id}. Run evaluate again."
        )
    sources = {name: exports / name for name in signatures.BUNDLE}
    student = results.ondevice if ondevice is not None else None
    if ondevice is not None and student is not None:
        reasons += ondevice_release.obstacles(student, ondevice)
        sources[ondevice_release.NAME] = ondevice / student.precision
    manifest.write_json(
        evaluation.parent / gates.RESULT,
        {
            "bundle_id": bundle_id,
            "accepted": not reasons,
            "reasons": reasons,
            "not_compared": results.left_out,
        },
    )
    if reasons:
        raise GateRejected(*reasons)
    serving = config.serving_directory
    with _releasing(serving):
        history = release_history.read(serving)
        if bundle.live_bundle(serving) == bundle_id and (
            student is None
            or student.bundle_id
            == ondevice_release.bundle_id(
                serving / ondevice_release.NAME / str(history[0])
            )
        ):
            return history[0], False
        _sweep(serving, history)
        return _release(config, sources, results, history), True


def _release(
    config: Config,
    sources: dict[str, Path],
    results: Evaluation,
    history: list[int],
) -> int:
    """Places every model and moves the pointer; the new version."""
    serving, options = config.serving_directory, config.publish
    taken = [int(path.name) for path in _versions(serving)]
    version = 1 + max(taken, default=0)
    history = [version, *history][: at_most(options.keep_versions)]
    with _taken_back(serving, version):
        for name, source in sources.items():
            _place(source, serving / name / str(version), results)
        _point(serving, history, options.keep_previous_loaded)
    for path in _versions(serving):
        if options.keep_versions != "all" and int(path.name) not in history:
            shutil.rmtree(path)
    return version


def rollback(config: Config, to: int | None = None) -> tuple[int, int]:
    """Points back to an earlier release.

    Args:
        to: Which; None takes the one before the live version.

    Returns:
        The version that was live and the one that is now.

    Raises:
        GateRejected: If there is no such release, or it is not whole.
        ServingError: If the pointer cannot be replaced.
    """
    serving = config.serving_directory
    with _releasing(serving):
        history = release_history.read(serving)
        earlier = history[1:]
        if not earlier:
            live = f"version {history[0]} is live" if history else "none"
            raise GateRejected(
                "A rollback needs an earlier release. Received: "
                f"{live} (from {serving / POINTER}). Publish a version "
                "first: make retrain."
            )
        target = earlier[0] if to is None else to
        if target not in earlier:
            raise GateRejected(
                "A rollback must name an earlier release. Received: "
                f"{target} (from the command line). Released before "
                f"version {history[0]}: {', '.join(map(str, earlier))}."
            )
        _require_whole(serving, target, earlier)
        _point(
            serving,
            history[history.index(target) :],
            config.publish.keep_previous_loaded,
        )
        return history[0], target


def _require_whole(serving: Path, version: int, earlier: list[int]) -> None:
    missing = release_history.missing(serving, version)
    if not missing:
        return
    advice = "No earlier release is whole: make retrain."
    for other in earlier:
        if not release_history.missing(serving, other):
            advice = f"Version {other} is whole: make rollback TO={other}."
            break
    raise GateRejected(
        f"A rollback needs every model of version {version}. Received: "
        f"no, or no whole, {', '.join(map(str, missing))}. {advice}"
    )


def _point(serving: Path, history: list[int], keep_previous: bool) -> None:
    """Replaces the pointer, and what callers read beside it."""
    loaded = history[:1]
    if keep_previous and len(history) > 1:
        if not release_history.missing(serving, history[1]):
            loaded = sorted(history[:2])
    retrieval = serving / signatures.RETRIEVAL / str(history[0])
    with catalogue.released(retrieval, serving):
        versions.write_models_config(
            serving / POINTER,
            {
                name: (str((serving / name).resolve()), loaded)
                for name in signatures.BUNDLE
            },
            comment=release_history.comment(history),
        )


def _models(serving: Path) -> list[Path]:
    """Where versions of a release lie."""
    return [
        serving / name for name in (*signatures.BUNDLE, ondevice_release.NAME)
    ]


def _versions(serving: Path) -> list[Path]:
    """Every version of every model."""
    return [
        model / str(number)
        for model in _models(serving)
        for number in versions.list_versions(model)
    ]


def _place(source: Path, target: Path, results: Evaluation) -> None:
    """Copies one model to its version directory, complete or not at all."""
    version = int(target.name)
    with files.staged(target) as staging:
        shutil.copytree(source, staging)
        if target.parent.name == ondevice_release.NAME:
            ondevice_release.describe(staging, version, results)
            return
        manifest.write_json(
            staging / versions.MANIFEST,
            bundle.read_manifest(staging)
            | {
                "version": version,
                release_history.FILES: release_history.sizes(staging),
            },
        )


def _sweep(serving: Path, history: list[int]) -> None:
    """Removes what a killed release left: nothing ever pointed at it."""
    for staging in serving.glob(f"*/{files.STAGING}*"):
        shutil.rmtree(staging)
    for path in _versions(serving):
        number = int(path.name)
        is_newer = number > max(history, default=0)
        if is_newer and release_history.missing(serving, number):
            shutil.rmtree(path)


@contextlib.contextmanager
def _taken_back(serving: Path, version: int) -> Iterator[None]:
    """A release that fails leaves nothing that would count as a version."""
    try:
        yield
    except BaseException:
        if release_history.read(serving)[:1] != [version]:
            for model in _models(serving):
                for name in (str(version), f".staging-{version}"):
                    shutil.rmtree(model / name, ignore_errors=True)
        raise


@contextlib.contextmanager
def _releasing(serving: Path) -> Iterator[None]:
    """One release at a time: two would take the same version number.

    Raises:
        ServingError: If a file cannot be written.
    """
    try:
        with locks.Lock(serving / locks.FILE, locks.RELEASE_SECONDS):
            yield
    except OSError as error:
        # copytree collects what went wrong file by file.
        cause = error.args[0][0][2] if error.errno is None else error
        live = release_history.read(serving)[:1]
        state = f"Version {live[0]} is live" if live else "Nothing is live"
        raise ServingError(
            f"A release must be written to {serving}. Received: {cause}. "
            f"{state}, and nothing half-written was kept. Free space or allow "
            "writing there, then run it again."
        ) from error
