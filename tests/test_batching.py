"""Requests that run together and get their own rows back."""

import re
import threading
import time
from concurrent import futures
from types import SimpleNamespace

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from serving import batch_rules, batch_tensors, batching, monitoring
from serving.errors import ServingError
from serving.wire import server_config_pb2
from tests import serving_models, toy_models
from tests.serving_calls import (
    classify_request,
    predict_request,
    running,
    states,
)
from tests.waiting import eventually

SIGNATURE = SimpleNamespace(
    feeds={"x": "x"},
    definition=SimpleNamespace(inputs={"x": SimpleNamespace(name="x:0")}),
)


class Model:
    """Doubles; records the rows of every run."""

    def __init__(self, seconds=0.0, answer=lambda x: [x * 2]):
        self.runs = []
        self.timeouts = []
        self._seconds = seconds
        self._answer = answer

    def __call__(self, signature, feeds, fetches, timeout_seconds):
        self.runs.append(len(feeds["x"]))
        self.timeouts.append(timeout_seconds)
        time.sleep(self._seconds)
        return self._answer(feeds["x"])


def _rules(text):
    return batch_rules.rules_of(
        text_format.Parse(text, server_config_pb2.BatchingParameters())
    )


def _batcher(model, text="", threads=1):
    return batching.Batcher(
        model,
        "m",
        _rules(text),
        batching.Scheduler(threads),
        monitoring.Metrics(),
    )


def _ask_all(batcher, requests, timeout_seconds=None):
    """Answers or errors of requests sent at the same time."""
    found = [None] * len(requests)
    barrier = threading.Barrier(len(requests))

    def ask(place):
        barrier.wait()
        try:
            (found[place],) = batcher.run_tensors(
                SIGNATURE, {"x": requests[place]}, ["y"], timeout_seconds
            )
        except ServingError as error:
            found[place] = error

    threads = [
        threading.Thread(target=ask, args=(place,))
        for place in range(len(requests))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_callers_share_a_run_and_get_their_own_rows():
    model = Model()
    batcher = _batcher(
        model,
        "max_batch_size { value: 8 } batch_timeout_micros { value: 2000000 }",
    )
    requests = [np.arange(rows) + 10 * rows for rows in (1, 2, 2, 3)]
    found = _ask_all(batcher, requests)
    for request, answer in zip(requests, found, strict=True):
        np.testing.assert_array_equal(answer, request * 2)
    assert model.runs == [8]


def test_a_batch_that_is_not_full_runs_after_the_timeout():
    model = Model()
    batcher = _batcher(
        model,
        "max_batch_size { value: 8 } batch_timeout_micros { value: 50000 }",
    )
    started = time.monotonic()
    (answer,) = _ask_all(batcher, [np.arange(3)])
    assert 0.04 < time.monotonic() - started < 2
    np.testing.assert_array_equal(answer, [0, 2, 4])


def test_batches_are_filled_to_an_allowed_size():
    model = Model()
    batcher = _batcher(
        model, "max_batch_size { value: 8 } allowed_batch_sizes: [2, 4, 8]"
    )
    (answer,) = _ask_all(batcher, [np.arange(3)])
    assert model.runs == [4]
    np.testing.assert_array_equal(answer, [0, 2, 4])


def test_large_requests_are_refused_or_split():
    model = Model()
    (error,) = _ask_all(
        _batcher(model, "max_batch_size { value: 8 }"), [np.arange(9)]
    )
    assert error.code == "INVALID_ARGUMENT"
    assert str(error) == (
        "Task size 9 is larger than maximum input batch size 8"
    )
    batcher = _batcher(
        model,
        "max_batch_size { value: 100 } max_execution_batch_size { value: 4 } "
        "enable_large_batch_splitting { value: true }",
    )
    (answer,) = _ask_all(batcher, [np.arange(10)])
    np.testing.assert_array_equal(answer, np.arange(10) * 2)
    assert max(model.runs) <= 4
    assert sum(model.runs) == 10


def test_a_full_queue_is_unavailable():
    batcher = _batcher(
        Model(seconds=0.3),
        "max_batch_size { value: 1 } max_enqueued_batches { value: 2 }",
    )
    found = _ask_all(batcher, [np.arange(1)] * 8)
    errors = [answer for answer in found if isinstance(answer, ServingError)]
    assert 4 <= len(errors) <= 6
    assert {error.code for error in errors} == {"UNAVAILABLE"}
    assert "is full" in str(errors[0])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: [np.float32(1)], "has 0 dimensions"),
        (lambda x: [x[:1]], "does not equal the sum"),
    ],
)
def test_outputs_need_the_batch_dimension(answer, message):
    (error,) = _ask_all(_batcher(Model(answer=answer)), [np.arange(2)])
    assert error.code == "FAILED_PRECONDITION"
    assert message in str(error)


