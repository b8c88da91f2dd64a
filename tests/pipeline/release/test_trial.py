"""A version on trial: who is served what, and what no command may do."""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import releases
from pipeline.feedback import step
from pipeline.release import overview, publish, repository, trial
from pipeline.release.gate import GateRejected
from pipeline.run.config import Config
from pipeline.run.release import PublishConfig
from pipeline.run.rules import Rule
from serving import signatures
from serving.errors import ServingError
from serving.releases import (
    deliver,
    history,
    ledger,
)
from serving.releases.history import State
from tests.support import evaluations
from tests.support.staged import labels_of, served, stage, state_of


def _serves(config: Config, *numbers: int) -> None:
    assert served(config) == {name: list(numbers) for name in signatures.BUNDLE}


def _events(config: Config) -> list[tuple[str, int | None]]:
    found, problems = ledger.read(config.serving_directory)
    assert not problems
    return [(entry.event, entry.version) for entry in found]


def test_a_staged_version_is_in_its_place_and_serves_nobody(
    config: Config,
) -> None:
    assert state_of(config) == State((2, 1), staged=3, is_labelled=True)
    _serves(config, 2)
    assert labels_of(config) == {"stable": 2}
    assert publish.run(config, *stage(config, "b3")) == (3, False)
    # The first release of all does not wait for anybody.
    first = replace(config, artifacts=config.artifacts + "-first")
    assert publish.run(first, *stage(first, "b1")) == (1, True)
    assert state_of(first).live == 1


def test_canary_then_promote_then_rollback_move_the_pointer_alone(
    config: Config,
) -> None:
    assert trial.canary(config, 5) == (3, 2)
    _serves(config, 2, 3)
    wanted = {"stable": 2, "canary": 3}
    wanted |= {f"canary-{number}": 3 for number in range(1, 6)}
    assert labels_of(config) == wanted
    assert state_of(config) == State((2, 1), 3, 5, is_labelled=True)
    trial.canary(config, 20, "an hour without complaints")
    assert len(labels_of(config)) == 22
    assert trial.promote(config) == (2, 3)
    _serves(config, 3)
    assert labels_of(config) == {"stable": 3}
    assert publish.rollback(config, why="fewer clicks") == (3, 2)
    _serves(config, 2)
    # Version 2 is not loaded any more: servers refuse a label for it.
    assert labels_of(config) == {}
    assert state_of(config) == State((2, 1))
    assert _events(config) == [
        *[("live", 1), ("live", 2), ("staged", 3), ("canary", 3)],
        *[("canary", 3), ("live", 3), ("withdrawn", 3), ("live", 2)],
    ]
    entries, _ = ledger.read(config.serving_directory)
    assert entries[4].why == "20 percent of users: an hour without complaints"
    assert entries[5].why == "promoted from canary at 20 percent of users"
    assert entries[6].why == "withdrawn for 2: fewer clicks"
    assert entries[7].why == "rolled back from 3: fewer clicks"
    assert (entries[2].bundle_id, entries[2].run) == ("b3", "test")
    assert entries[2].figures["two_stage ndcg@10"] > 0


def test_a_rollback_ends_the_trial_first(config: Config) -> None:
    trial.canary(config, 5)
    with pytest.raises(GateRejected, match=r"TO=1 .* version 3 is the canary"):
        publish.rollback(config, to=1)
    assert publish.rollback(config) == (3, 2)
    _serves(config, 2)
    assert labels_of(config) == {"stable": 2}
    assert state_of(config) == State((2, 1), is_labelled=True)
    assert publish.rollback(config) == (2, 1)


@pytest.mark.parametrize("end", ["trial", "release"])
def test_what_somebody_took_away_does_not_come_back_by_night(
    config: Config, end: str
) -> None:
    trial.canary(config, 5)
    if end == "release":
        trial.promote(config)
    publish.rollback(config, why="fewer clicks")
    before = state_of(config)
    for keep in (9, 1):
        assert publish.run(config, *stage(config, "b3")) == (3, False)
        assert state_of(config) == before
        trial.prune(config, keep)
    shown, _ = overview.answer(config.serving_directory)
    assert "withdrawn" in shown
    # Unless it is asked for; then it may be taken away again.
    made = stage(config, "b3")
    assert publish.run(config, *made, again=True) == (4, True)
    assert publish.run(config, *stage(config, "b3")) == (4, False)
    trial.canary(config, 5)
    publish.rollback(config)
    assert publish.run(config, *stage(config, "b3")) == (4, False)
    assert publish.run(config, *stage(config, "b5")) == (5, True)


