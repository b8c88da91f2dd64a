"""Slow disks, clocks that go back, hands other than ours."""

import errno
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import textfile
from pipeline.release import decision, gate, overview, publish, trial
from pipeline.release.gate import GateRejected
from pipeline.run.config import Config
from serving import signatures
from serving.errors import ServingError
from serving.releases import files, history, ledger, versions
from tests.support.staged import stage, state_of

COMMANDS: dict[str, Callable[[Config], object]] = {
    "publish": lambda config: publish.run(config, *stage(config, "b7")),
    "canary": lambda config: trial.canary(config, 5),
    "promote": lambda config: trial.promote(config),
    "rollback": lambda config: publish.rollback(config),
    "prune": lambda config: trial.prune(config, 1),
}
EVERY = pytest.mark.parametrize("name", COMMANDS)


@pytest.fixture
def ready(config: Config, request: pytest.FixtureRequest) -> Config:
    """As far as the command needs it."""
    name = request.node.callspec.params["name"]
    if name in ("promote", "rollback", "prune"):
        trial.canary(config, 5)
    if name == "prune":
        trial.promote(config)
    return config


@EVERY
def test_readers_see_the_old_pointer_or_the_new_while_a_rename_takes_long(
    ready: Config, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state_of(ready)
    real = os.replace

    def slow(source: Any, target: Any) -> None:
        time.sleep(0.05)
        real(source, target)
        time.sleep(0.05)

    monkeypatch.setattr(os, "replace", slow)
    done = threading.Event()
    seen = []

    def read() -> None:
        while not done.is_set():
            seen.append(state_of(ready))
            for version in (seen[-1].live, seen[-1].canary):
                if version is not None:
                    found = history.missing(ready.serving_directory, version)
                    assert not found

    reader = threading.Thread(target=read)
    reader.start()
    COMMANDS[name](ready)
    done.set()
    reader.join()
    after = state_of(ready)
    # A canary tells callers of the live version first.
    labelled = history.State(before.releases, staged=3, is_labelled=True)
    allowed = [before, after] + [labelled] * (name == "canary")
    odd = {repr(state) for state in seen if state not in allowed}
    assert len(seen) > 5 and not odd, (odd, allowed)


def test_what_is_staged_goes_live_where_live_lost_a_part(
    config: Config,
) -> None:
    serving = config.serving_directory
    again = stage(config, "b3")
    # As long as it could be tried it stays staged.
    assert publish.run(config, *again) == (3, False)
    (serving / "retrieval" / "2" / "saved_model.pb").unlink()
    version, is_new = publish.run(config, *again)
    assert is_new and state_of(config).live == version


@EVERY
@pytest.mark.parametrize("at", ["pointer", "any"])
def test_a_rename_that_is_done_and_reported_lost_loses_nothing(
    ready: Config, name: str, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS has it when an answer is lost and the request comes again."""
    before = state_of(ready)
    real = os.replace
    lost: list[str] = []

    def twice(source: Any, target: Any) -> None:
        real(source, target)
        is_ours = str(ready.serving_directory) in str(target)
        wanted = at == "any" or Path(target).name == "models.config"
        if is_ours and wanted and not lost:
            lost.append(str(target))
            raise FileNotFoundError(errno.ENOENT, "No such file", str(source))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", twice)
        try:
            COMMANDS[name](ready)
        except ServingError as error:
            assert "run it again" in str(error)
            assert lost
    state = state_of(ready)
    for version in filter(None, (state.live, state.canary, state.staged)):
        assert not history.missing(ready.serving_directory, version)
    # The next command goes on from what it finds, and writes it down.
    if state == before and name != "prune":
        COMMANDS[name](ready)
    publish.run(ready, *stage(ready, "b8"))
    told = [
        entry.version
        for entry in ledger.read(ready.serving_directory)[0]
        if entry.event == ledger.LIVE
    ]
    assert told[-1] == state_of(ready).live


@EVERY
def test_a_clock_that_goes_back_changes_no_order(
    ready: Config, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = time.time() - 86_400
    monkeypatch.setattr(time, "time", lambda: back)
    monkeypatch.setattr(ledger, "moment", lambda *_: "2001-01-01T00:00:00Z")
    monkeypatch.setattr(trial, "TOLD_SECONDS", 0.01)
    before = state_of(ready)
    COMMANDS[name](ready)
    assert state_of(ready) != before or name == "prune"
    # Lines are in the order of what happened, whatever they say of when.
    text, _ = overview.answer(ready.serving_directory)
    assert f"version {state_of(ready).live} is live" in text
    publish.run(ready, *stage(ready, "b8"))
    assert state_of(ready).staged == max(
        versions.list_versions(ready.serving_directory / "retrieval")
    )
    with textfile.written(ready, "retrain"):
        pass


def test_a_number_that_another_hand_took_is_left_to_it(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It appears between the count and the rename, as with a broken lock."""
    theirs = config.serving_directory / "ranking" / "4"
    real = files.staged

    def staged(final: Path) -> Any:
        if final == theirs:
            theirs.mkdir(exist_ok=True)
            (theirs / "saved_model.pb").write_text("theirs")
        return real(final)

    before = state_of(config)
    with monkeypatch.context() as patch:
        patch.setattr(files, "staged", staged)
        with pytest.raises(ServingError, match="Version 2 is live"):
            publish.run(config, *stage(config, "b7"))
    assert state_of(config) == before
    assert (theirs / "saved_model.pb").read_text() == "theirs"
    assert [path.name for path in theirs.parent.parent.glob("*/4")] == ["4"]
    # What nothing points at and is not whole goes, the number is free again.
    version, is_new = publish.run(config, *stage(config, "b7"))
    assert is_new and not history.missing(config.serving_directory, version)


@EVERY
def test_a_live_folder_that_was_deleted_is_said_or_left(
    ready: Config, name: str
) -> None:
    serving = ready.serving_directory
    before = state_of(ready)
    for model in signatures.BUNDLE:
        shutil.rmtree(serving / model / str(before.live))
    try:
        COMMANDS[name](ready)
    except (ServingError, GateRejected) as error:
        assert str(before.live) in str(error) and "make " in str(error)
        assert state_of(ready) == before
    state = state_of(ready)
    assert state.canary is None or not history.missing(serving, state.canary)
    assert state.staged is None or not history.missing(serving, state.staged)
    overview.answer(serving)
    # The same or another bundle released anew is whole and live.
    if state.canary is not None:
        trial.promote(ready)
        assert not history.missing(serving, state_of(ready).live or 0)


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: "",
        lambda text: text.replace("model_config_list", "models"),
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("# releases, live first: 2 1", "# live: 1"),
        lambda text: "# releases, live first: 9\n" + text,
        lambda text: text.replace("live first: 2 1", "live first: 2; 1"),
    ],
    ids=["empty", "no config", "half", "no line", "not there", "punctuation"],
)
@EVERY
def test_a_pointer_that_another_hand_wrote_is_read_or_named(
    ready: Config, name: str, edit: Callable[[str], str]
) -> None:
    pointer = ready.serving_directory / history.POINTER
    found = edit(pointer.read_text())
    pointer.write_text(found)
    try:
        COMMANDS[name](ready)
    except (ServingError, GateRejected) as error:
        assert "Received: " in str(error)
        assert pointer.read_text() == found
    else:
        live = state_of(ready).live
        assert live
        # What ends a trial or removes the rest leaves the hand's word alone.
        if live != 9 or name not in ("rollback", "prune"):
            assert not history.missing(ready.serving_directory, live)