def test_an_error_of_the_run_reaches_every_caller():
    def fail(x):
        raise ServingError("no", "INTERNAL")

    batcher = _batcher(
        Model(answer=fail),
        "max_batch_size { value: 2 } batch_timeout_micros { value: 1000000 }",
    )
    found = _ask_all(batcher, [np.arange(1)] * 2)
    assert [error.code for error in found] == ["INTERNAL"] * 2
    assert found[0] is not found[1]


_MIXED = "max_batch_size { value: 4 } batch_timeout_micros { value: 200000 }"


def _mixed():
    """Rows that differ in width and, at one width, in dtype."""
    rows = [np.arange(1, width + 1)[None] for width in (2, 3, 5, 2, 3, 5, 3)]
    return [*rows, rows[0].astype(np.float32)]


def test_requests_of_other_shapes_share_no_run():
    # What a model reads from the end of a row: a history's last item.
    model = Model(answer=lambda x: [x[:, -1:] * 10])
    found = _ask_all(_batcher(model, _MIXED), _mixed())
    assert [answer.tolist() for answer in found] == [
        [[10 * width]] for width in (2, 3, 5, 2, 3, 5, 3, 2)
    ]
    assert found[-1].dtype == np.float32
    assert len(model.runs) < 8


def test_padding_as_tensorflow_serving_does_changes_answers():
    """The control: why no padding is configured anywhere."""
    model = Model(answer=lambda x: [x[:, -1:] * 10])
    found = _ask_all(
        _batcher(model, _MIXED + " pad_variable_length_inputs: true"),
        _mixed()[:4],
    )
    # The longest is right; the others end in their first value.
    assert [answer.tolist() for answer in found] == [
        [[10]],
        [[10]],
        [[50]],
        [[10]],
    ]


def test_parts_of_a_split_request_stay_with_their_shape():
    model = Model()
    batcher = _batcher(
        model, _MIXED + " enable_large_batch_splitting { value: true }"
    )
    requests = [
        np.arange(rows * width).reshape(rows, width)
        for rows, width in ((9, 2), (3, 3), (6, 2), (5, 3))
    ]
    found = _ask_all(batcher, requests)
    for request, answer in zip(requests, found, strict=True):
        np.testing.assert_array_equal(answer, request * 2)
    assert max(model.runs) <= 4


def test_a_timeout_spent_in_the_queue_is_told():
    batcher = _batcher(
        Model(),
        "max_batch_size { value: 9 } batch_timeout_micros { value: 200000 }",
    )
    (error,) = _ask_all(batcher, [np.arange(1)], timeout_seconds=0.05)
    assert error.code == "RESOURCE_EXHAUSTED"
    assert "timeout exceeded while waiting in batching queue" in str(error)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: [2, 4]",
            "Last entry in allowed_batch_sizes must match max_batch_size; "
            "last entry was 4; expected 8",
        ),
        ("allowed_batch_sizes: [2]", "last entry was 2; expected 1000"),
        (
            "max_batch_size { value: 4 } allowed_batch_sizes: [6, 4]",
            "must increase",
        ),
    ],
)
def test_parameters_that_contradict_themselves(text, message):
    with pytest.raises(ServingError, match=message) as caught:
        _rules(text)
    assert caught.value.code == "INVALID_ARGUMENT"


def test_defaults_are_the_original_ones():
    assert _rules("") == batch_rules.Rules(
        1000, 1000, 0.0, 10, (), False, False
    )


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=5),
    st.integers(0, 3),
    st.sampled_from([np.float32, np.int64, object]),
)
def test_sharing_undoes_merging(counts, extra, dtype):
    requests = []
    for number, count in enumerate(counts):
        values = np.arange(2 * count).reshape(count, 2) + 100 * number
        requests.append(
            values.astype(dtype)
            if dtype is not object
            else np.array(
                [str(value).encode() for value in values.ravel()], object
            ).reshape(count, 2)
        )
    if not counts[-1]:
        extra = 0
    merged = batch_tensors.merge(
        [{"x": request} for request in requests], extra, False, {}
    )
    assert merged["x"].dtype == dtype
    shared = batch_tensors.share([merged["x"]], counts, len(merged["x"]))
    for request, (answer,) in zip(requests, shared, strict=True):
        np.testing.assert_array_equal(request, answer)


def test_many_callers_get_no_other_callers_rows():
    model = Model(seconds=0.001)
    batcher = _batcher(
        model,
        "max_batch_size { value: 16 } batch_timeout_micros { value: 500 } "
        "max_enqueued_batches { value: 1000 }",
        threads=2,
    )
    requests = [np.full(1 + n % 4, n) for n in range(200)]
    found = _ask_all(batcher, requests)
    for request, answer in zip(requests, found, strict=True):
        np.testing.assert_array_equal(answer, request * 2)
    assert len(model.runs) < 150


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
            batching.load(str(file), False, monitoring.Metrics())
