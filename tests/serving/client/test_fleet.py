"""The client over several replicas of which one fails; both clients alike.

Counts answers, never times them: `make bench-fleet` does that.
"""

import contextlib
import signal
import threading
import time

import pytest

from serving.client import (
    Query,
    RecommenderClient,
    Retry,
    ServingError,
)
from tests.support.fake_server import FakeServer
from tests.support.replica_faults import (
    WHOLE,
    Process,
    Relay,
    outcomes,
    predicts,
    silent,
    targets,
)
from tests.support.waiting import eventually


def test_a_stopped_replica_is_left_alone_and_found_again(make):
    with Process() as process, FakeServer() as other:
        with make([process.target, other.target], timeout_seconds=4) as client:
            assert outcomes(client, 4) == [WHOLE] * 4

            process.send(signal.SIGSTOP)
            answers = [client.recommend(Query()) for _ in range(40)]
            assert {answer.degraded for answer in answers} == {WHOLE}
            # Few meet the stopped one.
            assert sum(answer.retries > 0 for answer in answers) < 10

            def share():
                before = predicts(other)
                outcomes(client, 8)
                return predicts(other) - before

            # Two calls a question: all are the other's, then half of them.
            assert share() >= 16
            process.send(signal.SIGCONT)
            eventually(lambda: share() == 8)

            process.send(signal.SIGKILL)
            assert outcomes(client, 40) == [WHOLE] * 40


def test_a_first_question_of_its_size_is_not_lost_to_a_stopped_replica(make):
    with Process() as process, FakeServer() as other:
        with make([process.target, other.target], timeout_seconds=2) as client:
            assert outcomes(client, 4) == [WHOLE] * 4
            process.send(signal.SIGSTOP)
            sizes = [
                client.recommend(Query(history=["i1"] * length)).degraded
                for length in (500, 5000)
            ]

    # Replicas take turns, so one of the two began at the stopped one.
    assert sizes == [WHOLE] * 2


def test_a_port_that_accepts_and_says_nothing(make):
    with silent() as target, FakeServer() as other:
        with make([target, other.target], timeout_seconds=2) as client:
            assert outcomes(client, 20) == [WHOLE] * 20


def test_a_connection_that_is_dead_is_replaced(make, pair):
    first, second = pair
    with contextlib.closing(Relay(first.target)) as relay:
        with make([relay.target, second.target], timeout_seconds=3) as client:
            assert outcomes(client, 4) == [WHOLE] * 4
            relay.forget()
            assert outcomes(client, 10) == [WHOLE] * 10
            before = predicts(first)

            eventually(
                lambda: outcomes(client, 2) and predicts(first) > before, 30
            )


def test_a_replica_that_was_never_there(make):
    with FakeServer() as other:
        with make(["127.0.0.1:1", other.target], timeout_seconds=9) as client:
            answers = [client.recommend(Query()) for _ in range(20)]

    assert {answer.degraded for answer in answers} == {WHOLE}
    # It is remembered: one question tries it, and is not made to pause.
    assert sum(answer.retries for answer in answers) <= 1


def test_a_replica_that_refuses_every_call_gets_few(make, pair):
    first, second = pair
    with make(targets(pair), timeout_seconds=9) as client:
        outcomes(client, 4)
        first.faults.update(retrieval="UNAVAILABLE", ranking="UNAVAILABLE")
        before = predicts(first)

        assert outcomes(client, 60) == [WHOLE] * 60
        assert predicts(first) - before < 6

        first.faults.clear()
        eventually(
            lambda: outcomes(client, 2) and predicts(first) - before > 6, 30
        )


def test_a_slow_replica_is_overtaken(make, pair):
    first, _ = pair
    with make(targets(pair), timeout_seconds=4, fused="off") as client:
        outcomes(client, 6)
        first.delays.update(retrieval=3.6, ranking=3.6)
        before = predicts(first)

        assert outcomes(client, 20) == [WHOLE] * 20
        assert predicts(first) - before < 8


def test_a_deployment_that_is_slow_as_a_whole_is_waited_for(make, pair):
    for server in pair:
        server.delays["retrieval"] = 1.0
    with make(targets(pair), timeout_seconds=1.5) as client:
        # The signatures come as slowly: they have a deadline of their own.
        client.retrieve(Query(), timeout_seconds=9)

        for _ in range(2):
            assert client.retrieve(Query()).version == 1


