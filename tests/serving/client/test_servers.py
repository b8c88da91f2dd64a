"""One suite for the client over every server there is.

`fake` answers from plain Python; on SavedModels, `servicer` is our server's
object without a network, `here` our server in this process and `process` as
operators start it; `real` is whatever SERVING_TARGET names, which must serve
the models of tests/support/toy_models.py (any TensorFlow Serving 2.20 will do):

    python -m tests.support.toy_models /tmp/toy 1 && \\
        SERVING_TARGET=host:8500 pytest \\
        tests/serving/client/test_servers.py
"""

import contextlib
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest

from serving.client import (
    BOTH_UNAVAILABLE,
    RANKING_UNAVAILABLE,
    RETRIEVAL_UNAVAILABLE,
    Query,
    RecommenderClient,
    ServingError,
)
from serving.client.command import load as bench
from serving.client.transport.threads import Threads
from tests.support import toy_models
from tests.support.fake_server import FakeServer
from tests.support.ports import free_port
from tests.support.waiting import Awaited, eventually

ROOT = Path(__file__).parents[3]


class Process:
    """Our server in a process of its own.

    Args:
        config: Its model config file.
        *flags: More of its flags.
    """

    def __init__(self, config, *flags, port=0):
        self.port = port or free_port()
        self.target = f"127.0.0.1:{self.port}"
        self._command = [
            *(sys.executable, "-m", "serving.server"),
            *(f"--port={self.port}", f"--model_config_file={config}"),
            *flags,
        ]
        self.log = config.parent / f"server-{self.port}.log"
        self.start()

    def start(self):
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, stdout=log, stderr=log
            )

    def wait(self, client, seconds=60):
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(ServingError):
                client.recommend(Query(), timeout_seconds=5)
                return
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def kill(self):
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)

    def stop(self):
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """One version of the toy models, to be copied."""
    directory = tmp_path_factory.mktemp("exported")
    toy_models.export(directory, 1)
    return directory


def repository(directory, exported, models=toy_models.MODELS):
    for model in models:
        shutil.copytree(exported / model, directory / model)
    return toy_models.models_config(directory, models)


class Local(RecommenderClient):
    """The client on a servicer object: bytes in, bytes out, no network."""

    def _kind(self, *options):
        self.connections = InProcess(*options)
        return self.connections


class InProcess(Threads):
    def stub(self, method, target):
        from tensorflow_serving import apis

        name = method.path.partition("/")[2]
        module = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
        messages = importlib.import_module(f"{apis.__name__}.{module}_pb2")
        theirs = getattr(messages, f"{name}Request")

        def send(request, timeout, metadata):
            ask = getattr(self.servicer, module)
            try:
                answer = ask(theirs.FromString(request.SerializeToString()))
            except ServingError as error:
                raise LocalError(error) from error
            return method.answer.FromString(answer.SerializeToString())

        return send


class LocalError(grpc.RpcError):
    """What a channel would raise."""

    def __init__(self, error):
        self._error = error

    def code(self):
        return getattr(grpc.StatusCode, self._error.code)

    def details(self):
        return str(self._error)


@pytest.fixture(
    scope="module", params=["fake", "servicer", "here", "process", "real"]
)
def make(request, tmp_path_factory):
    """Makes a client of one of the servers; takes its class and options."""
    kind = request.param
    with contextlib.ExitStack() as cleanup:
        if kind == "fake":
            target = cleanup.enter_context(FakeServer(toy_models.MODELS)).target
        elif kind == "real":
            if "SERVING_TARGET" not in os.environ:
                pytest.skip("SERVING_TARGET names no model server")
            target = os.environ["SERVING_TARGET"]
        else:
            exported = request.getfixturevalue("exported")
            config = repository(tmp_path_factory.mktemp("serving"), exported)
            if kind == "process":
                server = Process(config)
                cleanup.callback(server.stop)
                target = server.target
                with RecommenderClient(target) as client:
                    server.wait(client)
            else:
                from serving.server import flags
                from serving.server import process as server

                port = free_port()
                target = f"127.0.0.1:{port}"
                found = server.Server(
                    flags.parse(
                        [f"--port={port}", f"--model_config_file={config}"]
                    )
                )
                found.start()
                cleanup.callback(found.stop, 5)
        if kind == "servicer":

            def build(kind, **options):
                if kind is Awaited:
                    pytest.skip("a servicer is not asynchronous")
                client = Local("in-process:0", **options)
                client.connections.servicer = found.servicer
                return client

            yield build
        else:
            yield lambda kind, **options: kind(target, **options)


@pytest.fixture(params=[RecommenderClient, Awaited], ids=["sync", "asyncio"])
def client(request, make):
    with make(request.param, timeout_seconds=10, fused="off") as found:
        yield found


def test_both_stages(client):
    answer = client.recommend(Query("u", ["i19"], {"age": 30}), k=2)

    assert answer.item_ids == ("i11", "i12")
    assert answer.scores == (-11.0, -12.0)
    assert (answer.version, answer.degraded) == (1, "")


def test_a_batch_of_ragged_queries(client):
    answers = client.recommend(
        [
            Query(history=["i19"], excluded_ids=["i18", "i17"]),
            Query(features={"tags": ["a", "b"], "hour": 3}),
            Query(history=["never seen", "", "\udcff"]),
        ],
        k=1,
    )

    assert [answer.item_ids for answer in answers] == [
        ("i9",),
        ("i12",),
        ("i12",),
    ]