def test_what_is_accepted_during_a_trial_is_staged(config: Config) -> None:
    trial.canary(config, 5)
    at_once = replace(config, publish=PublishConfig())
    assert publish.run(at_once, *stage(config, "b3")) == (3, False)
    assert publish.run(at_once, *stage(config, "b4")) == (4, True)
    assert state_of(config) == State((2, 1), 3, 5, 4, is_labelled=True)
    _serves(config, 2, 3)
    trial.canary(config, 6)
    assert state_of(config).canary == 3
    trial.promote(config)
    assert trial.canary(config, 1) == (4, 3)
    assert state_of(config) == State((3, 2, 1), 4, 1, is_labelled=True)


def test_callers_are_told_what_is_live_before_more_is_loaded(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish.rollback(config)
    assert labels_of(config) == {}
    seen: list[object] = []

    def sleep(seconds: float) -> None:
        assert 0 < seconds <= 10
        seen.append((served(config)["ranking"], labels_of(config)))

    monkeypatch.setattr(trial, "TOLD_SECONDS", 10.0)
    monkeypatch.setattr(trial.time, "sleep", sleep)
    trial.canary(config, 5)
    assert seen == [([1], {"stable": 1})]
    # Told long ago is told.
    publish.rollback(config)
    publish.run(config, *stage(config, "b9"))
    pointer = config.serving_directory / publish.POINTER
    monkeypatch.setattr(
        trial.time, "time", lambda: pointer.stat().st_mtime + 11
    )
    trial.canary(config, 5)
    assert len(seen) == 1


@pytest.mark.parametrize("share", [0, 101, -5])
def test_a_share_is_a_percentage(config: Config, share: int) -> None:
    with pytest.raises(GateRejected, match=f"1 to 100. Received: {share}"):
        trial.canary(config, share)
    assert state_of(config).canary is None


def test_what_cannot_be_tried_or_promoted_is_said(config: Config) -> None:
    with pytest.raises(GateRejected, match="Version 3 is staged: make canary"):
        trial.promote(config)
    (config.serving_directory / "ranking/3/saved_model.pb").unlink()
    with pytest.raises(GateRejected, match=r"ranking/3/saved_model.pb.*stage"):
        trial.canary(config, 5)
    bare = replace(config, artifacts=config.artifacts + "-bare")
    for command in (lambda: trial.canary(bare, 5), lambda: trial.promote(bare)):
        with pytest.raises(GateRejected, match="make retrain"):
            command()
    publish.run(bare, *stage(bare, "b1"))
    with pytest.raises(GateRejected, match="none, version 1 is live.*stage=tr"):
        trial.canary(bare, 5)


def test_a_canary_that_lost_a_part_is_not_promoted(config: Config) -> None:
    trial.canary(config, 5)
    (config.serving_directory / "ranking/3/saved_model.pb").unlink()
    with pytest.raises(GateRejected, match="make rollback"):
        trial.promote(config)
    publish.rollback(config)
    assert state_of(config).live == 2


def test_pruning_keeps_what_has_a_role(config: Config) -> None:
    trial.canary(config, 5)
    publish.run(config, *stage(config, "b4"))
    for keep in (0, -1):
        with pytest.raises(GateRejected, match=f"KEEP={keep}"):
            trial.prune(config, keep)
    assert trial.prune(config, 1) == []
    trial.promote(config)
    trial.canary(config, 5)
    # 4 is the canary, 3 live, 2 previous.
    assert trial.prune(config, 1) == [1]
    assert state_of(config) == State((3, 2), 4, 5, is_labelled=True)
    assert repository.numbers(config.serving_directory) == [4, 3, 2]
    assert _events(config)[-1] == ("pruned", 1)
    publish.rollback(config)
    assert trial.prune(config, 2) == []
    assert trial.prune(config, 1) == []
    # What was tried and taken away is only another version.
    publish.run(config, *stage(config, "b5"))
    assert trial.prune(config, 1) == [4]


def test_versions_kept_by_option_include_those_with_a_role(
    config: Config,
) -> None:
    few = replace(config, publish=PublishConfig(stage=True, keep_versions=2))
    publish.run(few, *stage(few, "b4"))
    assert repository.numbers(few.serving_directory) == [4, 2, 1]
    trial.canary(few, 5)
    publish.run(few, *stage(few, "b5"))
    assert repository.numbers(few.serving_directory) == [5, 4, 2, 1]


def test_a_ledger_that_was_cut_short_or_edited_is_passed_over_and_said(
    config: Config,
) -> None:
    serving = config.serving_directory
    path = serving / ledger.FILE
    lines = path.read_text().splitlines()
    path.write_text(
        "\n".join(
            [*lines, "no JSON", '{"event": "live"}', "[]", '{"event": "l']
        )
    )
    trial.canary(config, 5)
    entries, problems = ledger.read(serving)
    assert [entry.event for entry in entries] == [
        *("live", "live", "staged", "canary")
    ]
    assert [line.split(", ")[1].split(":")[0] for line in problems] == [
        f"line {number}" for number in (4, 5, 6, 7)
    ]
    shown, data = overview.answer(serving)
    assert shown.count("passed over") == 4
    assert isinstance(data, dict) and data["canary"] == 3
    # The last line alone may be one that a command did not end.
    path.write_text(path.read_text() + '{"event": "li')
    assert "cut short or" in ledger.read(serving)[1][-1]


def test_a_pointer_moved_by_nobody_we_know_is_recorded(config: Config) -> None:
    path = config.serving_directory / ledger.FILE
    lines = path.read_text().splitlines(keepends=True)
    # Killed after the pointer moved.
    path.write_text(lines[0])
    trial.canary(config, 5)
    entries, _ = ledger.read(config.serving_directory)
    assert [(entry.event, entry.version) for entry in entries] == [
        *[("live", 1), ("live", 2), ("canary", 3)]
    ]
    assert "another hand" in entries[1].why
    assert entries[1].at.startswith(time.strftime("%Y-", time.gmtime()))


@pytest.mark.parametrize("line", ["# canary: x", "# staged: ", "# canary: 3"])
def test_a_damaged_line_of_the_pointer_is_named(
    config: Config, line: str
) -> None:
    pointer = config.serving_directory / publish.POINTER
    pointer.write_text(
        f"{pointer.read_text()}{line}\n".replace("# staged: 3\n", "")
    )
    with pytest.raises(ServingError, match="must be followed as in"):
        trial.promote(config)


def test_labels_are_delivered_with_a_release(
    config: Config, tmp_path: Path
) -> None:
    target = tmp_path / "repository"
    for share in (5, 6):
        trial.canary(config, share)
        placed = deliver.deliver(config.serving_directory, target)
        assert placed[-1] == target / publish.POINTER
        assert history.state(target) == state_of(config)
        assert not deliver.deliver(config.serving_directory, target)
    assert (target / ledger.FILE).exists()


def test_the_overview_says_what_is_what(config: Config) -> None:
    exports, path = stage(config, "b4")
    evaluations.made("b4", popularity=0.9).write(path)
    for _ in range(2):
        with pytest.raises(GateRejected):
            publish.run(config, exports, path)
    trial.canary(config, 5)
    text, data = overview.answer(config.serving_directory)
    assert isinstance(data, dict)
    roles = {row["version"]: row["role"] for row in data["versions"]}
    assert roles == {3: "canary", 2: "live", 1: "previous"}
    assert "version 2 is live, 3 canary at 5 percent of users" in text
    assert "popularity" in data["last_rejected"]["why"]
    assert _events(config).count(("rejected", None)) == 1
    assert data["versions"][0]["figures"] and data["versions"][0]["since"]


def test_an_accepted_version_goes_on_trial_at_once_where_asked_to(
    config: Config,
) -> None:
    said: list[str] = []
    tried = replace(config, publish=PublishConfig(stage=5))
    # Version 3 is staged; nothing that is staged goes live by itself.
    trial.begin(tried, said.append)
    assert state_of(tried) == State((2, 1), 3, 5, is_labelled=True)
    # The next one waits until the trial ends, then the next night tries it.
    assert publish.run(tried, *stage(tried, "b4")) == (4, True)
    trial.begin(tried, said.append)
    assert (state_of(tried).canary, state_of(tried).staged) == (3, 4)
    trial.promote(tried)
    assert publish.run(tried, *stage(tried, "b4")) == (4, False)
    trial.begin(tried, said.append)
    assert state_of(tried) == State((3, 2, 1), 4, 5, is_labelled=True)
    assert said[-1] == "canary: 5 percent of users ask version 4"
    # Without the option nothing begins, and the first release waits for none.
    publish.rollback(tried)
    publish.run(config, *stage(config, "b5"))
    trial.begin(config, said.append)
    assert state_of(config).canary is None
    first = replace(tried, artifacts=config.artifacts + "-first")
    publish.run(first, *stage(first, "b1"))
    trial.begin(first, said.append)
    assert state_of(first) == State((1,))


@pytest.mark.parametrize("role", ["staged", "canary"])
def test_a_log_may_speak_against_a_trial(
    config: Config, role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if role == "canary":
        trial.canary(config, 5)
    asked: list[tuple[str, str]] = []
    words = "It answers 3 of 50 requests with an error."

    def replayed(_config: Config, log: str, new: str) -> list[Rule]:
        asked.append((log, new))
        return [Rule.of("answered", log != "bad", words)]

    monkeypatch.setattr(step, "at_the_gate", replayed)
    before = state_of(config)
    options = argparse.Namespace(share=9, why="", json=True, replay="bad")
    with pytest.raises(GateRejected, match="3 of 50"):
        releases.try_canary(config, options)
    assert state_of(config) == before
    options.replay = "good"
    releases.try_canary(config, options)
    assert asked == [("bad", "3"), ("good", "3")]
    assert state_of(config).share == 9
