"""The client while replicas are at different versions; both clients alike."""

import contextlib
import threading

import pytest

from serving.client import Query, RecommenderClient, ServingError, learned
from tests.support.fake_server import STRING, FakeServer
from tests.support.replica_faults import WHOLE, outcomes, targets


@pytest.mark.parametrize("takes_more", [False, True])
def test_replicas_at_different_versions(make, pair, takes_more):
    with make(targets(pair), timeout_seconds=9) as client:
        outcomes(client, 4)
        move_on(pair[0], takes_more)
        answers = [client.recommend(Query()) for _ in range(20)]

    assert {answer.degraded for answer in answers} == {WHOLE}
    # Neither answers for both, and what has changed is found out once.
    assert {answer.version for answer in answers} == {1, 2}
    assert sum(answer.retries for answer in answers) <= 2


@pytest.mark.parametrize("takes_more", [False, True])
def test_addresses_behind_a_name_at_different_versions(make, pair, takes_more):
    with make(f"ipv4:{','.join(targets(pair))}", timeout_seconds=9) as client:
        outcomes(client, 4)
        move_on(pair[0], takes_more)

        assert outcomes(client, 40) == [WHOLE] * 40


def test_many_callers_meet_two_versions_behind_a_name(pair):
    found = []
    with RecommenderClient(f"ipv4:{','.join(targets(pair))}") as client:
        outcomes(client, 4)
        move_on(pair[0], True)
        threads = [
            threading.Thread(target=lambda: found.extend(outcomes(client, 20)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert found == [WHOLE] * 160


def test_a_question_goes_to_the_version_that_takes_it(make, pair, monkeypatch):
    monkeypatch.setattr(learned, "_TRUSTED_SECONDS", 0.0)
    with make(targets(pair), timeout_seconds=9) as client:
        outcomes(client, 4)
        move_on(pair[0], True)
        asked = Query(features={"mood": "calm"})
        answers = [client.recommend(asked) for _ in range(20)]

        assert {answer.degraded for answer in answers} == {WHOLE}
        assert {answer.version for answer in answers} == {2}
        with pytest.raises(ServingError, match="mod"):
            client.recommend(Query(features={"mod": "calm"}))


@pytest.mark.parametrize("code", ["FAILED_PRECONDITION", "INVALID_ARGUMENT"])
def test_a_replica_that_refuses_what_it_says_it_takes(make, pair, code):
    first, _ = pair
    with make(targets(pair), timeout_seconds=9) as client:
        outcomes(client, 4)
        first.faults.update({("retrieval", 1): code, ("ranking", 1): code})

        assert outcomes(client, 20) == [WHOLE] * 20


def test_a_replica_that_refuses_and_goes(make, pair):
    first, _ = pair
    with make(targets(pair), timeout_seconds=9) as client:
        outcomes(client, 4)
        move_on(first, True)
        first.faults["retrieval", 2] = [None, "UNAVAILABLE"]

        assert outcomes(client, 4) == [WHOLE] * 4


@pytest.mark.parametrize("by_name", [False, True])
def test_mistakes_and_absent_models_cost_few_calls(make, by_name):
    with FakeServer(["retrieval"]) as one, FakeServer(["retrieval"]) as two:
        both = targets((one, two))
        with make(f"ipv4:{','.join(both)}" if by_name else both) as client:
            outcomes(client, 4)
            before = sum(one.calls.values()) + sum(two.calls.values())
            for _ in range(10):
                with pytest.raises(ServingError, match="Did you mean"):
                    client.retrieve(Query(features={"hous": 1}))
            assert outcomes(client, 10) == ["ranking unavailable"] * 10

    after = sum(one.calls.values()) + sum(two.calls.values())
    assert after - before < 60


def move_on(server, takes_more):
    """Gives a server's models a new version, which may take a feature more."""
    for model in server.versions:
        server.versions[model] = [2]
        if takes_more:
            for inputs in server.signatures[model].values():
                inputs["mood"] = (STRING, 1)


def test_stages_apart_at_different_versions(make):
    with contextlib.ExitStack() as stack:
        one, two, three, four = (
            stack.enter_context(FakeServer([model]))
            for model in ("retrieval", "retrieval", "ranking", "ranking")
        )
        with make(
            {"*": targets((one, two)), "ranking": targets((three, four))}
        ) as client:
            outcomes(client, 4)
            one.versions["retrieval"] = [2]

            # Nobody ranks version 2 yet: the other retrieval still has 1.
            answers = [client.recommend(Query()) for _ in range(10)]
            assert {
                (answer.version, answer.degraded) for answer in answers
            } == {(1, WHOLE)}

            three.versions["ranking"] = [1, 2]
            assert outcomes(client, 10) == [WHOLE] * 10
