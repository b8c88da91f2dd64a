"""The REST port as HTTP: paths, methods, headers, metrics, broken callers."""

import contextlib
import gzip
import json
import random
import re
import socket
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.server import flags
from serving.server.health import Health
from serving.server.rest import api, channel, port
from tests.support import rest_calls
from tests.support.rest_calls import PREDICT
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with rest_calls.running(tmp_path_factory.mktemp("rest")) as found:
        yield found


@pytest.fixture
def ask(server):
    with rest_calls.asking(server.rest_port) as send:
        yield send


def test_outside_of_v1_is_a_bare_404(ask):
    status, text = ask("/other")
    assert status == 404
    assert "<H1>Not Found</H1>" in text
    assert ask.headers["Content-Type"] == "text/html"


def test_other_methods_are_malformed(ask):
    status, text = ask("/v1/models/affine", b"{}", "PUT")
    assert (status, "Malformed request: PUT" in text) == (400, True)


def test_cors(ask):
    ask("/v1/models/affine")
    assert ask.headers["Access-Control-Allow-Origin"] == "*"
    origin = {"Origin": "https://here"}
    assert ask(PREDICT, method="OPTIONS", headers=origin)[0] == 200
    assert ask(PREDICT, method="OPTIONS")[0] == 400


def test_what_follows_the_body_is_ignored(ask):
    assert ask(PREDICT, b' {"instances": [1]} and more')[0] == 200


def test_content_type_is_not_looked_at(ask):
    headers = {"Content-Type": "image/png"}
    assert ask(PREDICT, {"inputs": 1}, headers=headers)[0] == 200


def test_a_body_may_be_compressed(ask, server):
    body = b'{"instances": [1]}'
    headers = {"Content-Encoding": "gzip"}
    plain = ask(PREDICT, body)
    assert plain[0] == 200
    assert ask(PREDICT, gzip.compress(body), headers=headers) == plain
    for broken in (body, gzip.compress(body)[:-9]):
        status, text = ask(PREDICT, broken, headers=headers)
        assert status == 400
        assert "gzipped body" in text
    bomb = gzip.compress(b" " * 16_000_000 + body)
    status, text = ask(PREDICT, bomb, headers=headers)
    assert status == 400
    assert re.search(r"at most 1\d{6} bytes", text)
    bomb = gzip.compress(b" " * 1_000_000 + body)
    small = api.Rest(server.servicer, max_body_bytes=100_000)
    status, text = small.answer("POST", PREDICT, bomb, True)
    assert (status, "at most 100000 bytes" in text) == (400, True)
    assert ask(PREDICT, bomb, headers=headers) == plain


def test_metrics(ask):
    ask(PREDICT, {"inputs": 1})
    ask("/v1/models/absent")
    status, text = ask("/monitoring/prometheus/metrics")
    assert status == 200
    assert ask.headers["Content-Type"].startswith("text/plain")
    assert re.search(
        r"^:tensorflow:serving:request_count"
        r'\{model_name="affine",status="OK"\} [1-9]',
        text,
        re.MULTILINE,
    )
    assert 'request_count{model_name="absent",status="NOT_FOUND"} ' in text
    found = {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    labels = (
        ("API", "predict"),
        ("entrypoint", "REST"),
        ("model_name", "affine"),
    )
    assert (":tensorflow:serving:request_latency_count", labels) in found
    bounds = [
        sample
        for sample, present in found
        if sample == ":tensorflow:serving:request_latency_bucket"
        and labels[0] in present
    ]
    assert len(bounds) == 34


def test_a_thousand_mutated_bodies(server, ask):
    source = random.Random(7)
    goods = [
        (PREDICT, {"instances": [1, 2.5]}),
        (PREDICT, {"signature_name": "strings", "inputs": ["a", "\u2603"]}),
        ("/v1/models/examples:classify", {"examples": [{"x": 0.5}]}),
    ]
    application = api.Rest(server.servicer)
    statuses = set()
    for index in range(1_000):
        path, body = goods[index % 3]
        made = bytearray(json.dumps(body, ensure_ascii=False).encode())
        for _ in range(source.choice((1, 1, 3))):
            place = source.randrange(len(made))
            made[place] = source.randrange(256)
            if source.randrange(4) == 0:
                made[place:place] = source.choice(
                    (b"[" * 50, b"1e999", b'"\\ud800"', b"null", b"9" * 40)
                )
        statuses.add(application.answer("POST", path, bytes(made))[0])
    # 500 is what faults of ours would be called.
    assert statuses <= {200, 400, 404}
    for body in (b"[" * 100_000, b'{"inputs": ' + b"[" * 100_000):
        assert ask(PREDICT, body)[0] == 400


def test_a_slow_caller_holds_nobody_up(server, ask):
    with socket.create_connection(("127.0.0.1", server.rest_port)) as slow:
        slow.sendall(b"POST /v1/models/affine:predict HTTP/1.1\r\n")
        assert ask(PREDICT, {"inputs": 1})[0] == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /v1/models/affine HTTP/1.1\r\nHost: a\r\nbroken\r\n\r\n", 400),
        (b"POST /v1/a HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /v1/a HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
    ],
)
def test_what_is_no_http_is_refused_in_json(server, sent, status):
    address = ("127.0.0.1", server.rest_port)
    with socket.create_connection(address, timeout=10) as caller:
        caller.sendall(sent)
        answer = b"".join(iter(lambda: caller.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert b"Content-Type: application/json" in head
    assert list(json.loads(body)) == ["error"]


def _open(server, count, sent):
    found = []
    for _ in range(count):
        one = socket.create_connection(("127.0.0.1", server.rest_port))
        one.sendall(sent)
        found.append(one)
    return found


def test_callers_that_never_end_do_not_close_the_port(server, ask, monkeypatch):
    monkeypatch.setattr(channel, "MAX_CONNECTIONS", 20)
    assert ask(PREDICT, {"inputs": 1})[0] == 200
    held = _open(server, 60, b"P")
    try:
        with rest_calls.asking(server.rest_port) as another:
            for _ in range(3):
                assert another(PREDICT, {"inputs": 1})[0] == 200
    finally:
        for one in held:
            one.close()


def test_bodies_that_never_end_take_no_room(server, ask, monkeypatch):
    monkeypatch.setattr(channel, "MAX_HELD_BYTES", 2**20)
    head = b"POST /v1/models/affine:predict HTTP/1.1\r\n"
    head += b"Content-Length: 1000000\r\n\r\n"
    held = _open(server, 6, head + b"x" * 400_000)
    body = json.dumps({"inputs": 1}).encode() + b" " * 300_000
    try:
        with rest_calls.asking(server.rest_port) as another:
            assert another(PREDICT, body)[0] == 200
    finally:
        for one in held:
            one.close()


def test_a_body_beyond_all_room_is_refused(server, monkeypatch):
    monkeypatch.setattr(channel, "MAX_HELD_BYTES", 0)
    monkeypatch.setattr(channel, "_waiting", lambda server: [])
    with rest_calls.asking(server.rest_port) as ask:
        assert ask(PREDICT, {"inputs": 1})[0] == 200
        status, text = ask(PREDICT, b" " * 300_000)
        assert (status, "room" in json.loads(text)["error"]) == (503, True)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /v1/models/affine HTTP/1.1\r\nA: " + b"a" * 40_000,
        b"POST /v1/a HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"POST /v1/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"f" * 5000
        + b"\r\n",
        b"\r\n" * 40_000,
    ],
    ids=["header", "length", "chunk", "blank lines"],
)
def test_heads_without_end_are_cut_off(server, ask, sent):
    address = ("127.0.0.1", server.rest_port)
    with socket.create_connection(address, timeout=10) as caller:
        with contextlib.suppress(OSError):
            caller.sendall(sent)
            caller.shutdown(socket.SHUT_WR)
            for _ in iter(lambda: caller.recv(65536), b""):
                pass
    assert ask(PREDICT, {"inputs": 1})[0] == 200


