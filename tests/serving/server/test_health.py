"""Probes over HTTP, also of a busy server and of one that stops."""

import contextlib
import datetime
import http.client
import json
import re
import signal
import threading
import time

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support import serving_models
from tests.support.ports import free_port
from tests.support.serving_calls import (
    predict_request,
    running,
    spawned,
    states,
)
from tests.support.waiting import eventually

SLOW = "/v1/models/affine:predict"


def ask(port, path, body=None):
    """Status and text, over a connection of its own as probes come."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET" if body is None else "POST", path, body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def slow_body(steps):
    return json.dumps({"signature_name": "slow", "inputs": {"steps": [steps]}})


def slow_request(steps):
    return predict_request(
        signature="slow", inputs={"steps": np.int64([steps])}
    )


class Asking(threading.Thread):
    """A call in the background; `answer` is what it gave or raised."""

    def __init__(self, call, *arguments):
        super().__init__(daemon=True)
        self.answer = None
        self._call = (call, arguments)
        self.start()

    def run(self):
        call, arguments = self._call
        try:
            self.answer = call(*arguments)
        except (OSError, grpc.RpcError, http.client.HTTPException) as error:
            self.answer = error


@pytest.fixture
def base(tmp_path):
    serving_models.publish(
        serving_models.originals()["affine"], tmp_path / "affine", 1
    )
    return tmp_path / "affine"


@contextlib.contextmanager
def serving(base, *arguments):
    port = free_port()
    with running(
        "--model_name=affine",
        f"--model_base_path={base}",
        f"--rest_api_port={port}",
        *arguments,
    ) as (server, remote):
        yield server, remote, port


def test_ready_means_that_every_model_answers(tmp_path, base):
    serving_models.publish(base / "1", tmp_path / "other", 4)
    config = tmp_path / "models.config"

    def configure(*names):
        entries = "".join(
            f'config {{ name: "{name}" base_path: "{tmp_path / name}" '
            'model_platform: "tensorflow" }'
            for name in names
        )
        config.write_text(f"model_config_list {{ {entries} }}")

    configure("affine", "other")
    port = free_port()
    with running(
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=0.05",
        "--file_system_poll_wait_seconds=0.05",
        f"--rest_api_port={port}",
    ) as (_, remote):
        assert ask(port, "/readyz") == (200, "ok\n")
        (tmp_path / "other" / "4").rename(tmp_path / "gone")
        eventually(lambda: states(remote, "other") == {4: "END"})
        assert ask(port, "/readyz") == (
            503,
            "no version is available of other\n",
        )
        assert ask(port, "/healthz") == (200, "ok\n")
        (tmp_path / "gone").rename(tmp_path / "other" / "4")
        eventually(lambda: ask(port, "/readyz")[0] == 200)
        configure()
        eventually(
            lambda: ask(port, "/readyz") == (503, "no models are configured\n")
        )
        # A known model that comes back without a version was never ready.
        (tmp_path / "other" / "4").rename(tmp_path / "gone")
        configure("other")
        eventually(lambda: ask(port, "/readyz")[1].endswith("of other\n"))


def test_a_busy_server_lives_and_is_ready(base):
    with serving(
        base,
        "--rest_api_num_threads=1",
        "--grpc_max_threads=1",
        "--enable_grpc_healthcheck_service",
    ) as (_, remote, port):
        held = [
            Asking(ask, port, SLOW, slow_body(400_000)),
            Asking(remote, slow_request(400_000)),
        ]
        time.sleep(0.5)
        behind = [
            Asking(ask, port, SLOW, slow_body(1)),
            Asking(remote, slow_request(1)),
        ]
        assert ask(port, "/healthz") == (200, "ok\n")
        assert ask(port, "/readyz") == (200, "ok\n")
        stub = health_pb2_grpc.HealthStub(remote.channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=30)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        # The threads were taken all the while: those behind still wait.
        assert [asking.answer for asking in held + behind] == [None] * 4
        for asking in held + behind:
            asking.join()
        assert behind[0].answer[0] == 200
        assert behind[1].answer.model_spec.version.value == 1


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning"
)
def test_a_loop_that_ended_is_no_life(base, monkeypatch):
    with serving(base, "--file_system_poll_wait_seconds=0.05") as (
        server,
        _,
        port,
    ):
        assert ask(port, "/healthz")[0] == 200
        monkeypatch.setattr(server.core.source, "poll", lambda: exit(1))
        eventually(lambda: ask(port, "/healthz")[0] == 503)
        assert ask(port, "/healthz")[1] == "loops have ended: poll-versions\n"


@contextlib.contextmanager
def process(base, *arguments):
    """A server of its own with both ports and the tools to ask it."""
    port, rest = free_port(), free_port()
    with spawned(
        f"--rest_api_port={rest}",
        "--model_name=affine",
        f"--model_base_path={base}",
        *arguments,
        port=port,
    ) as (started, remote):
        eventually(lambda: states(remote) == {1: "AVAILABLE"}, 60)
        yield started, remote, rest


@pytest.mark.slow
def test_a_server_that_stops_says_so_first_and_answers_what_it_has(base):
    with process(base) as (started, remote, port):
        for message in (b"\xff\xff", b"\x0a\xff"):
            with pytest.raises(grpc.RpcError) as caught:
                remote.channel.unary_unary(
                    "/tensorflow.serving.PredictionService/Predict"
                )(message)
            assert caught.value.code() == grpc.StatusCode.INTERNAL
        held = [
            Asking(ask, port, SLOW, slow_body(300_000)),
            Asking(remote, slow_request(300_000)),
        ]
        time.sleep(0.2)
        assert [asking.answer for asking in held] == [None, None]
        started.send_signal(signal.SIGTERM)
        eventually(lambda: ask(port, "/readyz")[0] == 503)
        assert ask(port, "/readyz")[1] == "the server is stopping\n"
        assert ask(port, "/healthz") == (200, "ok\n")
        eventually(lambda: ask(port, SLOW, slow_body(1))[0] == 503)
        assert "stopping" in ask(port, SLOW, slow_body(1))[1]
        for asking in held:
            asking.join()
        log, _ = started.communicate(timeout=30)
    for event in ("version_available", "server_ready", "server_stopped"):
        assert log.count(f"INFO {event}") == 1, log
    # Not for the messages that were none either.
    assert "Traceback" not in log
    assert held[0].answer[0] == 200
    assert held[1].answer.outputs["steps"].int64_val == [300_000]
    assert started.returncode == 0


@pytest.mark.slow
def test_all_ports_stop_within_one_deadline(base):
    endless = 10**15
    with process(base, "--drain_seconds=2") as (started, remote, port):
        held = [
            Asking(ask, port, SLOW, slow_body(endless)),
            Asking(remote, slow_request(endless)),
        ]
        time.sleep(0.2)
        started.send_signal(signal.SIGTERM)
        log, _ = started.communicate(timeout=60)
        assert started.returncode == 0
        for asking in held:
            asking.join()
            assert isinstance(asking.answer, Exception)
    told, ended = (
        datetime.datetime.fromisoformat(
            re.search(rf"^(\S+) INFO {event}", log, re.M)[1]
        )
        for event in ("server_stopping", "server_stopped")
    )
    # REST, gRPC and the models in turn would take at least three times that.
    assert (ended - told).total_seconds() < 3 * 2
