"""Batching behind the server's flags, its files and every API."""

import re
from concurrent import futures

import numpy as np
import pytest

from serving.errors import ServingError
from serving.server.batching import batcher
from serving.server.telemetry import metrics
from tests.support import serving_models, toy_models
from tests.support.serving_calls import (
    classify_request,
    predict_request,
    running,
    states,
)
from tests.support.waiting import eventually


@pytest.fixture
def base(tmp_path):
    for name in ("affine", "examples"):
        serving_models.publish(
            serving_models.originals()[name], tmp_path / name, 1
        )
    config = tmp_path / "models.config"
    config.write_text(
        "model_config_list {"
        + "".join(
            f"config {{ name: '{name}' base_path: '{tmp_path / name}' "
            "model_platform: 'tensorflow' }"
            for name in ("affine", "examples")
        )
        + "}"
    )
    return tmp_path


def test_a_server_batches_every_api(base):
    file = base / "batching.txt"
    file.write_text(
        "max_batch_size { value: 4 } batch_timeout_micros { value: 1000 } "
        "num_batch_threads { value: 2 } thread_pool_name { value: 'some' }"
    )
    with running(
        f"--model_config_file={base / 'models.config'}",
        "--enable_batching",
        f"--batching_parameters_file={file}",
    ) as (server, remote):
        answer = remote(predict_request())
        assert list(answer.outputs["y"].float_val) == [2.5, 3.0]
        assert len(remote(classify_request()).result.classifications) == 2
        one, two = np.float32([1]), np.float32([1, 2])
        for inputs, message in (
            ({"x": np.float32(1)}, "must have at least one dimension"),
            ({"x": np.ones(5, "f4")}, "Task size 5 is larger than maximum"),
        ):
            code, found = remote.error(predict_request(inputs=inputs))
            assert code == "INVALID_ARGUMENT"
            assert message in found
        code, message = remote.error(
            predict_request(signature="two", inputs={"x": one, "y": two})
        )
        assert code == "INVALID_ARGUMENT"
        assert "equal 0th-dimension size" in message
        code, message = remote.error(
            predict_request(signature="slow", inputs={"steps": [3]})
        )
        assert code == "FAILED_PRECONDITION"
        assert "has 0 dimensions" in message
        page = server.metrics.page()
        prefix = ":tensorflow:serving:batching_session:"
        name = f'{prefix}queuing_latency_count{{thread_pool_name="some"}}'
        assert re.search(f"^{re.escape(name)} [1-9]", page, re.MULTILINE)
        assert re.search(
            f"^{prefix}wrapped_run_count{{}} [1-9]", page, re.MULTILINE
        )
        labels = 'model_name="examples",API="Classify",runtime="TF1"'
        assert f"runtime_latency_count{{{labels}}} 1\n" in page


def test_batched_rankings_of_mixed_widths_are_those_of_single_requests(base):
    toy_models.export(base, 1, ["ranking"])
    file = base / "batching.txt"
    file.write_text(
        "max_batch_size { value: 8 } batch_timeout_micros { value: 20000 }"
    )
    with running(
        "--model_name=ranking",
        f"--model_base_path={base / 'ranking'}",
        "--enable_batching",
        f"--batching_parameters_file={file}",
        "--grpc_max_threads=8",
    ) as (server, remote):

        def ask(number):
            candidates = [b"i%d" % n for n in range(2 + number % 3)]
            history = [[b"i1"] * (1 + number % 3)]
            inputs = {
                "user_id": np.array([b"u"], object),
                "country": np.array([b""], object),
                "history": np.array(history, object),
                "tags": np.array([[b""]], object),
                "age": np.float32([1]),
                "hour": np.int64([1]),
                "candidate_ids": np.array([candidates], object),
            }
            answer = remote(predict_request("ranking", inputs))
            ids = answer.outputs["candidate_ids"].string_val
            return list(ids) == sorted(candidates)

        with futures.ThreadPoolExecutor(8) as callers:
            assert all(callers.map(ask, range(96)))
        page = server.metrics.page()
        (runs,) = re.findall(r"wrapped_run_count{} (\d+)", page)
        assert int(runs) < 96


def test_each_version_may_bring_its_own_parameters(base):
    wrong = base / "affine" / "1" / "batching_params.pbtxt"
    wrong.write_text("max_batch_size { value: 2 }")
    with running(
        f"--model_config_file={base / 'models.config'}",
        "--enable_batching",
        "--enable_per_model_batching_parameters",
    ) as (_, remote):
        request = predict_request(inputs={"x": np.ones(3, "f4")})
        assert "Task size 3" in remote.error(request)[1]
        assert len(
            remote(classify_request(rows=[0.5] * 3)).result.classifications
        )
        # Parameters that contradict themselves fail the load.
        staged = base / "staged"
        serving_models.publish(serving_models.originals()["third"], staged, 2)
        (staged / "2" / "batching_params.pbtxt").write_text(
            "allowed_batch_sizes: 3"
        )
        (staged / "2").rename(base / "affine" / "2")
        eventually(lambda: states(remote).get(2) == "END")


def test_a_parameters_file_must_be_readable(base):
    for text in (None, "max_batch_size: 3"):
        file = base / "batching.txt"
        if text:
            file.write_text(text)
        with pytest.raises(ServingError, match="batching.txt"):
            batcher.joiner(str(file), False, metrics.Metrics())
