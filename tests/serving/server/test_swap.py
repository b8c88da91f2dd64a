"""Versions swapped while requests arrive."""

import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf

import tests.support.serving_calls as calls
import tests.support.serving_models as models
from serving.bench import swaps as bench_swap
from serving.client.command import load as bench
from tests.support import toy_models
from tests.support.waiting import eventually

SLOPES = {1: 0.5, 2: 1 / 3}


@pytest.fixture
def base(tmp_path):
    """Two versions that answer differently."""
    for version, name in ((1, "affine"), (2, "third")):
        models.publish(models.originals()[name], tmp_path / "m", version)
    return tmp_path / "m"


def wanted(base, *versions):
    policy = {"specific": {"versions": versions}}
    return calls.reload_request(
        {
            "name": "m",
            "base_path": str(base),
            "model_version_policy": policy,
        }
    )


def config_text(base, *versions):
    return str(wanted(base, *versions).config)


@pytest.fixture
def config(tmp_path, base):
    path = tmp_path / "models.config"
    path.write_text(config_text(base, 1))
    return path


class Load:
    """Asks all the time; every answer must be the one of its version."""

    def __init__(self, target, threads=3):
        self.seconds = []
        self.failures = []
        self.versions = set()
        self._target = target
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask) for _ in range(threads)
        ]

    def _ask(self):
        remote = calls.Remote(self._target)
        request = calls.predict_request("m", {"x": np.float32([1, 2, 4])})
        while not self._stop.is_set():
            start = time.perf_counter()
            try:
                answer = remote(request)
                version = answer.model_spec.version.value
                expected = np.float32([1, 2, 4]) * SLOPES[version] + 2
                if not np.allclose(answer.outputs["y"].float_val, expected):
                    self.failures.append(f"version {version}: {answer}")
                self.versions.add(version)
            except grpc.RpcError as error:
                self.failures.append(f"{error.code()} {error.details()}")
            self.seconds.append(time.perf_counter() - start)
            # Room for the swaps: this is not a test of throughput.
            time.sleep(0.001)
        remote.close()

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *unused):
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("swaps", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_swaps_lose_no_request(config, base, swaps):
    with calls.running(f"--model_config_file={config}") as (_, call):
        with Load(call.target) as load:
            for index in range(swaps):
                version = 2 - index % 2
                call(wanted(base, version))
                eventually(
                    lambda n=version: (
                        calls.states(call, "m").get(n) == "AVAILABLE"
                    )
                )
                eventually(
                    lambda n=version: (
                        calls.states(call, "m").get(3 - n, "END") == "END"
                    )
                )
        assert load.failures == []
        assert load.versions == {1, 2}
        assert len(load.seconds) > 10 * swaps


def test_a_slow_request_finishes_on_its_version(config, base):
    with calls.running(f"--model_config_file={config}") as (_, call):
        request = calls.predict_request(
            "m", {"steps": np.int64([150_000])}, signature="slow"
        )
        answers = []
        asking = threading.Thread(target=lambda: answers.append(call(request)))
        asking.start()
        eventually(lambda: call(calls.predict_request("m")))
        call(wanted(base, 2))
        eventually(lambda: calls.states(call, "m").get(2) == "AVAILABLE")
        call(calls.predict_request("m", version=2))
        asking.join()
        assert answers[0].model_spec.version.value == 1
        assert answers[0].outputs["steps"].int64_val == [150_000]
        eventually(lambda: calls.states(call, "m")[1] == "END")


@pytest.fixture
def stages(tmp_path, monkeypatch, swaps):
    """The models.config of both stages; with 50 swaps, graphs of thousands."""
    numbers = toy_models._numbers

    def many_nodes(ids):
        found = numbers(ids)
        for _ in range(20 * swaps):
            found = tf.abs(found)
        return found

    monkeypatch.setattr(toy_models, "_numbers", many_nodes)
    toy_models.export(tmp_path, 1, bench_swap.STAGES)
    for name in bench_swap.STAGES:
        # As our exports do: the first run of a graph this size takes seconds.
        inputs = {
            spec.name: np.full(
                [1] * len(spec.shape),
                b"" if spec.dtype is tf.string else 0,
                spec.dtype.as_numpy_dtype,
            )
            for spec in toy_models.specs(
                toy_models.QUERY | toy_models.CANDIDATES
            )
        }
        if name == "retrieval":
            inputs.pop("candidate_ids")
        models.write_warmup(
            tmp_path / name / "1", calls.predict_request(name, inputs)
        )
    return toy_models.models_config(tmp_path, bench_swap.STAGES, [1])


@pytest.mark.slow
@pytest.mark.parametrize("swaps", [50])
def test_swaps_of_both_stages_lose_no_request(stages, swaps):
    load = bench.Load(seconds=1, rate=40, threads=2)

    report = bench_swap.run(stages, load, swaps)

    assert [row["loop"] for row in report] == ["steady", "swapping"] * 5
    assert not any(row["failed"] for row in report)
    swapping = report[1::2]
    asked = sum(row["requests"] for row in swapping)
    # On a crowded machine a few may outlast the client's patience.
    assert sum(row["degraded"] for row in swapping) <= asked // 10
    assert asked > 4 * swaps
    assert sum(row["swaps"] for row in swapping) >= swaps
    # How much slower they are is for the bench to say, on a quiet machine.
    assert "times the steady one" in str(report)
