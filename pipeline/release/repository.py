"""The folder that servers read: its lock, its versions, its one pointer.

Nothing here decides what is released. A version is written beside its place,
synced and renamed; the pointer is replaced last. Whatever stops a command, the
old pointer and complete versions stand.
"""

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.evaluate.evaluation import Evaluation
from pipeline.export import bundle, catalogue
from pipeline.release import ondevice as ondevice_release
from pipeline.release.gate import GateRejected
from pipeline.run import manifest
from pipeline.warm import carried
from serving import signatures
from serving.errors import ServingError
from serving.releases import files, ledger, locks, versions
from serving.releases import history as release_history
from serving.releases.history import POINTER, State

_LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def writing(serving: Path) -> Iterator[State]:
    """One command at a time; gives what is released.

    Raises:
        Held: If another command does not end.
        ServingError: If a file cannot be written.
    """
    try:
        with locks.Lock(serving / locks.FILE, locks.RELEASE_SECONDS):
            state = release_history.state(serving)
            if entry := ledger.unrecorded(serving, state):
                record(serving, entry)
            yield state
    except OSError as error:
        # copytree collects what went wrong file by file.
        cause = error.args[0][0][2] if type(error) is shutil.Error else error
        live = release_history.read(serving)[:1]
        told = f"Version {live[0]} is live" if live else "Nothing is live"
        raise ServingError(
            f"A release must be written to {serving}. Received: {cause}. "
            f"{told}, and nothing half-written was kept. Free space or allow "
            "writing there, then run it again."
        ) from error


def record(serving: Path, entry: ledger.Entry) -> None:
    """Adds an event to the ledger; what was done is done without it too."""
    try:
        ledger.append(serving, entry)
    except OSError as error:
        _LOG.warning("%s was not recorded: %s", entry.event, error)


def place(source: Path, target: Path, results: Evaluation | None) -> None:
    """Copies one model to its version directory, complete or not at all.

    Of a student without results only the version changes.
    """
    version = int(target.name)
    with files.staged(target) as staging:
        shutil.copytree(source, staging)
        if target.parent.name == ondevice_release.NAME:
            if results is None:
                ondevice_release.renumber(staging, version)
            else:
                ondevice_release.describe(staging, version, results)
            return
        if target.parent.name == carried.FOLDER:
            return
        manifest.write_json(
            staging / versions.MANIFEST,
            bundle.read_manifest(staging)
            | {
                "version": version,
                release_history.FILES: release_history.sizes(staging),
            },
        )


def point(serving: Path, state: State, keep_previous: bool) -> None:
    """Replaces the pointer, and what callers read beside it.

    Args:
        serving: The folder.
        state: What is released from now on.
        keep_previous: Whether servers hold the release before as well.
    """
    loaded = {state.releases[0]}
    if keep_previous and state.previous is not None:
        if not release_history.missing(serving, state.previous):
            loaded.add(state.previous)
    if state.canary is not None:
        loaded.add(state.canary)
    retrieval = serving / signatures.RETRIEVAL / str(state.live)
    with catalogue.released(retrieval, serving):
        versions.write_models_config(
            serving / POINTER,
            {
                name: (str((serving / name).resolve()), sorted(loaded))
                for name in signatures.BUNDLE
            },
            state.comment(),
            dict.fromkeys(signatures.BUNDLE, state.labels()),
        )


def models(serving: Path) -> list[Path]:
    """Where versions of a release lie."""
    beside = ondevice_release.NAME, carried.FOLDER
    return [serving / name for name in (*signatures.BUNDLE, *beside)]


def numbers(serving: Path) -> list[int]:
    """Versions of any model, highest first."""
    return sorted(
        {
            number
            for model in models(serving)
            for number in versions.list_versions(model)
        },
        reverse=True,
    )


def require_whole(serving: Path, version: int, advice: str) -> None:
    """Refuses a version that lost a part.

    Raises:
        GateRejected: If it did.
    """
    if missing := release_history.missing(serving, version):
        raise GateRejected(
            f"A release needs every model of version {version}. Received: "
            f"no, or no whole, {', '.join(map(str, missing))}. {advice}"
        )


def require_trial(state: State, version: int | None) -> None:
    """Refuses where a version that was judged is no longer on trial.

    Raises:
        GateRejected: If it is not.
    """
    if version is not None and state.canary != version:
        raise GateRejected(
            "A verdict must be of the version on trial. Received: one of "
            f"version {version}, on trial is {state.canary or 'none'}. "
            "Another command was faster; run it again."
        )


def remove(serving: Path, version: int, why: str = "") -> None:
    """Removes a version of all models; half of one never looks like one.

    With a reason it is an event of the ledger.
    """
    for model in models(serving):
        if (model / str(version)).exists():
            staged = model / f"{files.STAGING}{version}"
            files.discard(staged)
            (model / str(version)).rename(staged)
            files.discard(staged)
    if why:
        record(serving, ledger.Entry(ledger.PRUNED, version, why))


def sweep(serving: Path, state: State) -> None:
    """Removes what a killed command left: nothing ever pointed at it."""
    for staging in serving.glob(f"*/{files.STAGING}*"):
        shutil.rmtree(staging)
    for number in numbers(serving):
        is_newer = number > max(state.releases, default=0)
        if is_newer and number not in (state.canary, state.staged):
            if release_history.missing(serving, number):
                remove(serving, number)


@contextlib.contextmanager
def taken_back(serving: Path, version: int) -> Iterator[list[Path]]:
    """A release that fails leaves nothing that would count as a version.

    Gives a list for what was placed: what another hand put under the same
    number is not ours to remove.
    """
    placed: list[Path] = []
    try:
        yield placed
    except BaseException:
        if not release_history.state(serving).role(version):
            for target in placed:
                files.discard(target)
        raise
