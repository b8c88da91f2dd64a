import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from models.config import ConfigError
from pipeline.run import workers
from tests.support.ports import free_ports

ROOT = Path(__file__).parents[3]
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
        ("", None, '{"cluster": {"worker": [1]}}', "TF_CONFIG must read"),
    ],
)
def test_workers_that_cannot_be_are_refused(addresses, index, config, message):
    with pytest.raises(ConfigError, match=message):
        workers.find(addresses, index, {"TF_CONFIG": config})


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


def finish(*processes, seconds=400):
    try:
        for process in processes:
            output = process.communicate(timeout=seconds)[0]
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()


def trained(directory, name):
    told = json.loads((directory / f"curve-{name}.json").read_text())
    with np.load(directory / f"weights-{name}.npz") as saved:
        weights = [saved[key] for key in saved.files]
    return told, weights


def same(directory, *names):
    """Losses and weights of two copies are those of one with all targets."""
    alone, expected = trained(directory, "alone")
    assert alone["replicas"] == 1
    # The control: copies that do not hear of each other have other losses.
    assert abs(alone["joint"] - alone["apart"]) > 0.1
    for name in names:
        told, weights = trained(directory, name)
        assert told["replicas"] == 2
        losses = [row["loss"] for row in told["curve"]]
        assert losses == pytest.approx(
            [row["loss"] for row in alone["curve"]], abs=2e-5
        )
        assert losses[1] < losses[0]
        for one, two in zip(weights, expected, strict=True):
            np.testing.assert_allclose(one, two, atol=2e-4)


@pytest.mark.slow
def test_two_devices_with_half_a_batch_train_as_one_with_all(tmp_path):
    finish(start("tests.support.replica_training", "devices", tmp_path))
    same(tmp_path, "both")


@pytest.mark.slow
def test_two_workers_with_half_a_batch_train_as_one_with_all(tmp_path):
    addresses = ",".join(f"127.0.0.1:{port}" for port in free_ports(2))
    module = "tests.support.replica_training"
    finish(
        start(module, "alone", tmp_path),
        *(start(module, addresses, tmp_path, index) for index in (0, 1)),
    )
    same(tmp_path, 0, 1)


@pytest.mark.slow
def test_a_killed_worker_goes_on_from_the_last_checkpoint(tmp_path):
    options = (
        f"artifacts={tmp_path}/artifacts",
        "source.num_users=200",
        "source.num_items=100",
        "source.interactions_per_user=14",
        "retrieval.encoder=bow",
        "retrieval.embedding_dim=8",
        "retrieval.batch_positions=64",
        "retrieval.epochs=5",
    )
    command = [
        "tests.support.small_groups",
        "--debug",
        *(f"--set={option}" for option in options),
    ]
    run = tmp_path / "artifacts" / "runs" / "sample"

    def both(name):
        ports = free_ports(2)
        addresses = ",".join(f"127.0.0.1:{port}" for port in ports)
        arguments = [*command, "train-retrieval", "--workers", addresses]
        processes, logs = [], []
        for index in (0, 1):
            logs.append(tmp_path / f"{name}-{index}.log")
            with logs[-1].open("w") as log:
                processes.append(start(*arguments, "--worker", index, log=log))
        return processes, logs

    processes, logs = both("early")
    for process in processes:
        assert process.wait(300) == 1
    assert "must be up to date before several workers" in logs[0].read_text()

    finish(start(*command, "prepare"))
    processes, logs = both("first")
    try:
        wait_for(lambda: list(run.glob(".checkpoints/*/base.npz")), logs)
        processes[1].send_signal(signal.SIGKILL)
        # Told by its peer's silence or, where that takes long, by us.
        try:
            processes[0].wait(15)
            assert "Start all workers again" in logs[0].read_text()
        except subprocess.TimeoutExpired:
            processes[0].kill()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert not (run / "train-retrieval").exists()

    processes, logs = both("second")
    try:
        for process, log in zip(processes, logs, strict=True):
            assert process.wait(400) == 0, log.read_text()
    finally:
        for process in processes:
            process.kill()
    text = [log.read_text() for log in logs]
    for words in text:
        assert "going on after epoch" in words
    # Only the final model starts from the beginning.
    assert text[0].count("epoch 1 of 5") == 1
    assert "running for the chief" in text[1]
    metrics = json.loads((run / "train-retrieval/metrics.json").read_text())
    assert len(metrics["base"]["curve"]) == 5
    assert {path.name for path in run.iterdir()} >= {"train-retrieval"}
    assert not (run / ".checkpoints").exists()


def wait_for(condition, logs, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition():
        said = [log.read_text() for log in logs]
        assert time.monotonic() < deadline, said
        time.sleep(0.05)
