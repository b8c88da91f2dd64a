"""Who asks a release on trial, and what they get when it does not answer."""

import hashlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from serving import labels
from serving.client import InvalidRequest, ModelNotFound, Query, sides
from tests.support.fake_server import FakeServer

MODELS = ("retrieval", "ranking", "recommender")
USERS = [f"user {number}" for number in range(400)]


@pytest.fixture(params=[MODELS, MODELS[:2]], ids=["fused", "two stages"])
def server(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A server with version 1, and 2 that a trial would be of."""
    with FakeServer(request.param) as made:
        for model in request.param:
            made.versions[model] = [1, 2]
        yield made


def _try(server: Any, share: int | None, live: int = 1) -> None:
    """What the servers' config says of a trial; None takes all labels away."""
    labels: dict[str, int] = {}
    if share is not None:
        labels = {"stable": live}
    if share:
        buckets = [f"canary-{number}" for number in range(1, share + 1)]
        labels |= dict.fromkeys(["canary", *buckets], 2)
    for model in server.versions:
        server.labels[model] = labels


@pytest.fixture
def client(server: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client that believes nothing for longer than one question."""
    monkeypatch.setattr(sides, "LEARN_SECONDS", 0.0)
    with make(server.target, timeout_seconds=5.0) as made:
        yield made


def _canary_users(client: Any) -> set[str]:
    answers = client.recommend([Query(user) for user in USERS])
    for answer in answers:
        assert not answer.degraded
        assert answer.label == {1: "stable", 2: "canary"}[answer.version]
    return {
        user
        for user, answer in zip(USERS, answers, strict=True)
        if answer.version == 2
    }


def test_a_bucket_is_the_first_bytes_of_a_digest() -> None:
    counts = [0] * (labels.BUCKETS + 1)
    for user in USERS:
        digest = hashlib.sha256(user.encode()).hexdigest()
        found = labels.bucket(user)
        assert found == int(digest[:16], 16) % 100 + 1
        counts[found] += 1
    assert not counts[0]
    assert sum(map(bool, counts)) > 90


@pytest.mark.parametrize("share", [1, 5, 37, 99, 100])
def test_its_share_of_users_asks_the_canary(
    server: Any, client: Any, share: int
) -> None:
    _try(server, share)
    found = _canary_users(client)
    assert found == {user for user in USERS if labels.bucket(user) <= share}
    assert _canary_users(client) == found
    # One question alone is on the side that a batch has it on.
    for user in (*list(found)[:2], *(set(USERS) - found)):
        answer = client.retrieve(Query(user))
        assert (answer.version == 2) == (user in found)
        assert client.rank(Query(user), ["i1"]).label == answer.label
        if user not in found:
            break


def test_a_larger_share_only_adds_users(server: Any, client: Any) -> None:
    known: set[str] = set()
    for share in (2, 3, 20, 60, 100):
        _try(server, share)
        found = _canary_users(client)
        assert known < found
        known = found
    _try(server, 20)
    assert _canary_users(client) < known


def test_who_is_not_known_asks_stable(server: Any, client: Any) -> None:
    _try(server, 100)
    assert client.recommend(Query(history=["i1"])).label == "stable"
    assert client.similar_items("i1").label == "stable"
    pinned = client.rank(Query("user 1"), ["i1"], version=1)
    assert (pinned.version, pinned.label) == (1, "")


def test_without_labels_the_latest_answers(server: Any, client: Any) -> None:
    answer = client.recommend(Query("user 1"))
    assert (answer.version, answer.label) == (2, "")


@pytest.mark.parametrize("popular", [(), ("i1", "i2")])
@pytest.mark.parametrize("live", [1, 2], ids=["rolled back", "promoted"])
def test_the_end_of_a_trial_fails_nobody(
    server: Any,
    make: Any,
    live: int,
    popular: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _try(server, 50)
    with make(server.target, popular=popular) as client:
        assert 0 < len(_canary_users(client)) < len(USERS)
        # It will not look again on its own account.
        monkeypatch.setattr(sides, "LEARN_SECONDS", 1e9)
        for model in server.versions:
            server.versions[model] = [live]
        for labels in (0, None):
            _try(server, labels, live)
            answers = client.recommend([Query(user) for user in USERS])
            assert {answer.version for answer in answers} == {live}
            assert not any(answer.degraded for answer in answers)


@pytest.mark.parametrize("popular", [(), ("i1", "i2")])
def test_a_canary_that_is_not_loaded_or_fails_is_answered_by_stable(
    server: Any, make: Any, popular: tuple[str, ...]
) -> None:
    _try(server, 100)
    for model in server.versions:
        server.versions[model] = [1]
    with make(server.target, popular=popular) as client:
        for user in USERS[:8]:
            answer = client.recommend(Query(user))
            assert (answer.version, answer.label) == (1, "stable")
            assert not answer.degraded
        # It is not asked over and over.
        before = sum(server.calls.values())
        assert client.recommend(Query("user 9"), k=2).retries == 0
        assert sum(server.calls.values()) - before <= 2


@pytest.mark.parametrize("popular", [(), ("i1", "i2")])
@pytest.mark.parametrize(
    "code", ["INTERNAL", "UNAVAILABLE", "INVALID_ARGUMENT", "UNKNOWN", "slow"]
)
def test_whatever_the_canary_does_its_users_are_answered(
    server: Any, make: Any, code: str, popular: tuple[str, ...]
) -> None:
    _try(server, 100)
    for model in server.versions:
        if code == "slow":
            server.delays[model, 2] = 3.0
        else:
            server.faults[model, 2] = code
    with make(server.target, popular=popular, timeout_seconds=1.0) as client:
        for user in USERS[:4]:
            began = time.monotonic()
            answer = client.recommend(Query(user), k=2)
            assert time.monotonic() - began < 1.2
            assert (answer.version, answer.label) == (1, "stable")
            assert not answer.degraded


def test_a_label_of_ones_own_has_no_sides(server: Any, make: Any) -> None:
    _try(server, 100)
    with make(server.target, version_label="stable") as client:
        assert client.recommend(Query("user 1")).label == "stable"
        _try(server, None)
        with pytest.raises(ModelNotFound, match="stable"):
            client.recommend(Query("user 1"))


def test_a_mistake_is_still_a_mistake(server: Any, client: Any) -> None:
    _try(server, 100)
    with pytest.raises(InvalidRequest, match="agee"):
        client.recommend(Query("user 1", features={"agee": 3}))
