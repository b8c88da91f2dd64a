"""Fixtures every test module shares."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Servers of tests are on this machine, wherever its proxies lead.
for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
    os.environ[name] = "127.0.0.1,localhost"

# Selects Keras 2 before any test module imports TensorFlow.
from models import config as models_config  # noqa: E402

if TYPE_CHECKING:
    from pipeline.run.config import Config
    from pipeline.steps import Run
    from serving.server.lifecycle.manager import Manager
    from tests.support.scripted_loads import Loads


# A crowded machine takes any time for an example.
hypothesis.settings.register_profile("crowded", deadline=None)
hypothesis.settings.load_profile("crowded")

# Begun first, in this order: the processes then end together, and those that do
# not make the shared run have other work meanwhile.
_LONGEST = (
    "pipeline/test_steps.py",  # Makes the shared run and its release.
    "pipeline/retrieval/test_train.py",
    "pipeline/onboard/test_own_logs.py",
    "models/test_towers.py",
    "models/layers/test_history.py",
    "pipeline/ranking/test_train.py",
    "pipeline/test_repeat_consumption.py",
    "pipeline/export/test_step.py",
    "test_commands.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files that take longest in front."""
    here = Path(__file__).parent
    places = {here / name: place for place, name in enumerate(_LONGEST)}
    if absent := [str(path) for path in places if not path.is_file()]:
        raise pytest.UsageError(f"_LONGEST names no files: {absent}")
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session")
def data_directory() -> Path:
    """Where data sets are looked for."""
    return Path(os.environ.get("DATA_DIR", "data"))


@pytest.fixture(scope="session")
def movielens_100k(data_directory: Path) -> Path:
    """The MovieLens 100K archive; skips where it is absent."""
    path = data_directory / "ml-100k.zip"
    if not path.is_file():
        pytest.skip(f"{path} is absent; set DATA_DIR to where it is")
    return path


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> "Run":
    """A run on a tiny sample with every step up to the evaluation done.

    It takes a minute, so processes that test side by side share its files:
    the first makes them, the others find every step up to date.
    """
    from models.student_config import StudentConfig
    from pipeline.run.config import Config
    from pipeline.run.data import PrepareConfig, SyntheticSource
    from pipeline.run.release import IndexConfig
    from pipeline.steps import Run

    shared = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared = shared.parent
    config = Config(
        name="tiny",
        seed=3,
        artifacts=str(shared / "artifacts"),
        source=SyntheticSource(
            num_users=300, num_items=120, interactions_per_user=14
        ),
        prepare=PrepareConfig(split="leave_last_out"),
        retrieval=models_config.RetrievalConfig(
            encoder="attention",
            embedding_dim=16,
            history_length=20,
            batch_positions=256,
            epochs=3,
        ),
        index=IndexConfig(num_candidates=30),
        ranking=models_config.RankingConfig(epochs=3),
        student=StudentConfig(
            embedding_dim=8, history_length=10, epochs=2, max_histories=1000
        ),
    )
    run = Run(config)
    with _alone(shared):
        run.evaluate()
    return run


@pytest.fixture(scope="session")
def released(tiny_run: "Run") -> "Config":
    """That run, published over the release of another time: version 2 is live.

    Shared like the run: a test that changes anything takes a copy
    (`tests.support.published.copied`).
    """
    from tests.support import published

    artifacts = Path(tiny_run.config.artifacts).with_name("released")
    with _alone(artifacts.parent):
        return published.publish_twice(tiny_run, artifacts)


@contextlib.contextmanager
def _alone(shared: Path) -> Iterator[None]:
    """One process at a time makes what all share."""
    with (shared / "shared.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def loads() -> "Loads":
    """Loads that a test scripts."""
    from tests.support.scripted_loads import Loads

    return Loads()


@pytest.fixture
def manager(loads: "Loads") -> Iterator["Manager"]:
    """A manager of those loads, stopped after the test."""
    from serving.server.lifecycle.manager import Manager

    made = Manager(loads, max_num_load_retries=0)
    yield made
    made.stop(1.0)


@pytest.fixture(params=["sync", "asyncio"])
def make(request: pytest.FixtureRequest) -> Any:
    """Makes a client: the one for threads, then the one for asyncio."""
    from serving.client import RecommenderClient
    from tests.support.waiting import Awaited

    return RecommenderClient if request.param == "sync" else Awaited


@pytest.fixture
def pair() -> Iterator[tuple[Any, Any]]:
    """Two servers that are alike."""
    from tests.support.fake_server import FakeServer

    with FakeServer() as first, FakeServer() as second:
        yield first, second
