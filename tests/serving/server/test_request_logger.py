"""What of requests and answers reaches the log, and what it costs nobody."""

import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

from serving.errors import ServingError
from serving.prediction_log import records
from serving.prediction_log.user_ids import UserIds
from serving.releases import request_log, versions
from serving.server.request_logger import RequestLogger
from serving.server.telemetry.metrics import Metrics
from serving.wire import tensors
from tests.support import rest_calls, serving_models
from tests.support.ports import free_port
from tests.support.serving_calls import (
    classify_request,
    multi_request,
    predict_request,
    regress_request,
    reload_request,
    running,
    spawned,
)
from tests.support.waiting import eventually

COUNT = ":tensorflow:serving:request_log_count"


def config(prefix, rate=1.0, name="affine", kind="tfrecord"):
    """A model whose requests are logged."""
    found = ModelConfig(name=name)
    logging = found.logging_config
    logging.log_collector_config.type = kind
    logging.log_collector_config.filename_prefix = str(prefix)
    logging.sampling_config.sampling_rate = rate
    return found


def stored(directory):
    """The logged messages, file after file."""
    return [
        prediction_log_pb2.PredictionLog.FromString(one.data)
        for path in sorted(Path(directory).glob("*.tfrecord"))
        for one in records.read(path)
    ]


def counts(metrics):
    return {
        line.split('status_code="')[1].split('"')[0]: int(line.split()[-1])
        for line in metrics.page().splitlines()
        if line.startswith(COUNT + "{")
    }


def question(*user_ids, as_content=False):
    request = predict_request(inputs={})
    names = np.array([one.encode() for one in user_ids], object)
    tensors.encode(names, request.inputs["user_id"], as_content)
    return request


@pytest.fixture
def logger(tmp_path):
    """Makes loggers below the folder; they write when they are closed."""
    made = []

    def make(*models, limit=2**26, user_ids=None):
        metrics = Metrics()
        logger = RequestLogger(metrics, limit, ["serve"], user_ids)
        logger.prepare(models)()
        made.append(logger)
        return logger, metrics

    yield make
    for one in made:
        one.close(5)


def send(logger, count=1, request=None):
    for _ in range(count):
        logger.log(
            "predict_log",
            ("affine", 3),
            request or predict_request(),
            predict_pb2.PredictResponse(),
        )


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    base = tmp_path_factory.mktemp("logged")
    originals = serving_models.originals()
    for name in ("affine", "examples"):
        for version in (1, 2):
            serving_models.publish(originals[name], base / name, version)
    return base


def listed(models, *names, **logging):
    """Those models, with what is logged of them."""
    return [
        {"name": name, "base_path": str(models / name)}
        | ({"logging_config": logging[name]} if name in logging else {})
        for name in names
    ]


def test_the_log_switches_on_and_off_under_requests(models, tmp_path):
    plain = listed(models, "affine")
    rest = free_port()
    with running(
        *("--model_name=affine", f"--model_base_path={models / 'affine'}"),
        f"--rest_api_port={rest}",
    ) as (server, call):
        call(predict_request())
        wanted = config(tmp_path / "on" / "log").logging_config
        call(reload_request(*listed(models, "affine", affine=wanted)))
        before = int(time.time())
        first = predict_request(version=2)
        answer = call(first)
        with rest_calls.asking(rest) as send_json:
            send_json("/v1/models/affine:predict", {"instances": [1]})
        with pytest.raises(Exception, match="Servable not found"):
            call(predict_request(version=99))
        # The same prefix at another rate; then none.
        wanted.sampling_config.sampling_rate = 0.0
        call(reload_request(*listed(models, "affine", affine=wanted)))
        call(predict_request())
        call(reload_request(*plain))
        eventually(lambda: len(stored(tmp_path / "on")) == 2)
        call(predict_request())
    found, over_rest = stored(tmp_path / "on")
    assert found.predict_log.request == first
    assert found.predict_log.response == answer
    metadata = found.log_metadata
    assert metadata.model_spec.name == "affine"
    assert metadata.model_spec.version.value == 2
    assert metadata.sampling_config.sampling_rate == 1.0
    assert list(metadata.saved_model_tags) == ["serve"]
    assert before <= metadata.timestamp_secs <= time.time()
    assert over_rest.predict_log.request.model_spec.name == "affine"
    assert counts(server.metrics) == {"OK": 2}


def test_every_method_has_its_log(models, tmp_path):
    logging = config(tmp_path / "log").logging_config
    with running(
        *("--model_name=examples", f"--model_base_path={models / 'examples'}")
    ) as (_, call):
        call(reload_request(*listed(models, "examples", examples=logging)))
        call(classify_request())
        call(regress_request())
        call(multi_request(("examples", "regress", "regress")))
    kinds = [one.WhichOneof("log_type") for one in stored(tmp_path)]
    assert kinds == ["classify_log", "regress_log", "multi_inference_log"]


def test_what_waits_is_written_when_the_server_ends(models, tmp_path):
    pointer = tmp_path / "models.config"
    versions.write_models_config(
        pointer, {"affine": (str(models / "affine"), [1])}
    )
    request_log.switch(pointer, 1.0, tmp_path / "log")
    port = free_port()
    with spawned(f"--model_config_file={pointer}", port=port) as (
        process,
        call,
    ):
        eventually(lambda: call.channel and _answers(call), 60)
        for _ in range(20):
            call(predict_request())
        process.terminate()
        assert process.wait(30) == 0
    assert len(stored(tmp_path)) >= 20


def _answers(call):
    try:
        return call(predict_request(), 1)
    except Exception:
        return None


