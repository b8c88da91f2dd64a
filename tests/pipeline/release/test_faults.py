"""Kills, full disks and folders nobody may write to, at every step."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.release import publish, trial
from pipeline.run.config import Config
from serving import labels
from serving.errors import ServingError
from serving.releases import files, history, ledger, locks
from serving.releases.ledger import Entry
from tests.support.staged import labels_of, stage, state_of

# What a process that was killed reports, as a shell has it.
_KILLED = 137


def _commands(config: Config) -> dict[str, Any]:
    return {
        "publish": lambda: publish.run(config, *stage(config, "b7")),
        "canary": lambda: trial.canary(config, 5),
        "promote": lambda: trial.promote(config),
        "rollback": lambda: publish.rollback(config),
        "prune": lambda: trial.prune(config, 1),
    }


def _done(command: Callable[[], object], is_killed: bool) -> bool:
    """Whether a command ended well; to be killed it needs its own process."""
    if is_killed:
        child = os.fork()
        if not child:
            try:
                command()
            except BaseException:
                os._exit(1)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert os.waitstatus_to_exitcode(status) in (0, _KILLED)
        return status == 0
    try:
        command()
    except ServingError as error:
        assert "run it again" in str(error)
        return False
    return True


@pytest.mark.parametrize("is_killed", [False, True], ids=["disk", "kill"])
@pytest.mark.parametrize(
    "name", ["publish", "canary", "promote", "rollback", "prune"]
)
def test_a_fault_at_any_call_changes_nothing_half_way(
    config: Config, name: str, is_killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every rename, replacement and flush fails once, one after the other."""
    serving = config.serving_directory
    if name in ("promote", "rollback", "prune"):
        trial.canary(config, 5)
    if name == "prune":
        trial.promote(config)
    before = state_of(config)
    command = _commands(config)[name]
    calls = failing = 0

    def faulty(original: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            if any(str(serving) in str(path) for path in arguments):
                calls += 1
                if calls == failing and is_killed:
                    os._exit(_KILLED)
                if calls == failing:
                    raise OSError(errno.ENOSPC, "No space left on device")
            return original(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", faulty(os.replace))
        patch.setattr(files, "flush", faulty(lambda path: None))
        patch.setattr(Path, "rename", faulty(Path.rename))
        patch.setattr(Path, "replace", faulty(Path.replace))
        while state_of(config) == before:
            # Publishing flushes file by file: one in four is enough of those.
            failing += 4 if name == "publish" else 1
            calls = 0
            if _done(command, is_killed):
                break
            live = state_of(config).live
            assert live and not history.missing(serving, live)
        assert failing > 1
    # Whatever happened, the next command goes on from it.
    if state_of(config) == before and name != "prune":
        command()
    publish.run(config, *stage(config, "b8"))
    assert not list(serving.rglob(f"{files.STAGING}*"))
    state = state_of(config)
    assert state.staged and state.releases
    for version in filter(None, (state.live, state.canary, state.staged)):
        assert not history.missing(serving, version)


def test_an_entry_that_cannot_be_written_does_not_undo_a_release(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "append", full)
        trial.canary(config, 5)
        trial.promote(config)
    assert state_of(config).live == 3
    trial.prune(config, 3)
    entries, _ = ledger.read(config.serving_directory)
    assert (entries[-1].event, entries[-1].version) == ("live", 3)
    assert isinstance(entries[-1], Entry)
    assert len(labels_of(config)) == 1 and labels.STABLE in labels_of(config)


@pytest.mark.parametrize(
    "name", ["publish", "canary", "promote", "rollback", "prune"]
)
def test_a_folder_that_cannot_be_written_is_one_clear_error(
    config: Config, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state_of(config)
    command = _commands(config)[name]
    stage(config, "b7")

    real = os.open

    def read_only(path: Any, flags: int, *mode: int) -> int:
        if str(config.serving_directory) in str(path) and flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return real(path, flags, *mode)

    with monkeypatch.context() as patch:
        patch.setattr(locks.os, "open", read_only)
        with pytest.raises(ServingError, match="Read-only.*Version 2 is live"):
            command()
    assert state_of(config) == before
