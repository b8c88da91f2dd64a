"""A client's beginnings and ends: deadlines, proxies, close, loops, forks."""

import asyncio
import contextlib
import subprocess
import sys
import threading

import pytest

from serving.client import (
    AsyncRecommenderClient,
    Query,
    RecommenderClient,
    Retry,
    ServingError,
)
from tests.support.fake_server import FakeServer
from tests.support.replica_faults import (
    ROOT,
    WHOLE,
    Relay,
    outcomes,
    predicts,
    targets,
)


def test_the_fused_model_that_hangs_is_named(make):
    with FakeServer(["retrieval", "ranking", "recommender"]) as server:
        with make(server.target, timeout_seconds=0.3) as client:
            # The signatures come with it: a deadline of its own.
            assert client.recommend(Query(), k=1, timeout_seconds=9).fused
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
        # It reaches the same, and looks like another machine.
        target = server.target.replace("127.0.0.1", "0.0.0.0")
        with make(target, **options) as client:
            with pytest.raises(ServingError, match="no_grpc_proxy") as caught:
                client.recommend(Query())
        with make(
            target, options={"grpc.enable_http_proxy": 0}, **options
        ) as client:
            assert outcomes(client, 1) == [WHOLE]
        monkeypatch.setenv("no_grpc_proxy", "10.0.0.1, 0.0.0.0")
        with make(target, **options) as client:
            assert outcomes(client, 1) == [WHOLE]

    assert "`http_proxy` (127.0.0.1:2)" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_this_machine_is_reached_without_a_proxy(make, monkeypatch):
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:2")
    options = {"timeout_seconds": 1, "retries": Retry(attempts=1)}
    with FakeServer() as server:
        port = server.target.rpartition(":")[2]
        targets = [
            server.target,
            f"ipv4:{server.target}",
            f"localhost:{port}",
            f"dns:///localhost:{port}",
        ]
        for target in targets:
            with make(target, **options) as client:
                assert outcomes(client, 1) == [WHOLE]
        # Who wants it through the proxy can say so.
        asked = {"options": {"grpc.enable_http_proxy": 1}} | options
        with make(server.target, **asked) as client:
            with pytest.raises(ServingError, match="no_grpc_proxy"):
                client.recommend(Query())


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


# gRPC's thread goes with the last channel; were one left for Python's end to
# collect, the process might never end.
_LEAVES_NOTHING = """
import asyncio, gc, sys, threading
from serving.client import AsyncRecommenderClient, Query, ServingError
gc.disable()
async def ask():
    async with AsyncRecommenderClient(sys.argv[1:]) as client:
        for _ in range(4):
            print((await client.recommend(Query())).degraded)
    async with AsyncRecommenderClient(sys.argv[1]) as client:
        try:
            await client.recommend(Query())
        except ServingError as error:
            print(error.code)
asyncio.run(ask())
print(threading.enumerate() == [threading.main_thread()])
"""


def test_a_closed_asyncio_client_leaves_no_thread(pair):
    first, second = pair
    first.faults.update(retrieval="UNAVAILABLE", ranking="UNAVAILABLE")
    second.faults.update(ranking="INTERNAL")
    done = subprocess.run(
        [sys.executable, "-c", _LEAVES_NOTHING, *targets(pair)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )

    assert done.stdout.split("\n") == [
        *["ranking unavailable"] * 4,
        "UNAVAILABLE",
        "True",
        "",
    ], done.stderr


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
