"""The client over several replicas of which one fails; both clients alike.

Counts answers, never times them: `make bench-fleet` does that.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from serving.client import (
    AsyncRecommenderClient,
    Query,
    RecommenderClient,
    Retry,
    ServingError,
)
from tests.awaited import Awaited
from tests.fake_server import FakeServer
from tests.waiting import eventually

ROOT = Path(__file__).parent.parent
WHOLE = ""


@pytest.fixture(params=[RecommenderClient, Awaited], ids=["sync", "asyncio"])
def make(request):
    return request.param


@pytest.fixture
def pair():
    with FakeServer() as first, FakeServer() as second:
        yield first, second


def targets(servers):
    return [server.target for server in servers]


def predicts(server):
    return sum(
        count
        for (method, _), count in server.calls.items()
        if method == "Predict"
    )


def outcomes(client, count, **options):
    """How `count` recommendations end: "" whole, else degraded or a code."""
    found = []
    for _ in range(count):
        try:
            found.append(client.recommend(Query(), k=1, **options).degraded)
        except ServingError as error:
            found.append(error.code)
    return found


class Process:
    """A fake server in a process of its own, which a signal can stop."""

    def __init__(self):
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c"),
                "import sys; from tests.fake_server import FakeServer;"
                "print(FakeServer().target, flush=True); sys.stdin.read()",
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.target = self._process.stdout.readline().strip()

    def send(self, number):
        os.kill(self._process.pid, number)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait(10)
        self._process.stdin.close()
        self._process.stdout.close()


def test_a_stopped_replica_is_left_alone_and_found_again(make):
    with Process() as process, FakeServer() as other:
        with make([process.target, other.target], timeout_seconds=1) as client:
            assert outcomes(client, 4) == [WHOLE] * 4

            process.send(signal.SIGSTOP)
            began = time.monotonic()
            assert outcomes(client, 40) == [WHOLE] * 40
            # Half a deadline for each of the few that ask the stopped one.
            assert time.monotonic() - began < 5

            process.send(signal.SIGCONT)

            def share():
                start = predicts(other)
                assert outcomes(client, 8) == [WHOLE] * 8
                return predicts(other) - start

            # Two calls a question: half of sixteen are the other's.
            eventually(lambda: share() == 8, 20)

            process.send(signal.SIGKILL)
            assert outcomes(client, 40) == [WHOLE] * 40


@contextlib.contextmanager
def silent():
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_port_that_accepts_and_says_nothing(make):
    with silent() as target, FakeServer() as other:
        with make([target, other.target], timeout_seconds=0.6) as client:
            assert outcomes(client, 20) == [WHOLE] * 20


class Relay:
    """Passes connections on to a server, until told to forget them.

    As after a loss of power: connections that were open stay open and say
    nothing for ever, new ones find the server.
    """

    def __init__(self, target):
        host, port = target.split(":")
        self._server = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._forgotten = threading.Event()
        self._pipes = []
        threading.Thread(target=self._accept, daemon=True).start()

    def forget(self):
        self._forgotten.set()
        self._forgotten = threading.Event()

    def close(self):
        self._listener.close()
        for pipe in self._pipes:
            pipe.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._server)
                self._pipes += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(
                        target=self._pass,
                        args=(one, other, self._forgotten),
                        daemon=True,
                    ).start()

    def _pass(self, one, other, forgotten):
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                if not forgotten.is_set():
                    other.sendall(data)


def test_a_connection_that_is_dead_is_replaced(make, pair):
    first, second = pair
    with contextlib.closing(Relay(first.target)) as relay:
        with make([relay.target, second.target], timeout_seconds=1) as client:
            assert outcomes(client, 4) == [WHOLE] * 4
            relay.forget()
            assert outcomes(client, 10) == [WHOLE] * 10
            before = predicts(first)

            eventually(
                lambda: outcomes(client, 2) and predicts(first) > before, 15
            )


def test_a_replica_that_was_never_there(make):
    with FakeServer() as other:
        with make(["127.0.0.1:1", other.target]) as client:
            answers = [client.recommend(Query()) for _ in range(20)]

    assert {answer.degraded for answer in answers} == {WHOLE}
    # It is remembered: one question tries it, and is not made to pause.
    assert sum(answer.retries for answer in answers) <= 1


def test_a_replica_that_refuses_every_call_gets_few(make, pair):
    first, second = pair
    with make(targets(pair)) as client:
        outcomes(client, 4)
        first.faults.update(retrieval="UNAVAILABLE", ranking="UNAVAILABLE")
        before = predicts(first)

        assert outcomes(client, 60) == [WHOLE] * 60
        assert predicts(first) - before < 6

        first.faults.clear()
        eventually(
            lambda: outcomes(client, 2) and predicts(first) - before > 6, 15
        )


def test_a_slow_replica_is_overtaken(make, pair):
    first, _ = pair
    with make(targets(pair), timeout_seconds=1, fused="off") as client:
        outcomes(client, 6)
        first.delays.update(retrieval=0.9, ranking=0.9)
        before = predicts(first)

        assert outcomes(client, 20) == [WHOLE] * 20
        assert predicts(first) - before < 8


def test_a_deployment_that_is_slow_as_a_whole_is_waited_for(make, pair):
    for server in pair:
        server.delays["retrieval"] = 0.7
    with make(targets(pair), timeout_seconds=1) as client:
        # The signatures come as slowly: they have a deadline of their own.
        client.retrieve(Query(), timeout_seconds=9)

        for _ in range(4):
            assert client.retrieve(Query()).version == 1


def test_a_replica_that_lost_a_model(make, pair):
    first, _ = pair
    with make(targets(pair)) as client:
        outcomes(client, 4)
        first.versions["ranking"] = []

        assert outcomes(client, 20) == [WHOLE] * 20


def test_replicas_at_different_versions(make, pair):
    first, second = pair
    with make(targets(pair)) as client:
        outcomes(client, 4)
        first.versions.update(retrieval=[2], ranking=[2])
        found = {client.recommend(Query()).version for _ in range(20)}
        assert outcomes(client, 20) == [WHOLE] * 20

    assert found == {1, 2}


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
            [target, *targets(pair), "127.0.0.1:1"], timeout_seconds=1
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
            f"ipv4:{process.target},{other.target}", timeout_seconds=0.8
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
    with make(targets(pair)) as client:
        outcomes(client, 20)
        first.faults["ranking"] = ["RESOURCE_EXHAUSTED"] * 5
        before = predicts(first)

        assert outcomes(client, 20) == [WHOLE] * 20
        assert not first.faults["ranking"]
        assert predicts(first) - before > 8


def test_the_fused_model_that_hangs_is_named(make):
    with FakeServer(["retrieval", "ranking", "recommender"]) as server:
        with make(server.target, timeout_seconds=0.3) as client:
            assert client.recommend(Query(), k=1).fused
            server.delays["recommender"] = 1.0
            before = predicts(server)

            with pytest.raises(
                ServingError, match="'recommender'.*deadline 0.3 s"
            ):
                client.recommend(Query(), k=1)
            # Stages are not begun with nothing left.
            assert predicts(server) == before + 1
            answer = client.recommend(Query(), k=9, timeout_seconds=5)

    assert answer.degraded == WHOLE


def test_a_slow_first_stage_is_named_with_the_callers_deadline(make, pair):
    for server in pair:
        server.delays["retrieval"] = 3.0
    with make(targets(pair), timeout_seconds=0.4) as client:
        with pytest.raises(
            ServingError, match="'retrieval'.*deadline 0.4 s"
        ) as caught:
            client.recommend(Query())

    assert caught.value.code == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("wrong", [float("inf"), float("nan"), None, "2"])
def test_a_deadline_must_be_one(wrong):
    with pytest.raises(ServingError, match="`timeout_seconds` must be"):
        RecommenderClient("x:1", timeout_seconds=wrong)


def test_a_very_late_deadline_is_one(make, pair):
    with make(targets(pair), timeout_seconds=1e9) as client:
        assert outcomes(client, 4) == [WHOLE] * 4


def test_a_proxy_is_named(make, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:2")
    monkeypatch.delenv("no_proxy", raising=False)
    options = {"timeout_seconds": 1, "retries": Retry(attempts=1)}
    with FakeServer() as server:
        with make(server.target, **options) as client:
            with pytest.raises(ServingError, match="no_grpc_proxy") as caught:
                client.recommend(Query())
        with make(
            server.target, options={"grpc.enable_http_proxy": 0}, **options
        ) as client:
            assert outcomes(client, 1) == [WHOLE]
        monkeypatch.setenv("no_grpc_proxy", "10.0.0.1, 127.0.0.1")
        with make(server.target, **options) as client:
            assert outcomes(client, 1) == [WHOLE]

    assert "`http_proxy` (127.0.0.1:2)" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_closed_client_says_so(pair):
    client = RecommenderClient(targets(pair))
    client.recommend(Query())
    client.close()
    with pytest.raises(ServingError, match="client must be open") as caught:
        client.recommend(Query())
    assert caught.value.code == "FAILED_PRECONDITION"

    pair[0].delays["retrieval"] = pair[1].delays["retrieval"] = 1.0
    client = RecommenderClient(targets(pair), timeout_seconds=5)
    closing = threading.Timer(0.3, client.close)
    closing.start()
    with pytest.raises(ServingError, match="client must be open"):
        client.recommend(Query())
    closing.join()


def test_a_closed_asyncio_client_says_so(pair):
    async def close_before(target):
        client = AsyncRecommenderClient(target)
        await client.recommend(Query())
        await client.close()
        await client.recommend(Query())

    async def close_during(target):
        client = AsyncRecommenderClient(target, timeout_seconds=5)
        asking = asyncio.ensure_future(client.recommend(Query()))
        await asyncio.sleep(0.3)
        await client.close()
        await asking

    with pytest.raises(ServingError, match="client must be open"):
        asyncio.run(close_before(targets(pair)))
    pair[0].delays["retrieval"] = pair[1].delays["retrieval"] = 1.0
    with pytest.raises(ServingError, match="client must be open"):
        asyncio.run(close_during(targets(pair)))


def test_a_second_event_loop_is_refused(pair):
    client = AsyncRecommenderClient(targets(pair))

    async def ask():
        return await client.recommend(Query())

    assert asyncio.run(ask()).degraded == WHOLE
    with pytest.raises(ServingError, match="one event loop") as caught:
        asyncio.run(ask())
    assert caught.value.code == "FAILED_PRECONDITION"


def test_a_cancelled_question_ends_and_leaves_the_client_fit(pair):
    for server in pair:
        server.delays["retrieval"] = 0.5

    async def ask():
        async with AsyncRecommenderClient(targets(pair)) as client:
            asking = asyncio.ensure_future(client.recommend(Query()))
            await asyncio.sleep(0.1)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            return await client.recommend(Query(), timeout_seconds=9)

    assert asyncio.run(ask()).degraded == WHOLE


def forked(code):
    """Runs `code` in a process of its own; it forks with `child(function)`."""
    preamble = """
