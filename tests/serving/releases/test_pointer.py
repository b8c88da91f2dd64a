"""The pointer's follower: groups, paths, overlap, rollback, bad sources."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serving import labels
from serving.errors import ServingError
from serving.releases import pointer, versions
from serving.releases.phases import Phases
from tests.support.waiting import eventually

MODELS = ("retrieval", "retrieval_exact", "ranking", "recommender")


@pytest.fixture
def publish(tmp_path):
    def write(version, models=MODELS):
        versions.write_models_config(
            tmp_path / "repository" / "models.config",
            {model: (f"/elsewhere/{model}", [version]) for model in models},
            comment=f"releases, live first: {version}",
        )

    return write


@pytest.fixture
def follower(tmp_path, publish):
    publish(1)
    return pointer.Follower(
        tmp_path / "repository" / "models.config",
        tmp_path / "pointers",
        {"stock": ("ranking", "retrieval_exact"), "scann": ("retrieval",)},
        phases=Phases(30),
    )


def listed(follower, group):
    found = versions.read_models_config(follower.directory / f"{group}.config")
    return {model: numbers for model, (_, numbers) in found.items()}


def test_each_group_gets_its_models_where_they_are_mounted(follower, tmp_path):
    assert follower.step(0) == ["stock", "scann"]

    assert listed(follower, "stock") == {"ranking": [1], "retrieval_exact": [1]}
    found = versions.read_models_config(follower.directory / "scann.config")
    assert found == {
        "retrieval": (str(tmp_path / "repository" / "retrieval"), [1])
    }


def test_nothing_is_written_again_without_a_change(follower):
    follower.step(0)

    assert follower.step(1) == []


def test_the_version_replaced_stays_for_a_while(follower, publish):
    follower.step(0)
    publish(2)

    # Where no server can be asked, ranking gets time to load it.
    assert follower.step(10) == ["stock"]
    assert listed(follower, "stock") == {
        "ranking": [1, 2],
        "retrieval_exact": [1],
    }
    assert follower.step(39) == []
    follower.step(41)
    assert listed(follower, "scann") == {"retrieval": [1, 2]}
    assert follower.step(70) == []
    follower.step(72)
    assert listed(follower, "scann") == {"retrieval": [2]}
    # The one before the live one stays where a rollback needs it first.
    assert listed(follower, "stock") == {
        "ranking": [1, 2],
        "retrieval_exact": [2],
    }


def test_a_rollback_is_followed_at_once(follower, publish):
    (follower.source.parent / "ranking" / "1").mkdir(parents=True)
    publish(2)
    follower.step(0)
    assert listed(follower, "stock")["ranking"] == [1, 2]
    publish(1)

    follower.step(1)

    assert listed(follower, "scann") == {"retrieval": [1]}


class Ranking:
    """Stands for ranking's servers, which have these versions."""

    def __init__(self, *numbers):
        self.numbers = set(numbers)

    def lacking(self, model, number):
        return "" if number in self.numbers else "one has not"

    def may_use(self, models, number):
        return False


def labelled(follower):
    return {
        model: found
        for group in ("stock", "scann")
        for model, found in versions.read_labels(
            follower.directory / f"{group}.config"
        ).items()
    }


def test_a_canary_reaches_ranking_before_the_others_ask_for_it(
    follower, tmp_path
):
    follower.phases = Phases(30, Ranking(1), Ranking(1))

    def point(numbers, found):
        versions.write_models_config(
            follower.source,
            {model: (f"/elsewhere/{model}", numbers) for model in MODELS},
            labels=dict.fromkeys(MODELS, found),
        )

    trial = labels.of_trial(1, 2, 1)
    assert set(trial) == {"stable", "canary", "canary-1"}
    point([1], {"stable": 1})
    follower.step(0)
    assert labelled(follower) == dict.fromkeys(MODELS[:3], {"stable": 1})
    point([1, 2], trial)
    # However long ranking takes: nobody is told of what it has not.
    for now in (1, 1e6):
        follower.step(now)
        assert listed(follower, "stock")["ranking"] == [1, 2]
        assert listed(follower, "scann") == {"retrieval": [1]}
        assert labelled(follower)["ranking"] == trial
        assert labelled(follower)["retrieval"] == {"stable": 1}
    follower.phases.ranking.numbers.add(2)
    follower.step(1e6 + 1)
    assert listed(follower, "scann") == {"retrieval": [1, 2]}
    assert labelled(follower) == dict.fromkeys(MODELS[:3], trial)
    # A new process goes on, and a larger share is only labels.
    other = pointer.Follower(
        follower.source,
        follower.directory,
        follower.groups,
        phases=Phases(30, Ranking(1, 2), Ranking(1, 2)),
    )
    assert other.step(0) == []
    point([1, 2], labels.of_trial(1, 2, 7))
    assert other.step(1) == ["stock", "scann"]
    # Taken away: ranking keeps what callers may still be answered with.
    point([1], {"stable": 1})
    other.step(2)
    assert listed(other, "scann") == {"retrieval": [1]}
    assert listed(other, "stock")["ranking"] == [1, 2]
    assert labelled(other) == dict.fromkeys(MODELS[:3], {"stable": 1})


def test_a_broken_source_changes_nothing(follower, publish):
    follower.step(0)
    follower.source.write_text("model_config_list {")

    with pytest.raises(ServingError, match=r"models\.config"):
        follower.step(1)
    assert listed(follower, "scann") == {"retrieval": [1]}

    publish(2, ["ranking"])
    with pytest.raises(ServingError, match="'scann' with retrieval"):
        follower.step(2)


def test_the_command_follows_until_it_is_told_to_stop(publish, tmp_path):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "serving.releases.pointer"),
            f"--source={tmp_path / 'repository' / 'models.config'}",
            f"--directory={tmp_path}",
            *("--group=stock=ranking", "--poll_seconds=0.05"),
        ],
        cwd=Path(__file__).parents[3],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        # Nothing is published yet: it says so and waits.
        log = process.stderr.readline()
        publish(7)
        eventually((tmp_path / "stock.config").exists)
        process.send_signal(signal.SIGTERM)
        log += process.communicate(timeout=10)[1]
    finally:
        process.kill()

    assert process.returncode == 0
    assert str(tmp_path / "repository" / "models.config") in log
    assert "[7]" in log


def test_once_says_why_it_fails(tmp_path, caplog):
    status = pointer.main(
        [
            f"--source={tmp_path / 'none'}",
            f"--directory={tmp_path}",
            *("--group=a=b", "--once"),
        ]
    )

    assert status == 2
    assert str(tmp_path / "none") in caplog.text
