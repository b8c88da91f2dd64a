"""Hostile and oversized requests: an answer or an error, never a crash."""

import contextlib
import gc
import os
import random
import socket

import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2

import tests.support.serving_calls as calls
import tests.support.serving_models as models
from serving.errors import ServingError

SEED = 20_260_131


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    base = tmp_path_factory.mktemp("fuzz")
    for name in ("affine", "examples"):
        models.publish(models.originals()[name], base / name, 1)
    config = base / "models.config"
    request = calls.reload_request(
        *(
            {"name": name, "base_path": str(base / name)}
            for name in ("affine", "examples")
        )
    )
    config.write_text(str(request.config))
    with calls.running(f"--model_config_file={config}") as found:
        yield found


@pytest.fixture
def servicer(running):
    return running[0].servicer


@pytest.fixture
def call(running):
    return running[1]


def originals():
    """One good request of each kind."""
    words = np.empty(2, object)
    words[:] = [b"a", "é\0".encode()]
    return [
        calls.predict_request(),
        calls.predict_request(
            inputs={"x": np.float32([1]), "y": np.float32([2])},
            signature="two",
            outputs=["sum"],
            version=1,
        ),
        calls.predict_request(inputs={"words": words}, signature="strings"),
        calls.predict_request(
            inputs={"x": np.ones((3, 2), np.float32)}, signature="matrix"
        ),
        calls.classify_request(),
        calls.regress_request(),
        calls.multi_request(
            ("examples", None, "classify"), ("examples", "regress", "regress")
        ),
        calls.metadata_request(),
        calls.status_request(),
    ]


def mutate(data, source):
    """Mostly flips a byte, which often still parses, or moves some."""
    made = bytearray(data)
    for _ in range(source.choice((1, 1, 1, 3))):
        place = source.randrange(len(made) + 1)
        kind = source.choice((0, 0, 0, 0, 0, 0, 1, 2, 3))
        if kind == 0 and place < len(made):
            made[place] = source.randrange(256)
        elif kind == 1:
            del made[place : place + source.randint(1, 8)]
        elif kind == 2:
            made[place:place] = source.randbytes(source.randint(1, 8))
        else:
            made[place:place] = made[place : place + source.randint(1, 30)]
    return bytes(made)


def answers(servicer, request):
    """Whether it was answered; any error but ours fails the test."""
    method = getattr(servicer, calls.METHODS[type(request)][1])
    try:
        method(request).SerializeToString()
    except ServingError as error:
        assert error.code in grpc.StatusCode.__members__, error.code
        # INTERNAL is what faults of ours would be called.
        assert error.code != "INTERNAL", error
        return False
    return True


def test_nine_thousand_mutated_messages(servicer):
    source = random.Random(SEED)
    goods = [(type(one), one.SerializeToString()) for one in originals()]
    parsed = answered = 0
    for index in range(9_000):
        kind, data = goods[index % len(goods)]
        with contextlib.suppress(DecodeError):
            request = kind.FromString(mutate(data, source))
            parsed += 1
            answered += answers(servicer, request)
    # Otherwise nothing but the parser was tested.
    assert parsed > 1_500
    assert answered > 200
    assert all(answers(servicer, request) for request in originals())


@settings(
    max_examples=300,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    signature=st.sampled_from(["", "two", "matrix", "strings", "x\0", "é"]),
    names=st.lists(
        st.sampled_from(["x", "y", "words", ""]), max_size=3, unique=True
    ),
    dtype=st.sampled_from([0, 1, 2, 3, 7, 9, 10, 14, 19, 20, 99]),
    shape=st.lists(st.integers(-1, 3) | st.just(2**40), max_size=3),
    values=st.lists(st.floats(width=32), max_size=4),
    outputs=st.lists(st.sampled_from(["y", "sum", "q"]), max_size=2),
    version=st.none() | st.integers(-(2**63), 2**63 - 1),
)
def test_a_thousandth_of_all_requests(
    servicer, signature, names, dtype, shape, values, outputs, version
):
    request = predict_pb2.PredictRequest(output_filter=outputs)
    calls.spec(request.model_spec, "affine", version, None, signature)
    for name in names:
        tensor = request.inputs[name]
        tensor.dtype = dtype
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
        tensor.float_val.extend(values)
        tensor.string_val.extend(str(value).encode() for value in values)
    answers(servicer, request)


def test_raw_bytes_over_the_wire(call):
    source = random.Random(SEED)
    for name in ("Predict", "Classify", "MultiInference", "GetModelMetadata"):
        method = call.channel.unary_unary(
            f"/tensorflow.serving.PredictionService/{name}"
        )
        pending = [
            method.future(source.randbytes(source.randrange(200)), timeout=30)
            for _ in range(175)
        ]
        assert all(one.code() != grpc.StatusCode.OK for one in pending)
    call(calls.predict_request())


