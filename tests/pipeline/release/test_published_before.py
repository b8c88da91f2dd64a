"""A bundle published before the rebuild is served, compared, returned to.

`tests/fixtures/published_before.tar.xz` was made once, by the code of commit
2ee6e62: the run of the fixture `tiny_run` with `ranking.hidden_units=[16]` and
`ranking.num_neighbours=8`, published with every baseline but `random` allowed
to win. In it are the serving directory (`@SERVING@` stands for its path in the
pointer), the run's evaluation.json, and answers.json: what that code's server
and client answered.
"""

import contextlib
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.evaluate.evaluation import Evaluation
from pipeline.release import gate, publish
from pipeline.steps import Run
from serving.client import Query, RecommenderClient
from serving.errors import ServingError
from serving.ondevice import bundle as ondevice
from tests.support import serving_calls
from tests.support.published import GATE, unpack


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """The unpacked archive; `serving` in it is a serving directory."""
    unpack(tmp_path)
    return tmp_path


def _assert_answers(client: RecommenderClient, directory: Path) -> None:
    """The server answers as the one of that time did."""
    for case in json.loads((directory / "answers.json").read_text()):
        query = Query(case["user_id"], case["history"])
        retrieved = client.retrieve(query)
        assert retrieved.version == 1
        found = {
            "retrieve": retrieved,
            "rank": client.rank(query, retrieved.item_ids, version=1),
            "recommend": client.recommend(query, 10),
        }
        for name, items in found.items():
            assert list(items.item_ids[:10]) == case[name]["item_ids"], name
            scores = pytest.approx(case[name]["scores"], abs=1e-3)
            assert list(items.scores[:10]) == scores, name


def _await_version(client: RecommenderClient, version: int) -> None:
    """Returns once all models answer in this version, each loads by itself."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(ServingError):
            found = client.retrieve(Query())
            ranked = client.rank(Query(), found.item_ids, version=version)
            fused = client.recommend(Query(), 1)
            if {found.version, ranked.version, fused.version} == {version}:
                return
        time.sleep(0.2)
    raise AssertionError(f"version {version} is not live")


@pytest.mark.slow
def test_it_is_served_compared_and_rolled_back_to(
    tiny_run: Run, published: Path
) -> None:
    config = replace(tiny_run.config, artifacts=str(published), publish=GATE)
    serving = config.serving_directory
    shutil.copytree(tiny_run.config.run_directory, config.run_directory)
    lines: list[str] = []
    run = Run(config, progress=lines.append)
    with serving_calls.running(
        f"--model_config_file={serving / publish.POINTER}",
        "--model_config_file_poll_wait_seconds=1",
    ) as (_, remote):
        with RecommenderClient(remote.target, timeout_seconds=30.0) as client:
            _assert_answers(client, published)
            assert run.publish() == 2
            _await_version(client, 2)
            assert publish.rollback(config) == (2, 1)
            _await_version(client, 1)
            _assert_answers(client, published)

    # Nothing was trained again, only compared with what is live.
    running = [line for line in lines if line.endswith("running")]
    assert running == ["check-data: running", "evaluate: running"]
    compared = Evaluation.read(run.evaluation)
    assert (compared.live.version, compared.live.not_compared) == (1, "")
    # Asked the same, and beaten: it learned the sample as it was made then.
    live, new = compared.models["live"], compared.models["two_stage"]
    assert live.users == new.users
    assert 0.0 < live.ndcg_at_10 < new.ndcg_at_10
    differences = {item.metric for item in compared.differences[3:8]}
    assert "ndcg@10" in differences and len(differences) == 5


def test_its_student_and_its_evaluation_are_read(published: Path) -> None:
    bundle = ondevice.OnDevice(ondevice.live(published / "serving"))
    assert bundle.config["version"] == 1
    assert bundle.replay() > 5
    path = published / "evaluation.json"
    evaluation = Evaluation.read(path)
    assert gate.gate(evaluation, GATE) == []
    before = path.read_bytes()
    evaluation.write(path)
    assert path.read_bytes() == before
