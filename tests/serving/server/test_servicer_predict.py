"""Predict as TensorFlow Serving answers it, in process and over gRPC."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from serving.wire import tensors
from tests.support import serving_models
from tests.support.serving_calls import (
    InProcess,
    Remote,
    predict_request,
    running,
    states,
)
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    base = tmp_path_factory.mktemp("predict")
    originals = serving_models.originals()
    for version in (0, 2, 10):
        serving_models.publish(originals["affine"], base / "affine", version)
    config = base / "models.config"
    config.write_text(
        "model_config_list { config { name: 'affine' base_path: "
        f"'{base / 'affine'}' model_platform: 'tensorflow' "
        "model_version_policy { all {} } } }"
    )
    with running(f"--model_config_file={config}") as (server, remote):
        # The port opens with the first version that is ready.
        eventually(lambda: set(states(remote).values()) == {"AVAILABLE"})
        yield server, remote


@pytest.fixture(params=["in process", "grpc"])
def call(request, served):
    server, remote = served
    if request.param == "grpc":
        return remote
    return InProcess(server.servicer)


def test_the_answer_has_typed_fields_and_the_resolved_spec(call):
    answer = call(predict_request())
    expected = predict_pb2.PredictResponse()
    expected.model_spec.name = "affine"
    expected.model_spec.version.value = 10
    expected.model_spec.signature_name = "serving_default"
    y = expected.outputs["y"]
    y.dtype = 1
    y.tensor_shape.dim.add(size=2)
    y.float_val.extend([2.5, 3.0])
    assert answer == expected


@pytest.mark.parametrize(("asked", "version"), [(None, 10), (0, 0), (2, 2)])
def test_versions_are_chosen_by_number_and_presence(call, asked, version):
    spec = call(predict_request(version=asked)).model_spec
    assert spec.version.value == version
    assert spec.WhichOneof("version_choice") == "version"


INVALID = "INVALID_ARGUMENT"
X = np.float32([1])


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"name": None}, INVALID, "Missing ModelSpec"),
        ({"name": ""}, INVALID, "ModelSpec has no name specified."),
        (
            {"name": "m"},
            "NOT_FOUND",
            "Servable not found for request: Latest(m)",
        ),
        (
            {"version": 99},
            "NOT_FOUND",
            "Servable not found for request: Specific(affine, 99)",
        ),
        (
            {"name": "m", "version": -1},
            "NOT_FOUND",
            "Servable not found for request: Specific(m, -1)",
        ),
        (
            {"label": "x"},
            INVALID,
            "Unrecognized servable version label: x",
        ),
        (
            {"signature": "s"},
            "FAILED_PRECONDITION",
            'Serving signature key "s" not found.',
        ),
        (
            {"inputs": {"x": X, "y": X}},
            INVALID,
            "input size does not match signature: 2!=1 len({x,y}) != "
            "len({x}). Sent extra: {y}. Missing but required: {}.",
        ),
        (
            {"inputs": {}},
            INVALID,
            "input size does not match signature: 0!=1 len({}) != len({x}). "
            "Sent extra: {}. Missing but required: {x}.",
        ),
        (
            {"inputs": {"z": X}},
            INVALID,
            "Signature input alias: x(feed name: serving_default_x:0) not "
            "found in request and no default value provided",
        ),
        (
            {"inputs": {"x": np.int64([1])}},
            INVALID,
            "Expects arg[0] to be float but int64 is provided",
        ),
        (
            {"inputs": {"x": np.array([b"1"], object)}},
            INVALID,
            "Expects arg[0] to be float but string is provided",
        ),
        (
            {"outputs": ["n"]},
            INVALID,
            "output tensor alias not found in signature: n Outputs expected "
            "to be in the set {y}.",
        ),
        (
            {"outputs": ["y", "y"]},
            INVALID,
            "duplicate output tensor alias: y",
        ),
        (
            {"signature": "matrix", "inputs": {"x": np.ones((2, 3), "f4")}},
            INVALID,
            "Matrix size-incompatible",
        ),
        (
            {"signature": "matrix"},
            INVALID,
            # The rest of the words is the kernel's, oneDNN's or Eigen's.
            "ndims",
        ),
    ],
)
def test_errors_have_the_codes_and_words_of_the_original(
    call, options, code, message
):
    found = call.error(predict_request(**options))
    assert found[0] == code
    assert message in found[1]


def test_checks_come_in_the_original_order(call):
    bad = {"inputs": {"z": X}, "outputs": ["n"]}
    assert (
        "ModelSpec has no name"
        in call.error(
            predict_request(name="", label="l", signature="s", **bad)
        )[1]
    )
    assert "label" in call.error(predict_request(label="l", **bad))[1]
    assert (
        "signature key" in call.error(predict_request(signature="s", **bad))[1]
    )
    assert "alias: x(" in call.error(predict_request(**bad))[1]


def test_shapes_are_not_checked_against_the_signature(call):
    for shape in ((2, 2), (), (0,), (1, 3, 0)):
        value = np.ones(shape, np.float32)
        answer = call(predict_request(inputs={"x": value}))
        found = tensors.decode(answer.outputs["y"])
        assert found.shape == shape
        np.testing.assert_array_equal(found, value / 2 + 2)
        assert answer.outputs["y"].HasField("tensor_shape")


def test_outputs_are_all_or_those_asked_for(call):
    inputs = {"x": np.float32([2]), "y": np.float32([5])}
    answer = call(predict_request(inputs=inputs, signature="two"))
    assert set(answer.outputs) == {"sum", "product"}
    answer = call(
        predict_request(inputs=inputs, signature="two", outputs=["product"])
    )
    assert set(answer.outputs) == {"product"}
    assert answer.outputs["product"].float_val == [10]
    assert answer.model_spec.signature_name == "two"


def test_strings_are_bytes_never_text(call):
    words = np.array([b"a", b"b\0", b"\xff\xfe", "ü".encode(), b""], object)
    answer = call(predict_request(signature="strings", inputs={"words": words}))
    assert list(answer.outputs["echo_bytes"].string_val) == words.tolist()
    assert list(answer.outputs["index"].int_val) == [1, 0, 0, 0, 0]
    assert list(answer.outputs["length"].int_val) == [1, 2, 2, 2, 0]
    scalar = np.empty((), object)
    scalar[()] = b"a\0"
    answer = call(
        predict_request(signature="strings", inputs={"words": scalar})
    )
    assert list(answer.outputs["echo_bytes"].string_val) == [b"a\0"]
    assert not answer.outputs["echo_bytes"].tensor_shape.dim


def test_every_dtype_comes_back(call):
    values = {
        "float64": np.float64([1.5, -2]),
        "int32": np.int32([1, -(2**31)]),
        "int16": np.int16([1, -(2**15)]),
        "int8": np.int8([1, -128]),
        "uint8": np.uint8([1, 255]),
        "uint16": np.uint16([1, 65535]),
        "uint32": np.uint32([1, 2**32 - 1]),
        "uint64": np.uint64([1, 2**64 - 1]),
        "bool": np.array([True, False]),
        "float16": np.float16([1.5, -2]),
        "complex64": np.complex64([1 + 2j, 3]),
    }
    request = predict_request(signature="dtypes", inputs=values)
    rare = tf.constant([1.5, -2], tf.bfloat16)
    request.inputs["bfloat16"].CopyFrom(tf.make_tensor_proto(rare))
    answer = call(request)
    for name, value in values.items():
        tensor = answer.outputs[f"{name}_out"]
        assert not tensor.tensor_content
        # TensorFlow's own reader agrees.
        found = tf.make_ndarray(tensor)
        assert found.dtype == value.dtype
        np.testing.assert_array_equal(found, value)
    found = tf.make_ndarray(answer.outputs["bfloat16_out"])
    np.testing.assert_array_equal(found.astype("f4"), [1.5, -2])


def _tensor(dtype=1, shape=(3,), **fields):
    request = predict_request(inputs={})
    tensor = request.inputs["x"]
    tensor.dtype = dtype
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    for name, value in fields.items():
        if name == "tensor_content":
            tensor.tensor_content = value
        else:
            getattr(tensor, name).extend(value)
    return request


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"float_val": [1, 2]}, [2.5, 3, 3]),
        ({"float_val": [4]}, [4, 4, 4]),
        ({}, [2, 2, 2]),
        ({"float_val": [1, 2, 3, 4, 5]}, [2.5, 3, 3.5]),
        (
            {"tensor_content": np.float32([1, 2, 3]).tobytes()},
            [2.5, 3, 3.5],
        ),
    ],
)
def test_tensors_are_read_as_tensorflow_reads_them(call, fields, expected):
    answer = call(_tensor(**fields))
    assert list(answer.outputs["y"].float_val) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": 0},
        {"shape": (-1,)},
        {"tensor_content": b"12345"},
        {"tensor_content": np.float32([1, 2]).tobytes()},
        {"shape": (2**40, 2**20)},
        {"dtype": 20},
        {"dtype": 99},
        {"dtype": 101},
    ],
)
def test_tensors_that_cannot_be_read_are_named(call, options):
    code, message = call.error(_tensor(**options))
    assert code == INVALID
    assert message.startswith("tensor parsing error: x")


def test_long_messages_are_cut(served):
    _, remote = served
    code, message = remote.error(predict_request(name="m" * 3000))
    assert code == "NOT_FOUND"
    assert message.endswith("...TRUNCATED")
    assert len(message) == 1024 + len("...TRUNCATED")


def test_messages_beyond_4_mib_pass(served):
    _, remote = served
    rows = 3_000_000
    request = predict_request(inputs={"x": np.zeros(rows, np.float32)})
    assert request.ByteSize() > 8 << 20
    answer = remote(request, timeout=60)
    assert len(answer.outputs["y"].float_val) == rows


def test_a_deadline_ends_the_run(served):
    server, remote = served
    request = predict_request(
        signature="slow", inputs={"steps": np.int64([10**9])}
    )
    assert remote.error(request, timeout=0.3)[0] == "DEADLINE_EXCEEDED"
    found = server.servicer
    with pytest.raises(Exception, match=r"(?i)deadline|timed out"):
        found.predict(request, 0.2)


def test_the_default_of_a_signature_fills_an_input_left_out(tmp_path):
    model = serving_models.publish(
        serving_models.originals()["affine"], tmp_path / "m", 1
    )
    _change_signature(
        model,
        "two",
        lambda definition: definition.defaults["y"].CopyFrom(
            tf.make_tensor_proto(np.float32([7, 7]))
        ),
    )
    with running("--model_name=m", f"--model_base_path={tmp_path / 'm'}") as (
        _,
        remote,
    ):
        answer = remote(predict_request("m", signature="two"))
        assert list(answer.outputs["sum"].float_val) == [8, 9]
        message = remote.error(
            predict_request("m", signature="two", inputs={"y": X})
        )[1]
        assert "Signature input alias: x(" in message


def _change_signature(model, name, change):
    from tensorflow.core.protobuf import saved_model_pb2

    path = model / "saved_model.pb"
    message = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    change(message.meta_graphs[0].signature_def[name])
    path.write_bytes(message.SerializeToString())


def test_flags_change_the_form_and_the_checks(tmp_path):
    model = serving_models.publish(
        serving_models.originals()["affine"], tmp_path / "m", 1
    )
    _change_signature(
        model,
        "two",
        lambda definition: setattr(definition, "method_name", "other"),
    )
    with running(
        "--model_name=m",
        f"--model_base_path={tmp_path / 'm'}",
        "--enable_serialization_as_tensor_content",
        "--enable_signature_method_name_check=true",
        "--max_batch_rows",
        "4",
        "--max_request_bytes=100000",
    ) as (_, remote):
        tensor = remote(predict_request("m")).outputs["y"]
        assert tensor.tensor_content == np.float32([2.5, 3]).tobytes()
        assert not tensor.float_val
        code, message = remote.error(
            predict_request("m", signature="two", inputs={"x": X, "y": X})
        )
        assert code == "INTERNAL"
        assert "Expected prediction signature method_name" in message
        code, message = remote.error(
            predict_request("m", inputs={"x": np.zeros(5, "f4")})
        )
        assert (code, "at most 4" in message) == (INVALID, True)
        code, _ = remote.error(
            predict_request("m", inputs={"x": np.zeros(99999, "f4")})
        )
        assert code == "RESOURCE_EXHAUSTED"


def test_what_is_not_registered_is_unimplemented(served):
    _, remote = served
    assert isinstance(remote, Remote)
    for method in (
        "/tensorflow.serving.SessionService/SessionRun",
        "/tensorflow.serving.PredictionService/PredictStreamed",
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ):
        with pytest.raises(Exception, match="UNIMPLEMENTED"):
            remote.channel.unary_unary(method)(b"", timeout=5)
