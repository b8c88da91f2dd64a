"""The whole, on a run that is published: started, asked, refused."""

import dataclasses
import http.client
import json
import shlex
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.explore import place, step
from pipeline.explore.catalogue import Catalogue
from pipeline.explore.site import Site
from pipeline.run.config import Config
from pipeline.tables import prepared
from pipeline.tables.schema import DataError
from serving.client import Query, RecommenderClient
from serving.errors import ServingError
from serving.ondevice import bundle as ondevice
from tests.support import explorer_cases
from tests.support.ports import free_port
from tests.support.prepared_stub import make_prepared


@pytest.fixture(autouse=True)
def _nobody_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    # Whatever runs on this machine is not this test's.
    monkeypatch.setattr(place, "USUAL", f"127.0.0.1:{free_port()}")


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return []


@pytest.fixture(scope="module")
def started(released: Config, lines: list[str]) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, "USUAL", f"127.0.0.1:{free_port()}")
        with step.start(released, step.Addresses(), lines.append) as site:
            threading.Thread(target=site.serve_forever, daemon=True).start()
            yield site
            site.shutdown()


def ask(site: Site, path: str, **given: Any) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", site.server_port)
    body = json.dumps(given) if given else None
    connection.request("POST" if body else "GET", path, body)
    answer = connection.getresponse()
    assert answer.status == 200
    return json.loads(answer.read())


@pytest.mark.slow
def test_published_models_are_asked_without_a_server(
    started: Site, released: Config, lines: list[str]
) -> None:
    assert "starting one on what is published" in lines[-1]
    about = ask(started, "/api/about")
    assert about["is_own"] and about["run"] == "tiny"
    user = ask(started, f"/api/user?text={about['some_users'][0]}")["user"]
    answer = ask(
        started,
        "/api/lists",
        user_id=user["id"],
        history=user["history"],
        excluded_ids=[about["popular"][0]["id"]],
        diversity=0.3,
    )
    found = {column["name"]: column for column in answer["columns"]}
    assert found.keys() >= {
        "retrieval",
        "two_stage",
        "diverse",
        "retrieval_exact",
        "student",
        "popularity",
        "item_knn",
        "ease",
        "window_markov",
    }
    hidden = {*user["history"], about["popular"][0]["id"]}
    for column in found.values():
        assert not column["error"] and column["ids"]
        assert not hidden & set(column["ids"])
    # Each as who asks for it alone would have it.
    query = Query(
        user["id"],
        user["history"],
        user["features"],
        [about["popular"][0]["id"]],
    )
    with RecommenderClient(about["target"], timeout_seconds=20) as client:
        whole = client.recommend(query, 10)
        curious = client.recommend(
            dataclasses.replace(query, diversity=0.3), 10
        )
    assert found["two_stage"]["ids"][:10] == list(whole.item_ids)
    assert found["diverse"]["ids"] == list(curious.item_ids)
    student = ondevice.OnDevice(ondevice.live(released.serving_directory))
    offered = student.recommend(user["history"], query.excluded_ids)
    assert found["student"]["ids"] == [item for item, _ in offered]
    assert about["student"]["bundle_id"] == student.config["bundle_id"]


@pytest.mark.slow
def test_every_model_answers_with_what_passes(
    started: Site, released: Config
) -> None:
    value = ask(started, "/api/about")["some_values"][-1]
    name, chosen = value["feature"], value["value"]
    answer = ask(started, "/api/lists", filters={name: [chosen]})
    tables = prepared.load(released.run_directory / "prepare")
    passing = {
        str(item)
        for item, values in zip(
            tables.items.ids[2:],
            tables.item_values()[name].to_pylist(),
            strict=True,
        )
        if chosen in values
    }
    assert 0 < len(passing) < 120
    for column in answer["columns"]:
        assert not column["error"], column
        if column["name"] != "student":
            assert column["ids"], column
        assert set(column["ids"]) <= passing, column["name"]


@pytest.mark.slow
def test_curl_is_answered_on_the_rest_port(started: Site) -> None:
    """What the page shows as curl, sent as curl would."""
    answer = ask(started, "/api/lists", history=[])
    _, url, _, body = shlex.split(
        answer["commands"]["curl"].replace("\\\n", "")
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, body.encode(), timeout=20) as response:
        outputs = json.loads(response.read())["outputs"]
    two_stage = next(
        one for one in answer["columns"] if one["name"] == "two_stage"
    )
    assert (
        outputs["item_ids"][0]
        == two_stage["ids"][: len(outputs["item_ids"][0])]
    )


def test_vectors_are_written_for_tensorboard(released: Config) -> None:
    folder = step.project(released)
    vectors = np.loadtxt(folder / "vectors.tsv", delimiter="\t")
    assert vectors.shape == (120, 16)


def test_a_running_server_of_the_run_is_asked(
    released: Config, tmp_path: Path
) -> None:
    offline = explorer_cases.offline(tmp_path)
    said: list[str] = []
    with explorer_cases.model_server() as server:
        with place.find(
            offline.config, offline.catalogue, server.target, "", said.append
        ) as found:
            assert not found.is_own
            host, _, port = server.target.rpartition(":")
            assert found.rest == f"{host}:{int(port) + 1}"
    assert server.target in said[-1]


@pytest.mark.parametrize("target", ["", "127.0.0.1:1"])
def test_neither_server_nor_release_is_one_line(
    tmp_path: Path, target: str
) -> None:
    offline = explorer_cases.offline(tmp_path)
    with pytest.raises(ServingError) as caught:
        with place.find(
            offline.config, offline.catalogue, target, "", lambda line: None
        ):
            pass
    message = str(caught.value)
    assert "\n" not in message
    if not target:
        assert "no whole release in" in message
        assert "Run `make retrain`" in message


def test_a_server_of_another_run_is_refused(
    released: Config, tmp_path: Path
) -> None:
    offline = explorer_cases.offline(tmp_path)
    other = dataclasses.replace(offline.config, artifacts=released.artifacts)
    with pytest.raises(ServingError, match="Received: run 'tiny', not 'small'"):
        with place.find(other, offline.catalogue, "", "", lambda line: None):
            pass
    with explorer_cases.model_server() as server:
        few = Catalogue(make_prepared([[2, 3, 4]], 5), "test")
        with pytest.raises(ServingError, match="'i19'.*not in its catalogue"):
            with place.find(
                offline.config, few, server.target, "", lambda line: None
            ):
                pass


def test_no_run_is_one_line(tmp_path: Path) -> None:
    config = Config(name="none", seed=1, artifacts=str(tmp_path))
    with pytest.raises(DataError, match="needs an evaluated run") as caught:
        with step.start(config, step.Addresses(), lambda line: None):
            pass
    assert "\n" not in str(caught.value)


def test_a_taken_port_is_said_before_anything_is_read(tmp_path: Path) -> None:
    config = Config(name="none", seed=1, artifacts=str(tmp_path))
    with Site() as taken:
        with pytest.raises(ServingError, match="`port` must be free"):
            addresses = step.Addresses(taken.server_port)
            with step.start(config, addresses, lambda line: None):
                pass
