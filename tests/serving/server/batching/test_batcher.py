"""Requests that run together and get their own rows back."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import ServingError
from serving.server.batching import rules as batch_rules
from serving.server.batching import tensors
from tests.support.batchers import SIGNATURE, Model, ask_all, batcher_of, rules


def test_callers_share_a_run_and_get_their_own_rows():
    model = Model()
    batcher = batcher_of(
        model,
        "max_batch_size { value: 8 } batch_timeout_micros { value: 2000000 }",
    )
    requests = [np.arange(rows) + 10 * rows for rows in (1, 2, 2, 3)]
    found = ask_all(batcher, requests)
    for request, answer in zip(requests, found, strict=True):
        np.testing.assert_array_equal(answer, request * 2)
    assert model.runs == [8]


def test_a_batch_that_is_not_full_runs_after_the_timeout():
    model = Model()
    batcher = batcher_of(
        model,
        "max_batch_size { value: 8 } batch_timeout_micros { value: 50000 }",
    )
    (answer,) = ask_all(batcher, [np.arange(3)])
    assert model.runs == [3]
    np.testing.assert_array_equal(answer, [0, 2, 4])


def test_batches_are_filled_to_an_allowed_size():
    model = Model()
    batcher = batcher_of(
        model, "max_batch_size { value: 8 } allowed_batch_sizes: [2, 4, 8]"
    )
    (answer,) = ask_all(batcher, [np.arange(3)])
    assert model.runs == [4]
    np.testing.assert_array_equal(answer, [0, 2, 4])


def test_a_request_without_rows_is_nobody_else_s_trouble():
    model = Model()
    batcher = batcher_of(
        model,
        "max_batch_size { value: 4 } allowed_batch_sizes: [2, 4] "
        "batch_timeout_micros { value: 50000 }",
    )
    requests = [np.arange(1), np.arange(0), np.arange(1)]
    found = ask_all(batcher, requests)
    for request, answer in zip(requests, found, strict=True):
        np.testing.assert_array_equal(answer, request * 2)


def test_large_requests_are_refused_or_split():
    model = Model()
    (error,) = ask_all(
        batcher_of(model, "max_batch_size { value: 8 }"), [np.arange(9)]
    )
    assert error.code == "INVALID_ARGUMENT"
    assert str(error) == (
        "Task size 9 is larger than maximum input batch size 8"
    )
    batcher = batcher_of(
        model,
        "max_batch_size { value: 100 } max_execution_batch_size { value: 4 } "
        "enable_large_batch_splitting { value: true }",
    )
    (answer,) = ask_all(batcher, [np.arange(10)])
    np.testing.assert_array_equal(answer, np.arange(10) * 2)
    assert max(model.runs) <= 4
    assert sum(model.runs) == 10


def test_a_full_queue_is_unavailable():
    batcher = batcher_of(
        Model(seconds=0.3),
        "max_batch_size { value: 1 } max_enqueued_batches { value: 2 }",
    )
    found = ask_all(batcher, [np.arange(1)] * 8)
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
    (error,) = ask_all(batcher_of(Model(answer=answer)), [np.arange(2)])
    assert error.code == "FAILED_PRECONDITION"
    assert message in str(error)


def test_an_error_of_the_run_reaches_every_caller():
    def fail(x):
        raise ServingError("no", "INTERNAL")

    batcher = batcher_of(
        Model(answer=fail),
        "max_batch_size { value: 2 } batch_timeout_micros { value: 1000000 }",
    )
    found = ask_all(batcher, [np.arange(1)] * 2)
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
    found = ask_all(batcher_of(model, _MIXED), _mixed())
    assert [answer.tolist() for answer in found] == [
        [[10 * width]] for width in (2, 3, 5, 2, 3, 5, 3, 2)
    ]
    assert found[-1].dtype == np.float32
    assert len(model.runs) < 8


def test_padding_as_tensorflow_serving_does_changes_answers():
    """The control: why no padding is configured anywhere."""
    model = Model(answer=lambda x: [x[:, -1:] * 10])
    found = ask_all(
        batcher_of(model, _MIXED + " pad_variable_length_inputs: true"),
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
    batcher = batcher_of(
        model, _MIXED + " enable_large_batch_splitting { value: true }"
    )
    requests = [
        np.arange(rows * width).reshape(rows, width)
        for rows, width in ((9, 2), (3, 3), (6, 2), (5, 3))
    ]
    found = ask_all(batcher, requests)
    for request, answer in zip(requests, found, strict=True):
        np.testing.assert_array_equal(answer, request * 2)
    assert max(model.runs) <= 4


def test_a_timeout_spent_in_the_queue_is_told():
    batcher = batcher_of(
        Model(),
        "max_batch_size { value: 9 } batch_timeout_micros { value: 200000 }",
    )
    (error,) = ask_all(batcher, [np.arange(1)], timeout_seconds=0.05)
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
        rules(text)
    assert caught.value.code == "INVALID_ARGUMENT"


def test_defaults_are_the_original_ones():
    assert rules("") == batch_rules.Rules(1000, 1000, 0.0, 10, (), False, False)


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
    merged = tensors.merge(
        [{"x": request} for request in requests], extra, False, {}
    )
    assert merged["x"].dtype == dtype
    shared = tensors.share([merged["x"]], counts, len(merged["x"]))
    for request, (answer,) in zip(requests, shared, strict=True):
        np.testing.assert_array_equal(request, answer)


def test_many_callers_get_no_other_callers_rows():
    model = Model(seconds=0.001)
    batcher = batcher_of(
        model,
        "max_batch_size { value: 16 } batch_timeout_micros { value: 500 } "
        "max_enqueued_batches { value: 1000 }",
        threads=2,
    )
    requests = [np.full(1 + n % 4, n) for n in range(200)]
    found = ask_all(batcher, requests)
    for request, answer in zip(requests, found, strict=True):
        np.testing.assert_array_equal(answer, request * 2)
    assert len(model.runs) < 150


def test_a_failed_part_waits_for_the_others():
    running, failed = threading.Event(), threading.Event()
    ended = []

    def answer(x):
        if x[0] == 0:
            assert running.wait(10)
            failed.set()
            raise ServingError("no", "INTERNAL")
        running.set()
        assert failed.wait(10)
        time.sleep(0.2)
        ended.append(x[0])
        return [x]

    batcher = batcher_of(
        Model(answer=answer),
        "max_batch_size { value: 8 } max_execution_batch_size { value: 2 } "
        "enable_large_batch_splitting { value: true }",
        threads=2,
    )
    (error,) = ask_all(batcher, [np.arange(4)])
    assert str(error) == "no"
    # Whoever got the error lets go of the model: nothing runs in it any more.
    assert ended == [2]


def test_a_fault_of_a_batch_reaches_its_callers():
    batcher = batcher_of(Model())
    batcher.metrics.queuing_latency = None
    with pytest.raises(AttributeError):
        batcher.run_tensors(SIGNATURE, {"x": np.arange(2)}, ["y"], None)