def test_a_batch_in_parts_is_answered_as_its_queries_are(client):
    queries = [
        Query(history=[f"i{n % 20}"], excluded_ids=[f"i{n % 7}"])
        for n in range(40)
    ]
    long = [f"x{n}" for n in range(9_000)]
    queries[20] = Query(history=[*long, "i19"], excluded_ids=["i18"])

    answers = client.recommend(queries, k=3)

    for at in (0, 19, 20, 21, 39):
        alone = client.recommend(queries[at], k=3)
        assert answers[at].item_ids == alone.item_ids


def test_single_stages(client):
    assert client.retrieve(Query(), k=2).scores == (19.0, 18.0)
    ranked = client.rank([Query(), Query()], [["i5", "i4"], ["i3"]], version=1)
    assert [items.item_ids for items in ranked] == [("i4", "i5"), ("i3",)]
    scored = client.rank(Query(), ["i8", "i4"], in_order=True)
    assert scored.scores == (-8.0, -4.0)
    assert scored.predicted_ratings == (-2.0, -1.0)
    assert client.similar_items("i19", k=1).item_ids == ("i18",)


def test_one_fused_call(make):
    with make(RecommenderClient, timeout_seconds=10) as client:
        answer = client.recommend(Query(history=["i19"]), k=2)

    assert answer.fused
    assert answer.item_ids == ("i18", "i17")


def test_status(client):
    assert {(row.model, row.version, row.state) for row in client.status()} == {
        (model, 1, "AVAILABLE") for model in toy_models.MODELS
    }


def test_a_version_that_is_not_there(client):
    with pytest.raises(ServingError, match="Specific.ranking, 99") as caught:
        client.rank(Query(), ["i1"], version=99)

    assert caught.value.code == "NOT_FOUND"


def swaps(target, directory, count, publish, load):
    """Swaps both models `count` times under load; returns (steady, swapped).

    Args:
        target: Of the server.
        directory: Its repository.
        count: Of swaps.
        publish: From a version to having it published.
        load: Of the closed loop.
    """
    with RecommenderClient(target, fused="off") as client:
        ask = bench.requests(client, load)
        steady = bench.closed(ask, load)
        done = threading.Event()
        seen, stop = [], time.perf_counter() + 600

        def is_live(version):
            # On a crowded machine a load may outlast the client's patience.
            with contextlib.suppress(ServingError):
                return client.retrieve(Query()).version == version

        def swap():
            try:
                for version in range(2, count + 2):
                    publish(version)
                    while not is_live(version):
                        if time.perf_counter() > stop:
                            return
                        time.sleep(0.02)
                    seen.append(version)
            finally:
                done.set()

        swapping = threading.Thread(target=swap)
        swapping.start()
        swapped = bench.closed(ask, load, "swap", done.is_set)
        swapping.join()
        assert len(seen) == count
    return steady, swapped


@pytest.mark.slow
def test_swaps_under_load_fail_no_request(tmp_path, exported, count=50):
    models = ("retrieval", "ranking")
    config = repository(tmp_path, exported, models)
    server = Process(config)

    def publish(version):
        # Ranking first: it is there when retrieval answers with the version.
        for model in reversed(models):
            staging = tmp_path / model / f".staging-{version}"
            shutil.copytree(exported / model / "1", staging)
            staging.rename(tmp_path / model / str(version))

    try:
        with RecommenderClient(server.target) as client:
            server.wait(client)
        load = bench.Load("recommend", threads=2, seconds=2.0)
        steady, swapped = swaps(server.target, tmp_path, count, publish, load)
    finally:
        server.stop()

    assert steady["failed"] == swapped["failed"] == {}
    assert swapped["degraded"] <= swapped["requests"] // 10
    assert set(swapped["versions"]) >= {2, count + 1}


@pytest.mark.slow
def test_a_killed_server_is_bridged_and_found_again(tmp_path, exported):
    config = repository(tmp_path, exported, ("retrieval", "ranking"))
    server = Process(config)
    popular = ["i19", "i1"]
    try:
        with RecommenderClient(
            server.target, popular=popular, timeout_seconds=1
        ) as client:
            with RecommenderClient(server.target) as probe:
                server.wait(probe)
            right = client.recommend(Query(history=["i19"]), k=1)
            answers, stop = [], threading.Event()

            def keep_asking():
                while not stop.is_set():
                    answers.append(
                        client.recommend(Query(history=["i19"]), k=1)
                    )
                    # Room for the server, which starts on the same CPUs.
                    time.sleep(0.02)

            asking = [threading.Thread(target=keep_asking) for _ in range(2)]
            for thread in asking:
                thread.start()
            time.sleep(0.3)
            server.kill()
            time.sleep(0.5)
            server.start()
            eventually(
                lambda: len(answers) >= 10 and not answers[-1].degraded, 60
            )
            stop.set()
            for thread in asking:
                thread.join()
    finally:
        server.stop()

    whole = [answer for answer in answers if not answer.degraded]
    bridged = [answer for answer in answers if answer.degraded]
    assert {answer.item_ids for answer in whole} == {right.item_ids}
    # The server may end or start between the two calls of one answer, which
    # then keeps retrieval's order, or has the popular items ranked.
    expected = {
        BOTH_UNAVAILABLE: ("i1",),
        RANKING_UNAVAILABLE: ("i18",),
        RETRIEVAL_UNAVAILABLE: ("i1",),
    }
    assert BOTH_UNAVAILABLE in {answer.degraded for answer in bridged}
    for answer in bridged:
        assert answer.item_ids == expected[answer.degraded]