def test_a_share_is_logged(logger, tmp_path):
    sampled, metrics = logger(config(tmp_path / "log", 0.25))
    send(sampled, 4000)
    sampled.close(5)
    assert 850 < len(stored(tmp_path)) < 1150
    assert counts(metrics) == {"OK": len(stored(tmp_path))}


def test_models_may_share_files_and_others_are_not_logged(logger, tmp_path):
    shared, _ = logger(
        config(tmp_path / "log"), config(tmp_path / "log", name="other")
    )
    for name in ("affine", "other", "third"):
        shared.log(
            "predict_log",
            (name, 1),
            predict_request(name),
            predict_pb2.PredictResponse(),
        )
    shared.close(5)
    assert len(list(tmp_path.iterdir())) == 1
    names = [one.log_metadata.model_spec.name for one in stored(tmp_path)]
    assert names == ["affine", "other"]


@pytest.mark.parametrize("as_content", [False, True])
def test_users_are_hidden_and_the_request_stays(logger, tmp_path, as_content):
    user_ids = UserIds(b"0123456789abcdef")
    hiding, _ = logger(config(tmp_path / "log"), user_ids=user_ids)
    request = question("u1", "", "u2", as_content=as_content)
    kept = predict_pb2.PredictRequest()
    kept.CopyFrom(request)
    send(hiding, request=request)
    # Without an input of that name there is nothing to hide.
    send(hiding)
    hiding.log("classify_log", ("affine", 3), classify_request(), request)
    hiding.close(5)
    assert request == kept
    hidden, plain = stored(tmp_path)
    ids = tensors.decode(hidden.predict_log.request.inputs["user_id"])
    assert [one.decode() for one in ids] == [
        user_ids.hidden(one) for one in ("u1", "", "u2")
    ]
    assert b"u1" not in hidden.SerializeToString()
    assert plain.predict_log.request == predict_request()


def test_what_has_no_room_is_counted_and_nobody_waits(
    logger, tmp_path, monkeypatch
):
    full, metrics = logger(config(tmp_path / "log"), limit=2**20)
    stuck = threading.Event()
    write = os.write

    def slow(*arguments):
        stuck.wait(10)
        return write(*arguments)

    monkeypatch.setattr(os, "write", slow)
    request = predict_request(inputs={"x": np.zeros(5000, np.float32)})
    began = time.monotonic()
    send(full, 500, request)
    assert time.monotonic() - began < 2
    stuck.set()
    full.close(5)
    found = counts(metrics)
    assert found["RESOURCE_EXHAUSTED"] > 100
    assert found["OK"] == len(stored(tmp_path))
    assert sum(found.values()) == 500


def test_a_disk_that_fails_is_told_once_and_used_again(
    logger, tmp_path, caplog
):
    folder = tmp_path / "logs"
    failing, metrics = logger(config(folder / "log"))
    shutil.rmtree(folder)
    folder.touch()
    with caplog.at_level("INFO", "serving"):
        for _ in range(3):
            send(failing)
            time.sleep(0.3)
        # A release is not held up by it.
        failing.prepare([config(folder / "log", 1.0)])()
        folder.unlink()
        send(failing)
        failing.close(5)
    told = [one.message.split()[0] for one in caplog.records]
    assert told == ["request_log_failed", "request_log_resumed"]
    assert len(stored(folder)) == 1
    assert counts(metrics) == {"OK": 1, "UNAVAILABLE": 3}


def test_a_place_that_cannot_be_written_holds_up_no_start(logger, caplog):
    with caplog.at_level("INFO", "serving"):
        kept, metrics = logger(config("/proc/none/log"))
    (told,) = [one.message for one in caplog.records]
    assert "request_log_failed prefix=/proc/none/log" in told
    send(kept)
    kept.close(5)
    assert counts(metrics) == {"UNAVAILABLE": 1}


def test_a_fault_of_ours_does_not_reach_the_caller(logger, tmp_path):
    wrong, metrics = logger(config(tmp_path / "log"))
    wrong.log("no such log", ("affine", 3), None, None)
    assert counts(metrics) == {"INTERNAL": 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rate": 1.5}, "`sampling_rate` must be between 0 and 1. Received: 1"),
        ({"rate": -0.1}, "`sampling_rate` must be between 0 and 1"),
        ({"rate": float("nan")}, "`sampling_rate` must be"),
        ({"kind": "kafka"}, "LogCollector::Factory for type: kafka"),
        ({"kind": ""}, "LogCollector::Factory for type:"),
        ({"prefix": "relative/log"}, "`filename_prefix` must be an absolute"),
        ({"prefix": "/logs/\0"}, "`filename_prefix` must be an absolute"),
    ],
)
def test_a_config_that_cannot_be_met_changes_nothing(
    logger, tmp_path, change, words
):
    kept, _ = logger(config(tmp_path / "log"))
    with pytest.raises(ServingError, match=words):
        kept.prepare([config(**{"prefix": tmp_path / "log"} | change)])
    send(kept)
    kept.close(5)
    assert len(stored(tmp_path)) == 1


def test_what_would_do_nothing_is_refused(logger, tmp_path):
    kept, _ = logger()
    found = config(tmp_path / "log")
    found.logging_config.custom_logging_config.type_url = "x/y"
    with pytest.raises(ServingError, match="`custom_logging_config` is not"):
        kept.prepare([found])
    found = config(tmp_path / "log")
    found.logging_config.sampling_config.per_task_sampling_configs.add()
    with pytest.raises(ServingError, match="`per_task_sampling_configs` is"):
        kept.prepare([found])