import asyncio, os, sys, threading, time
from serving.client import *
target = sys.argv[1]
def child(ask):
    process = os.fork()
    if process:
        for _ in range(100):
            if os.waitpid(process, os.WNOHANG)[0]:
                return
            time.sleep(0.05)
        os.kill(process, 9)
        print("hangs", flush=True)
        return
    try:
        print(ask().degraded or "whole", flush=True)
    except ServingError as error:
        print(error.code, str(error)[:26], flush=True)
    os._exit(0)
"""
    with FakeServer() as server:
        found = subprocess.run(
            [sys.executable, "-c", preamble + code, server.target],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    return found.stdout.splitlines()


REFUSED = "FAILED_PRECONDITION A process must not be fork"


def test_a_child_of_an_idle_client_asks():
    assert (
        forked("""
client = RecommenderClient(target)
child(lambda: client.recommend(Query()))
client.recommend(Query())
child(lambda: client.recommend(Query()))
child(lambda: RecommenderClient(target).recommend(Query()))
""")
        == ["whole"] * 3
    )


def test_a_child_forked_beside_questions_is_told():
    assert (
        forked("""
client = RecommenderClient(target)
def ask():
    while True:
        client.recommend(Query())
for _ in range(4):
    threading.Thread(target=ask, daemon=True).start()
time.sleep(0.3)
child(lambda: client.recommend(Query()))
child(lambda: RecommenderClient(target).recommend(Query()))
os._exit(0)
""")
        == [REFUSED] * 2
    )


def test_a_child_of_an_asyncio_client_is_told():
    assert forked("""
async def ask():
    async with AsyncRecommenderClient(target) as client:
        return await client.recommend(Query())
asyncio.run(ask())
child(lambda: asyncio.run(ask()))
os._exit(0)
""") == [REFUSED]


def test_a_question_outlasts_the_connection_that_is_replaced(pair):
    async def ask(target):
        async with AsyncRecommenderClient([target, "127.0.0.1:1"]) as client:
            await client.recommend(Query())
            relay.forget()
            with pytest.raises(ServingError):
                await client.retrieve(Query(), timeout_seconds=0.3)
            await asyncio.sleep(0.8)
            # A probe goes with it, and is given up after a second.
            await client.retrieve(Query(), timeout_seconds=2.5)

    with contextlib.closing(Relay(pair[0].target)) as relay:
        with pytest.raises(ServingError) as caught:
            asyncio.run(ask(relay.target))

    assert caught.value.code == "DEADLINE_EXCEEDED"
