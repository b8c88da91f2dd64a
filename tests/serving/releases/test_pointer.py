"""The pointer's follower: groups, paths, overlap, rollback, bad sources."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

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