class _Faulty:
    """Fails one of all calls of some functions, or ends the process there."""

    def __init__(self, failing: int, is_killed: bool) -> None:
        self._left = failing
        self._is_killed = is_killed

    def at(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            self._left -= 1
            if not self._left and self._is_killed:
                os._exit(137)
            if not self._left:
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(*given, **options)

        return call


@pytest.mark.parametrize("is_killed", [False, True], ids=["disk", "kill"])
def test_what_is_told_beside_a_release_is_the_old_or_the_new(
    config: Config, is_killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """decision.json, gate.json and the textfiles, at each of their calls."""
    run = config.run_directory
    with textfile.written(config, "retrain"):
        pass
    files_of = [run / decision.FILE, run / gate.RESULT]
    metrics = Path(config.artifacts, textfile.DIRECTORY)
    files_of += sorted(metrics.glob("*.prom"))
    assert len(files_of) == 4
    for failing in range(1, 9):
        before = {path: path.read_text() for path in files_of}
        child = os.fork()
        if not child:
            fail = _Faulty(failing, is_killed)
            monkeypatch.setattr(os, "replace", fail.at(os.replace))
            monkeypatch.setattr(os, "rename", fail.at(os.rename))
            monkeypatch.setattr(files, "flush", fail.at(lambda path: None))
            try:
                with textfile.written(config, "retrain"):
                    publish.run(config, *stage(config, f"b{failing}"))
            except BaseException:
                os._exit(1)
            os._exit(0)
        os.waitpid(child, 0)
        for path in files_of:
            text = path.read_text()
            if path.suffix == ".prom":
                assert text == before[path] or text.endswith("\n")
                assert "recommender_" in text
            else:
                json.loads(text)
    assert {path.name for path in metrics.glob("*.prom")} == {
        *("test.prom", "test.releases.prom")
    }
    with textfile.written(config, "retrain"):
        publish.run(config, *stage(config, "b9"))
    assert decision.read(run)["bundle_id"] == "b9"
    assert not list(run.glob(f"{files.STAGING}*.json"))
