"""Canary, promotion and rollback while users ask: nobody is failed."""

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.release import publish, trial
from pipeline.run import manifest
from pipeline.run.config import Config
from pipeline.run.release import PublishConfig
from serving import labels, signatures
from serving.client import Query, RecommenderClient, sides
from tests.support import evaluations, serving_calls, toy_models
from tests.support.waiting import eventually

SHARE = 20
USERS = [f"user {number}" for number in range(100)]
ON_TRIAL = {user for user in USERS if labels.bucket(user) <= SHARE}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that answer by arithmetic, as an export step would leave them."""
    made = tmp_path_factory.mktemp("toys")
    toy_models.export(made)
    shutil.copytree(made / "retrieval", made / "retrieval_exact")
    return made


def _stage(config: Config, toys: Path, bundle_id: str) -> tuple[Path, Path]:
    exports = config.run_directory / "export"
    shutil.rmtree(exports, ignore_errors=True)
    for name in signatures.BUNDLE:
        shutil.copytree(toys / name / "1", exports / name)
        manifest.write_json(
            exports / name / signatures.EXTRA_ASSETS / manifest.MANIFEST,
            {"bundle_id": bundle_id, "model": name},
        )
    path = config.run_directory / "evaluation.json"
    evaluations.made(bundle_id).write(path)
    return exports, path


@dataclass
class Load:
    """Threads that ask for users, one after the other, until stopped."""

    client: RecommenderClient
    answers: list[tuple[float, str, int]] = field(default_factory=list)
    failed: list[object] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, begin: int) -> None:
        place = begin
        while not self.stop.wait(0.002):
            user = USERS[place % len(USERS)]
            place += 7
            asked = time.monotonic()
            try:
                answer = self.client.recommend(Query(user), k=2)
            except Exception as error:
                self.failed.append(error)
                continue
            if answer.degraded or not answer.item_ids:
                self.failed.append(answer)
            self.answers.append((asked, user, answer.version))

    def since(self, moment: float) -> dict[str, set[int]]:
        """The versions that answered each user who asked after a moment."""
        found: dict[str, set[int]] = {}
        for asked, user, version in list(self.answers):
            if asked >= moment:
                found.setdefault(user, set()).add(version)
        return found

    def everybody(self, wanted: dict[str, set[int]]) -> None:
        """Waits until all users get what is wanted, each asked anew."""

        def check() -> bool:
            began = time.monotonic()
            eventually(lambda: self.since(began).keys() == wanted.keys())
            return self.since(began) == wanted

        eventually(check)


@pytest.fixture
def config(
    tmp_path: Path, toys: Path, monkeypatch: pytest.MonkeyPatch
) -> Config:
    monkeypatch.setattr(sides, "LEARN_SECONDS", 0.1)
    monkeypatch.setattr(trial, "TOLD_SECONDS", 1.0)
    made = Config(
        name="toys",
        seed=1,
        artifacts=str(tmp_path / "artifacts"),
        publish=PublishConfig(stage=True),
    )
    publish.run(made, *_stage(made, toys, "b1"))
    return made


@pytest.fixture
def load(config: Config) -> Iterator[Load]:
    pointer = config.serving_directory / publish.POINTER
    with (
        serving_calls.running(
            f"--model_config_file={pointer}",
            "--model_config_file_poll_wait_seconds=0.1",
            "--file_system_poll_wait_seconds=0.1",
            "--allow_version_labels_for_unavailable_models",
        ) as (_server, remote),
        RecommenderClient(remote.target, timeout_seconds=10.0) as client,
    ):
        made = Load(client)
        threads = [
            threading.Thread(target=made.run, args=(begin,))
            for begin in range(3)
        ]
        for thread in threads:
            thread.start()
        yield made
        made.stop.set()
        for thread in threads:
            thread.join()


def test_canary_promote_and_rollback_fail_nobody_and_keep_users_apart(
    config: Config, toys: Path, load: Load
) -> None:
    load.everybody({user: {1} for user in USERS})
    publish.run(config, *_stage(config, toys, "b2"))
    trial.canary(config, SHARE)
    load.everybody({user: {1 + (user in ON_TRIAL)} for user in USERS})
    # From the first answer of the canary to the last: who is not on trial
    # never got one, and who is has not come back.
    promoted = time.monotonic()
    first = min(at for at, _, version in load.answers if version == 2)
    assert {u for u, found in load.since(0).items() if 2 in found} == ON_TRIAL
    told = first + 1.0
    assert all(len(found) == 1 for found in load.since(told).values())
    trial.promote(config)
    load.everybody({user: {2} for user in USERS})
    assert {1, 2} >= set.union(*load.since(promoted).values())
    assert publish.rollback(config) == (2, 1)
    load.everybody({user: {1} for user in USERS})
    assert not load.failed
    assert len(load.answers) > 500


def test_a_canary_taken_away_fails_nobody_and_reaches_nobody_else(
    config: Config, toys: Path, load: Load
) -> None:
    publish.run(config, *_stage(config, toys, "b2"))
    trial.canary(config, SHARE)
    load.everybody({user: {1 + (user in ON_TRIAL)} for user in USERS})
    assert publish.rollback(config) == (2, 1)
    load.everybody({user: {1} for user in USERS})
    assert {u for u, found in load.since(0).items() if 2 in found} == ON_TRIAL
    assert not load.failed
