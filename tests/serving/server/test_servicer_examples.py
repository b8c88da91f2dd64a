"""Classify, Regress and MultiInference as TensorFlow Serving answers."""

import pytest

from tests.support import serving_models
from tests.support.serving_calls import (
    InProcess,
    classify_request,
    example,
    multi_request,
    regress_request,
    running,
)

INVALID = "INVALID_ARGUMENT"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    base = tmp_path_factory.mktemp("examples")
    originals = serving_models.originals()
    serving_models.publish(originals["examples"], base / "examples", 3)
    serving_models.publish(originals["affine"], base / "affine", 1)
    config = base / "models.config"
    config.write_text(
        "model_config_list {"
        + "".join(
            f"config {{ name: '{name}' base_path: '{base / name}' "
            "model_platform: 'tensorflow' }"
            for name in ("examples", "affine")
        )
        + "}"
    )
    with running(f"--model_config_file={config}") as (server, remote):
        yield server, remote


@pytest.fixture(params=["in process", "grpc"])
def call(request, served):
    server, remote = served
    if request.param == "grpc":
        return remote
    return InProcess(server.servicer)


def _labels(result):
    return [
        [(entry.label, round(entry.score, 4)) for entry in row.classes]
        for row in result.classifications
    ]


def _values(result):
    return [entry.value for entry in result.regressions]


def test_classify_gives_labels_and_scores(call):
    answer = call(classify_request())
    assert _labels(answer.result) == [
        [("low", 0.75), ("high", 0.25)],
        [("low", 0.5), ("high", 0.5)],
    ]
    spec = answer.model_spec
    assert (spec.name, spec.version.value) == ("examples", 3)
    assert spec.signature_name == "serving_default"


def test_a_missing_half_leaves_its_default(call):
    answer = call(classify_request(signature="scores"))
    assert _labels(answer.result) == [[("", 0.25)], [("", 0.5)]]
    answer = call(classify_request(signature="classes"))
    assert _labels(answer.result) == [
        [("0.250000", 0)],
        [("0.500000", 0)],
    ]


@pytest.mark.parametrize("signature", ["regress", "regress_column"])
def test_regress_gives_one_value_an_example(call, signature):
    answer = call(regress_request(signature=signature, version=3))
    assert _values(answer.result) == [0.5, 1.0]
    assert answer.model_spec.signature_name == signature
    assert answer.model_spec.version.value == 3


def test_a_context_stands_before_every_example(call):
    request = regress_request(rows=())
    listed = request.input.example_list_with_context
    listed.context.CopyFrom(example(x=3.0))
    listed.examples.append(example(y=1.0))
    # What comes later wins in a merge.
    listed.examples.append(example(x=4.0))
    assert _values(call(request).result) == [6.0, 8.0]


@pytest.mark.parametrize("make", [classify_request, regress_request])
@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"name": None}, INVALID, "Missing ModelSpec"),
        ({"name": ""}, INVALID, "ModelSpec has no name specified."),
        ({"name": "m"}, "NOT_FOUND", "Latest(m)"),
        ({"version": 9}, "NOT_FOUND", "Specific(examples, 9)"),
        ({"label": "l"}, INVALID, "Unrecognized servable version label: l"),
        (
            {"signature": "s"},
            INVALID,
            "No signature was found with the name: s",
        ),
        ({"rows": ()}, INVALID, "Input is empty."),
    ],
)
def test_errors_of_both(call, make, options, code, message):
    found = call.error(make(**options))
    assert found[0] == code
    assert message in found[1]


@pytest.mark.parametrize(
    ("make", "signature", "message"),
    [
        (classify_request, "regress", "at least one of"),
        (classify_request, "other_name", "No classification inputs found"),
        (classify_request, "flat_scores", "Expected Tensor shape: [batch_size"),
        (regress_request, "serving_default", "Expected one output Tensor."),
        (regress_request, "scores", "No regression outputs found"),
        (
            regress_request,
            "regress_wide",
            "to be either [batch_size] or [batch_size, 1] but got [2,2]",
        ),
        (regress_request, "regress_double", "DT_FLOAT.  Got: DT_DOUBLE"),
    ],
)
def test_signatures_that_do_not_fit_are_refused(call, make, signature, message):
    code, found = call.error(make(signature=signature))
    assert code == INVALID
    assert message in found


def test_two_inputs_are_refused(call):
    request = classify_request(name="affine", signature="two")
    assert call.error(request) == (INVALID, "Expected one input Tensor.")


@pytest.mark.parametrize("row", [{"y": 1.0}, {"x": b"text"}])
def test_examples_that_do_not_parse_are_invalid(call, row):
    request = regress_request(rows=())
    request.input.example_list.examples.append(example(**row))
    assert call.error(request)[0] == INVALID


def test_multi_inference_answers_in_task_order(call):
    answer = call(
        multi_request(
            ("examples", "regress", "regress"),
            ("examples", "", "classify"),
        )
    )
    first, second = answer.results
    assert _values(first.regression_result) == [0.5]
    assert _labels(second.classification_result) == [
        [("low", 0.75), ("high", 0.25)]
    ]
    assert first.model_spec.signature_name == "regress"
    assert second.model_spec.signature_name == "serving_default"
    assert {r.model_spec.version.value for r in answer.results} == {3}


@pytest.mark.parametrize(
    ("tasks", "code", "message"),
    [
        ([], INVALID, "ModelSpec has no name specified."),
        ([("", "", "classify")], INVALID, "ModelSpec has no name specified."),
        ([("m", "", "classify")], "NOT_FOUND", "Latest(m)"),
        (
            [("examples", "", "classify"), ("affine", "", "regress")],
            INVALID,
            "must access the same model name",
        ),
        (
            [("examples", "", "classify"), ("", "regress", "regress")],
            INVALID,
            "Found ModelSpec with an empty model name.",
        ),
        (
            [("examples", "", "classify")] * 2,
            INVALID,
            "Duplicate evaluation of signature: serving_default",
        ),
        (
            [("examples", "s", "classify")],
            INVALID,
            "Requested signature not found in model graph: s",
        ),
        (
            [("examples", "", "predict")],
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            [("examples", "regress", "classify")],
            INVALID,
            "at least one of",
        ),
    ],
)
def test_errors_of_multi_inference(call, tasks, code, message):
    found = call.error(multi_request(*tasks))
    assert found[0] == code
    assert message in found[1]


def test_multi_inference_needs_examples(call):
    request = multi_request(("examples", "", "classify"), rows=())
    assert call.error(request) == (INVALID, "Input is empty.")


def test_a_context_counts_once_an_example(call):
    request = classify_request(rows=())
    examples = request.input.example_list_with_context
    examples.context.CopyFrom(example(x=b"c" * 100_000))
    for _ in range(10_000):
        examples.examples.add()
    # Half a megabyte that would become a gigabyte.
    assert request.ByteSize() < 150_000
    code, message = call.error(request)
    assert (code, "bytes of memory" in message) == (INVALID, True)