@pytest.mark.parametrize(
    "word",
    [
        b"",
        b"\0",
        b"a\0b",
        "ключ\N{SNOWMAN}".encode(),
        b"\xff\xfe",
        b"x" * 10**6,
    ],
    ids=["empty", "nul", "nul inside", "unicode", "not UTF-8", "1 MB"],
)
def test_strings_come_back_as_they_are(call, word):
    words = np.empty(2, object)
    words[:] = [word, b"a"]
    answer = call(
        calls.predict_request(inputs={"words": words}, signature="strings")
    )
    assert list(answer.outputs["echo_bytes"].string_val) == [word, b"a"]
    assert answer.outputs["length"].int_val[0] == len(word)


@pytest.mark.parametrize("name", ["a\0b", "ключ", "../../etc", "x" * 5000])
def test_odd_model_names_are_not_found(call, name):
    code, message = call.error(calls.predict_request(name))
    assert code == "NOT_FOUND"
    assert len(message.encode()) <= 1024 + len("...TRUNCATED")


def test_ten_thousand_rows(call):
    rows = np.arange(10_000, dtype=np.float32)
    answer = call(calls.predict_request(inputs={"x": rows}))
    assert answer.outputs["y"].float_val == (rows * 0.5 + 2).tolist()


def test_a_tiny_message_cannot_ask_for_a_huge_tensor(call):
    request = calls.predict_request()
    request.inputs["x"].tensor_shape.dim[0].size = 10**12
    code, message = call.error(request)
    assert code == "INVALID_ARGUMENT"
    assert message.startswith("tensor parsing error: x")


def test_a_request_pays_for_its_inputs_before_they_are_made(call):
    tensor = calls.predict_request(signature="strings", inputs={})
    made = tensor.inputs["words"]
    made.dtype = 7
    made.tensor_shape.dim.add(size=2**25)
    # 17 bytes of a tensor, of which TensorFlow alone would make 0.8 GiB.
    assert made.ByteSize() < 20
    code, message = call.error(tensor)
    assert (code, "bytes of memory" in message) == ("INVALID_ARGUMENT", True)
    both = {"x": np.zeros(1, "f4"), "y": np.zeros(1, "f4")}
    request = calls.predict_request(signature="two", inputs=both)
    for alias in both:
        request.inputs[alias].tensor_shape.dim[0].size = 30_000_000
    # Each of them would do, both together are too much.
    code, message = call.error(request)
    assert (code, "permitted at once" in message) == ("INVALID_ARGUMENT", True)


def test_limits_of_rows_width_and_bytes(tmp_path):
    models.publish(models.originals()["affine"], tmp_path, 1)
    with calls.running(
        "--model_name=affine",
        f"--model_base_path={tmp_path}",
        "--max_batch_rows=4",
        "--max_row_width=2",
        "--max_request_bytes=1000",
    ) as (_, call):
        call(calls.predict_request(inputs={"x": np.ones(4, np.float32)}))
        for shape in ((5,), (1, 3)):
            request = calls.predict_request(
                inputs={"x": np.ones(shape, np.float32)}
            )
            code, message = call.error(request)
            assert code == "INVALID_ARGUMENT"
            assert "at most" in message
        words = np.array([b"x" * 2000], object)
        code, _ = call.error(
            calls.predict_request(inputs={"words": words}, signature="strings")
        )
        assert code == "RESOURCE_EXHAUSTED"


def test_silent_connections_hold_nobody_up(call):
    host, port = call.target.split(":")
    with contextlib.ExitStack() as stack:
        for index in range(100):
            idle = stack.enter_context(
                socket.create_connection((host, int(port)))
            )
            # Half of them stop in the middle of the HTTP/2 preface.
            if index % 2:
                idle.sendall(b"PRI * HTTP/2.0\r\n")
        for _ in range(20):
            call(calls.predict_request(), timeout=10)
    fresh = calls.Remote(call.target)
    fresh(calls.predict_request())
    fresh.close()


def resident_bytes():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_strings_of_100_megabytes(call):
    words = np.empty(1, object)
    sizes = []
    for _ in range(12):
        words[0] = b"x" * 100_000_000
        answer = call(
            calls.predict_request(inputs={"words": words}, signature="strings"),
            timeout=120,
        )
        assert answer.outputs["length"].int_val == [100_000_000]
        assert answer.outputs["echo_bytes"].string_val[0] == words[0]
        words[0] = b""
        del answer
        gc.collect()
        sizes.append(resident_bytes())
    # Client and server share this process with other tests: memory comes and
    # goes, and the first calls take some for good. So the least of each half
    # counts: a copy that every call left would put 500 MB between them.
    assert min(sizes[7:]) - min(sizes[2:7]) < 400_000_000
