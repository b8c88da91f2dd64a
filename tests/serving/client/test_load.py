"""The load generator counts what happened and hides no stall."""

import json
import threading
import time
from types import SimpleNamespace

import pytest

from serving.client import RecommenderClient, ServingError
from serving.client.command import load as bench
from serving.client.command import tables
from tests.support.fake_server import FakeServer


def answer(**fields):
    return [SimpleNamespace(version=1, **fields)]


def test_quantiles():
    found = bench.quantiles([4, 1, 3, 2])

    assert found == {"p50_ms": 3, "p95_ms": 4, "p99_ms": 4, "max_ms": 4}


def test_the_open_loop_counts_the_wait_that_the_closed_one_hides():
    """One stall of 0.3 s: everyone due meanwhile waits, in both loops."""

    def make():
        lock, state = threading.Lock(), {"calls": 0}

        def ask():
            with lock:
                state["calls"] += 1
                time.sleep(0.3 if state["calls"] == 20 else 0.0005)
            return answer()

        return ask

    load = bench.Load(threads=1, seconds=1.0, rate=100)
    closed, opened = bench.closed(make(), load), bench.opened(make(), load)

    # The closed loop saw one slow request, the open one about thirty.
    assert closed["p95_ms"] < 50 < opened["p95_ms"]


def test_the_open_loop_keeps_its_rate():
    load = bench.Load(threads=2, seconds=1.0, rate=200)

    result = bench.opened(answer, load)

    assert result["requests"] == 200
    assert 150 < result["per_second"] < 280


def test_nothing_measured_is_null_in_json():
    report = bench.Report([bench.quantiles([]) | {"failed": {"UNKNOWN": 3}}])

    found = json.loads(json.dumps(tables.document(report), allow_nan=False))

    assert found[0]["p99_ms"] is None and found[0]["failed"] == {"UNKNOWN": 3}


def test_failures_are_counted_by_code_and_have_no_latency():
    calls = iter(range(10**6))

    def ask():
        if next(calls) % 2:
            raise ServingError("ordered", "UNAVAILABLE")
        return answer(degraded="ranking unavailable", retries=2)

    result = bench.opened(ask, bench.Load(threads=1, seconds=0.2, rate=100))

    assert result["requests"] == 20
    assert result["failed"] == {"UNAVAILABLE": 10}
    assert result["max_ms"] > 0
    assert sum(result["versions"].values()) == 10
    assert result["degraded"] == 10
    assert result["retries"] == 20


@pytest.mark.parametrize("method", bench.METHODS)
def test_both_loops_against_a_server(method):
    with FakeServer() as server, RecommenderClient(server.target) as client:
        report = bench.run(client, bench.Load(method, 2, 0.3, 50, batch=2))

    assert [row["loop"] for row in report] == ["closed", "open"]
    assert all(row["failed"] == {} for row in report)
    assert report[1]["requests"] == 15
    assert "p99 ms" in str(report)


@pytest.mark.parametrize(
    "options", [{"method": "x"}, {"threads": 0}, {"rate": -1}]
)
def test_loads_are_checked(options):
    with pytest.raises(ServingError, match="Received: "):
        bench.Load(**options)