def test_a_replica_that_lost_a_model(make, pair):
    first, _ = pair
    with make(targets(pair), timeout_seconds=9) as client:
        outcomes(client, 4)
        first.versions["ranking"] = []

        assert outcomes(client, 20) == [WHOLE] * 20


def test_stages_apart_take_turns_apart(make):
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(FakeServer([model]))
            for model in ("retrieval", "retrieval", "ranking", "ranking")
        ]
        with make(
            {"*": targets(servers[:2]), "ranking": targets(servers[2:])}
        ) as client:
            outcomes(client, 40)

    assert [predicts(server) for server in servers] == pytest.approx(
        [20] * 4, abs=2
    )


def test_a_replica_that_comes_and_goes(make, pair):
    first, _ = pair
    with make(targets(pair), timeout_seconds=1) as client:
        found, stop = [], threading.Event()

        def flap():
            while not stop.wait(0.3):
                first.stop()
                stop.wait(0.3)
                first.restart()

        thread = threading.Thread(target=flap)
        thread.start()
        end = time.monotonic() + 2
        while time.monotonic() < end:
            found += outcomes(client, 1)
        stop.set()
        thread.join()

    assert set(found) == {WHOLE}


def test_both_gone_then_one_back(make, pair):
    first, second = pair
    with make(targets(pair), timeout_seconds=1) as client:
        outcomes(client, 4)
        first.stop()
        second.stop()
        assert set(outcomes(client, 3)) == {"UNAVAILABLE"}
        second.restart()

        eventually(lambda: outcomes(client, 1) == [WHOLE], 10)
        assert outcomes(client, 10) == [WHOLE] * 10


def test_two_of_four_fail_in_two_ways(make, pair):
    with silent() as target:
        with make(
            [target, *targets(pair), "127.0.0.1:1"], timeout_seconds=3
        ) as client:
            assert outcomes(client, 30) == [WHOLE] * 30


def test_a_name_with_several_addresses_of_which_one_is_dead(make, pair):
    first, second = pair
    with make(f"ipv4:{first.target},{second.target}") as client:
        outcomes(client, 4)
        first.stop()

        assert outcomes(client, 20) == [WHOLE] * 20


def test_a_name_with_several_addresses_of_which_one_hangs(make):
    with Process() as process, FakeServer() as other:
        with make(
            f"ipv4:{process.target},{other.target}", timeout_seconds=1.5
        ) as client:
            outcomes(client, 4)
            process.send(signal.SIGSTOP)

            assert outcomes(client, 20).count(WHOLE) >= 18


def test_localhost_is_two_addresses(make):
    with FakeServer() as server:
        with make(f"localhost:{server.port}") as client:
            assert outcomes(client, 5) == [WHOLE] * 5


def test_many_callers_lose_a_replica_at_once(pair):
    first, _ = pair
    found = []
    with RecommenderClient(targets(pair), timeout_seconds=5) as client:
        outcomes(client, 4)
        threads = [
            threading.Thread(
                target=lambda: found.extend(outcomes(client, 30)),
            )
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        first.stop()
        for thread in threads:
            thread.join()

    assert found == [WHOLE] * 240


def test_an_overload_is_not_multiplied(make, pair):
    with make(
        targets(pair), retries=Retry(initial_backoff_seconds=0.001)
    ) as client:
        outcomes(client, 4)
        for server in pair:
            server.faults["retrieval"] = "UNAVAILABLE"
        before = predicts(pair[0]) + predicts(pair[1])

        for _ in range(60):
            with pytest.raises(ServingError):
                client.retrieve(Query())

        assert predicts(pair[0]) + predicts(pair[1]) - before < 90


def test_a_full_replica_is_asked_for_elsewhere_and_not_cut_off(make, pair):
    first, _ = pair
    with make(targets(pair), timeout_seconds=9) as client:
        outcomes(client, 20)
        first.faults["ranking"] = ["RESOURCE_EXHAUSTED"] * 5
        before = predicts(first)

        assert outcomes(client, 20) == [WHOLE] * 20
        assert not first.faults["ranking"]
        assert predicts(first) - before > 8