def test_faults_of_ours_tell_callers_nothing(server, monkeypatch):
    def fail(*_):
        raise OSError("/secret/path")

    monkeypatch.setattr(server.servicer, "predict", fail)
    application = api.Rest(server.servicer)
    status, text = application.answer("POST", PREDICT, b'{"inputs": 1}')
    assert status == 500
    assert "secret" not in text and "OSError" not in text


def test_names_that_nobody_has_leave_room_for_models(server):
    application = api.Rest(server.servicer)
    for number in range(3_000):
        application.answer("GET", f"/v1/models/no{number}", b"")
    application.answer("GET", "/v1/models/" + "n" * 10_000, b"")
    page = server.servicer.metrics.page()
    rows = [line for line in page.splitlines() if "request_count{" in line]
    assert len(rows) < 150
    assert max(map(len, rows)) < 200
    assert any('model_name="affine"' in row for row in rows)
    assert any('model_name="other",status="NOT_FOUND"' in row for row in rows)


@pytest.fixture
def large(monkeypatch):
    """A port of two threads whose answers are of twelve million bytes."""

    def answer(environ, start_response):
        start_response("200 OK", [("Content-Length", "12000000")])
        return [b"x" * 12_000_000]

    monkeypatch.setattr(port, "Rest", lambda *_: answer)
    health = Health(None, lambda: False, lambda: [])
    found = port.RestServer(
        None, flags.parse(["--rest_api_num_threads=2"]), health
    )
    yield found
    found.close(time.monotonic())


def _read(answers_port):
    """The bytes of an answer to one who reads it."""
    with socket.create_connection(("127.0.0.1", answers_port), 10) as caller:
        caller.sendall(b"GET /a HTTP/1.1\r\nConnection: close\r\n\r\n")
        return sum(map(len, iter(lambda: caller.recv(2**20), b"")))


def test_callers_that_do_not_read_hold_nobody_up(large):
    held = [
        socket.create_connection(("127.0.0.1", large.port), 10)
        for _ in range(4)
    ]
    for one in held:
        one.sendall(b"GET /a HTTP/1.1\r\n\r\n" * 8)
    assert _read(large.port) > 12_000_000
    # Who asks on and does not read is let go.
    eventually(lambda: not large._server.active_channels)
    for one in held:
        one.close()


def test_answers_that_nobody_reads_take_no_room(large, monkeypatch):
    monkeypatch.setattr(channel, "MAX_UNREAD_BYTES", 20_000_000)
    held = [
        socket.create_connection(("127.0.0.1", large.port), 10)
        for _ in range(6)
    ]
    for one in held:
        one.sendall(b"GET /a HTTP/1.1\r\n\r\n")
        time.sleep(0.2)
    assert _read(large.port) > 12_000_000
    channels = list(large._server.active_channels.values())
    assert sum(one.total_outbufs_len for one in channels) <= 20_000_000
    for one in held:
        one.close()


def test_a_closed_port_takes_nobody():
    health = Health(None, lambda: False, lambda: [])
    for _ in range(20):
        opened = port.RestServer(None, flags.parse([]), health)
        time.sleep(0.02)  # The loop waits for callers.
        opened.close(time.monotonic())
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", opened.port), 10)
