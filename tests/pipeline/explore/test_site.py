"""What the page asks over HTTP, and what it is told when nobody answers."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.explore.site import Site
from serving.errors import ServingError
from tests.support import explorer_cases
from tests.support.fake_server import CATALOGUE, FakeServer


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Site, FakeServer]]:
    folder = tmp_path_factory.mktemp("explorer")
    with explorer_cases.explored(folder) as (site, server):
        yield site, server


@pytest.fixture
def site(pair: tuple[Site, FakeServer]) -> Site:
    return pair[0]


@pytest.fixture
def server(pair: tuple[Site, FakeServer]) -> FakeServer:
    return pair[1]


def send(
    site: Site, path: str, body: str | None = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(
        "127.0.0.1", site.server_port, timeout=20
    )
    try:
        connection.request("POST" if body else "GET", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def ask(site: Site, path: str, **given: Any) -> Any:
    body = json.dumps(given) if given or path == "/api/lists" else None
    status, _, content = send(site, path, body)
    assert status == 200, content
    return json.loads(content)


def columns(answer: dict[str, Any]) -> dict[str, Any]:
    return {column["name"]: column for column in answer["columns"]}


@pytest.mark.parametrize(
    "path",
    ["/", "/app.js", "/explore.css", "/shared/style.css", "/shared/picker.js"],
)
def test_the_page_loads_itself_and_nothing_else(site: Site, path: str) -> None:
    status, headers, content = send(site, path)
    assert status == 200 and content
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; ")
    assert "unsafe" not in policy and "http" not in policy
    for word in (b"http://", b"https://", b"style=", b"onclick="):
        assert word not in content


@pytest.mark.parametrize(
    "path",
    [
        "/site.py",
        "/../site.py",
        "/shared/site.py",
        "/shared/../site.py",
        "/api/unheard",
        "//etc/passwd",
    ],
)
def test_what_is_no_question_is_not_answered(site: Site, path: str) -> None:
    assert send(site, path)[0] == 404
    assert send(site, path, "{}")[0] == 404


def test_another_name_of_this_machine_is_refused(site: Site) -> None:
    assert send(site, "/api/about", Host="rebound.example")[0] == 403
    foreign = {"Origin": "http://elsewhere.example"}
    assert send(site, "/api/lists", "{}", **foreign)[0] == 403


def test_the_page_says_what_it_is_about(site: Site, server: FakeServer) -> None:
    about = ask(site, "/api/about")
    assert (about["run"], about["bundle_id"]) == ("small", "b1")
    assert (about["items"], about["users"]) == (len(CATALOGUE), 4)
    assert about["target"] == server.target
    assert "random" not in about["settings"]
    assert about["popular"][0]["title"] == "Tale 05 of Many"
    found = ask(site, "/api/state")
    assert {row["model"] for row in found["versions"]} == set(
        explorer_cases.MODELS
    )
    assert ask(site, "/api/search?text=am%C3%A9lie")["items"][0]["id"] == "i4"
    assert ask(site, "/api/users?text=u")["users"][0] == "u0"
    user = ask(site, "/api/user?text=u0")
    assert user["user"]["targets"] == ["i3"]
    assert user["items"]["i3"]["title"] == "Tale 03 of Many"
    similar = ask(site, "/api/similar?text=i19")
    assert [item["id"] for item in similar["items"]][:2] == ["i18", "i17"]
    assert len(ask(site, "/api/map")["ids"]) == len(CATALOGUE)


def test_everybody_is_asked_for_the_same_history(site: Site) -> None:
    answer = ask(
        site, "/api/lists", history=["i0", "i19"], excluded_ids=["i18", "i3"]
    )
    found = columns(answer)
    assert list(found) == [
        "retrieval",
        "two_stage",
        "retrieval_exact",
        "student",
        "popularity",
        "item_knn",
        "window_markov",
    ]
    best = [f"i{number}" for number in range(17, 9, -1)]
    assert found["retrieval"]["ids"] == found["retrieval_exact"]["ids"] == best
    assert found["two_stage"]["ids"] == best[::-1]
    assert found["two_stage"]["version"] == 1
    assert found["student"]["ids"][:3] == ["i1", "i2", "i4"]
    # i1 came after i0 in three of three sequences.
    assert found["window_markov"]["ids"][0] == "i1"
    for column in found.values():
        assert not {"i0", "i19", "i18", "i3"} & set(column["ids"])
        assert not column["error"] and column["latency_ms"] > 0
    # Whatever is shown is told in words, and why.
    shown = {item for one in found.values() for item in one["ids"][:10]}
    assert shown <= answer["items"].keys() and shown == answer["why"].keys()
    why = answer["why"]["i1"]
    assert (why["with_item"], why["both"], why["users"]) == ("i0", 3, 3)
    assert why["nearest"] == "i0" and 0.99 < why["cosine"] < 1.0
    assert '"excluded_ids": [["i18", "i3"]]' in answer["commands"]["curl"]


def test_nothing_in_the_history_speaks_for_nothing(site: Site) -> None:
    answer = ask(site, "/api/lists")
    assert set(columns(answer)) > {"retrieval", "two_stage", "item_knn"}
    assert {why["nearest"] for why in answer["why"].values()} == {""}
    assert {why["both"] for why in answer["why"].values()} == {0}


def test_diversity_is_asked_of_the_fused_model(
    site: Site, server: FakeServer
) -> None:
    found = columns(ask(site, "/api/lists", history=["i1"], diversity=0.4))
    sent = [
        (signature, inputs["diversity"][0])
        for model, signature, inputs in server.requests
        if model == "recommender"
    ]
    # Its model has fewer than ten, so that two stages without it answer.
    assert sent == [("with_diversity", pytest.approx(0.4))]
    assert "diversity unavailable" in found["diverse"]["error"]
    assert found["two_stage"]["ids"] and not found["two_stage"]["error"]


def test_versions_with_a_label_stand_side_by_side(
    site: Site, server: FakeServer
) -> None:
    assert not {"stable", "canary"} & columns(ask(site, "/api/lists")).keys()
    for model in explorer_cases.MODELS:
        server.versions[model] = [1, 2]
        server.labels[model] = {"stable": 1, "canary": 2}
    try:
        found = columns(ask(site, "/api/lists"))
        versions = [found[name]["version"] for name in ("stable", "canary")]
        assert versions == [1, 2]
        del server.labels["recommender"], server.labels["retrieval"]
        left = columns(ask(site, "/api/lists"))
        assert not {"stable", "canary"} & left.keys()
    finally:
        server.labels.clear()
        server.versions.update(dict.fromkeys(explorer_cases.MODELS, [1]))


def test_a_server_that_is_gone_is_told_and_comes_back(
    tmp_path: Path,
) -> None:
    with explorer_cases.explored(tmp_path) as (site, server):
        assert not ask(site, "/api/state")["error"]
        server.stop()
        assert ask(site, "/api/state")["error"]
        answer = ask(site, "/api/lists", history=["i0"])
        found = columns(answer)
        assert found["retrieval"]["error"] == found["two_stage"]["error"] != ""
        assert "\n" not in found["retrieval"]["error"]
        # Who needs no server answers on.
        assert found["window_markov"]["ids"][0] == "i1"
        assert found["student"]["ids"] and answer["commands"] is None
        assert send(site, "/api/similar?text=i1")[0] == 502
        server.restart()
        for _ in range(50):
            found = columns(ask(site, "/api/lists", history=["i0"]))
            if not found["retrieval"]["error"]:
                break
        assert found["retrieval"]["ids"]


def test_a_stage_that_fails_alone_leaves_the_others(
    site: Site, server: FakeServer
) -> None:
    server.faults["ranking"] = "INTERNAL"
    try:
        found = columns(ask(site, "/api/lists", history=["i0"]))
    finally:
        server.faults.clear()
    assert "ordered fault" in found["two_stage"]["error"]
    assert found["retrieval"]["ids"] and found["retrieval_exact"]["ids"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{", "A question must be a JSON object"),
        ("[]", "A question must be a JSON object"),
        ('{"hist": []}', "A question must be a JSON object of user_id"),
        ('{"history": "i1"}', "`history`"),
        ('{"history": [1]}', "history"),
        ('{"user_id": 3}', "`user_id`"),
        ('{"diversity": 2}', "`diversity` must be a number between 0 and 1"),
    ],
)
def test_a_wrong_question_is_answered_in_one_line(
    site: Site, body: str, said: str
) -> None:
    status, _, content = send(site, "/api/lists", body)
    error = json.loads(content)["error"]
    assert status == 400 and said in error and "\n" not in error


def test_an_unknown_user_is_named(site: Site) -> None:
    status, _, content = send(site, "/api/user?text=u9")
    assert status == 400
    assert "Received: 'u9'" in json.loads(content)["error"]


def test_a_taken_port_is_an_error_in_one_line(site: Site) -> None:
    for port in (site.server_port, 70_000):
        with pytest.raises(ServingError, match="`port` must be free. Rec"):
            Site(port)


def test_a_filter_holds_in_every_list(site: Site) -> None:
    asked = {"history": ["i1"], "filters": {"parity": ["odd"]}}
    answer = ask(site, "/api/lists", **asked)
    for name, column in columns(answer).items():
        assert column["ids"], name
        assert all(int(item[1:]) % 2 for item in column["ids"]), name
    assert "allowed_parity" in answer["commands"]["curl"]
    assert "filters={'parity': ['odd']}" in answer["commands"]["python"]
    # Nothing passes: that is no failure of a list.
    nothing = {"parity": ["odd"], "tens": ["7"]}
    answer = ask(site, "/api/lists", filters=nothing)
    for column in columns(answer).values():
        assert not column["ids"] and not column["error"]
    found = ask(site, "/api/values?text=par")["values"]
    assert [(one["value"], one["items"]) for one in found] == [
        ("even", 10),
        ("odd", 10),
    ]
    body = json.dumps({"filters": {"hour": ["1"]}})
    status, _, text = send(site, "/api/lists", body)
    assert status == 400 and b"parity, tens" in text
