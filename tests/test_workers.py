import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.config import ConfigError
from pipeline import workers

ROOT = Path(__file__).parent.parent
TF_CONFIG = {
    "cluster": {"chief": ["a:1"], "worker": ["b:2", "c:3"]},
    "task": {"type": "worker", "index": 1},
}


def test_flags_and_tf_config_name_the_workers():
    assert workers.find("", None, {}) == workers.Workers()
    found = workers.find("a:1, b:2", 1, {})
    assert (found.addresses, found.index) == (("a:1", "b:2"), 1)
    assert not found.is_chief
    found = workers.find("", None, {"TF_CONFIG": json.dumps(TF_CONFIG)})
    assert (found.addresses, found.index) == (("a:1", "b:2", "c:3"), 2)
    chief = TF_CONFIG | {"task": {"type": "chief", "index": 0}}
    assert workers.find("", None, {"TF_CONFIG": json.dumps(chief)}).is_chief
    # Flags come first; one worker is a plain training.
    assert workers.find("a:1", 0, {"TF_CONFIG": "x"}) == workers.Workers()


@pytest.mark.parametrize(
    ("addresses", "index", "config", "message"),
    [
        ("a:1,b:2", None, "", "one of the workers.*Received: none of 2"),
        ("a:1,b:2", 2, "", "counted from 0. Received: 2 of 2"),
        ("", 0, "", "Received: 0 of 0"),
        ("a,b:2", 0, "", "host:port. Received: a "),
        ("", None, "{", "TF_CONFIG must read"),
        ("", None, "[]", "TF_CONFIG must read"),
    ],
)
def test_workers_that_cannot_be_are_refused(addresses, index, config, message):
    with pytest.raises(ConfigError, match=message):
        workers.find(addresses, index, {"TF_CONFIG": config})


def free_ports(count):
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def start(*arguments, log=None, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ
        | {"CUDA_VISIBLE_DEVICES": "-1", "TF_NUM_INTRAOP_THREADS": "1"}
        | environment,
        stdout=log or subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes, seconds=120):
    try:
        for process in processes:
            output = process.communicate(timeout=seconds)[0]
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()


def trained(directory, index=0):
    told = json.loads((directory / f"curve-{index}.json").read_text())
    with np.load(directory / f"weights-{index}.npz") as saved:
        weights = [saved[name] for name in saved.files]
    return told, weights


def same(directory, other, index=0):
    told, weights = trained(directory, index)
    expected_told, expected = trained(other)
    assert expected_told["replicas"] == 1
    assert told["replicas"] == 2
    losses = [row["loss"] for row in told["curve"]]
    assert losses == pytest.approx(
        [row["loss"] for row in expected_told["curve"]], abs=2e-5
    )
    assert losses[1] < losses[0]
    for one, two in zip(weights, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-4)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    directory = tmp_path_factory.mktemp("one")
    finish(start("tests.replica_training", "one", directory))
    return directory


def test_two_devices_with_half_a_batch_train_as_one_with_all(alone, tmp_path):
    finish(start("tests.replica_training", "two", tmp_path))
    same(tmp_path, alone)


@pytest.mark.slow
def test_two_workers_with_half_a_batch_train_as_one_with_all(alone, tmp_path):
    addresses = ",".join(f"127.0.0.1:{port}" for port in free_ports(2))
    finish(
        *(
            start("tests.replica_training", addresses, tmp_path, index)
            for index in (0, 1)
        )
    )
    same(tmp_path, alone)
    same(tmp_path, alone, index=1)
