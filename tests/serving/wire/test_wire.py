"""The light messages are byte for byte TensorFlow Serving's."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import any_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.wire import serving_pb2, tensor_pb2

ROOT = Path(__file__).parents[3]
PROTOS = sorted(
    str(path.relative_to(ROOT)) for path in ROOT.glob("serving/wire/*.proto")
)


@pytest.fixture(scope="module")
def original():
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        predict_pb2,
    )

    return {
        "PredictRequest": predict_pb2.PredictRequest,
        "PredictResponse": predict_pb2.PredictResponse,
        "GetModelMetadataRequest": (
            get_model_metadata_pb2.GetModelMetadataRequest
        ),
        "GetModelMetadataResponse": (
            get_model_metadata_pb2.GetModelMetadataResponse
        ),
        "SignatureDefMap": get_model_metadata_pb2.SignatureDefMap,
        "GetModelStatusRequest": get_model_status_pb2.GetModelStatusRequest,
        "GetModelStatusResponse": get_model_status_pb2.GetModelStatusResponse,
    }


def descriptor(path):
    """What a generated file says of its messages, apart from who wrote it."""
    return [
        line
        for line in path.read_text().splitlines()
        if line.startswith("DESCRIPTOR = ")
    ]


def test_generated_files_are_what_the_protos_generate(tmp_path):
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", "-I."),
            *(f"--python_out={tmp_path}", *PROTOS),
        ],
        cwd=ROOT,
        check=True,
    )

    generated = sorted(tmp_path.glob("serving/wire/*_pb2.py"))
    assert len(generated) == len(PROTOS) == 5
    for path in generated:
        committed = ROOT / path.relative_to(tmp_path)
        assert descriptor(path) == descriptor(committed) != [], committed


def test_generated_files_ask_for_no_newer_runtime_than_the_client_does():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for proto in PROTOS:
        generated = (ROOT / proto.replace(".proto", "_pb2.py")).read_text()
        version = re.search("Protobuf Python Version: (.*)", generated)
        assert f"protobuf>={version[1]},<8" in project["dependencies"]


names = st.text(max_size=8)
int64 = st.integers(-(2**63), 2**63 - 1)
int32 = st.integers(-(2**31), 2**31 - 1)
shapes = st.fixed_dictionaries(
    {
        "dim": st.lists(
            st.fixed_dictionaries({"size": int64, "name": names}), max_size=3
        ),
        "unknown_rank": st.booleans(),
    }
)
floats32 = st.lists(st.floats(width=32, allow_nan=True), max_size=3)
tensors = st.fixed_dictionaries(
    {
        "dtype": st.integers(0, 23),
        "tensor_shape": shapes,
        "version_number": int32,
        "tensor_content": st.binary(max_size=8),
        "float_val": floats32,
        "double_val": st.lists(st.floats(), max_size=3),
        "int_val": st.lists(int32, max_size=3),
        "string_val": st.lists(st.binary(max_size=5), max_size=3),
        "scomplex_val": floats32,
        "int64_val": st.lists(int64, max_size=3),
        "bool_val": st.lists(st.booleans(), max_size=3),
        "dcomplex_val": st.lists(st.floats(), max_size=3),
        "half_val": st.lists(st.integers(0, 2**16), max_size=3),
        "uint32_val": st.lists(st.integers(0, 2**32 - 1), max_size=3),
        "uint64_val": st.lists(st.integers(0, 2**64 - 1), max_size=3),
    }
)
specs = st.fixed_dictionaries(
    {"name": names, "signature_name": names},
    optional={"version": st.fixed_dictionaries({"value": int64})},
) | st.fixed_dictionaries({"name": names, "version_label": names})
tensor_infos = st.fixed_dictionaries(
    {"name": names, "dtype": st.integers(0, 23), "tensor_shape": shapes}
)
signatures = st.fixed_dictionaries(
    {
        "inputs": st.dictionaries(names, tensor_infos, max_size=2),
        "outputs": st.dictionaries(names, tensor_infos, max_size=2),
        "method_name": names,
        "defaults": st.dictionaries(names, tensors, max_size=1),
    }
)
MESSAGES = {
    "PredictRequest": st.fixed_dictionaries(
        {
            "model_spec": specs,
            "inputs": st.dictionaries(names, tensors, max_size=2),
            "output_filter": st.lists(names, max_size=2),
        }
    ),
    "PredictResponse": st.fixed_dictionaries(
        {
            "model_spec": specs,
            "outputs": st.dictionaries(names, tensors, max_size=2),
        }
    ),
    "GetModelMetadataRequest": st.fixed_dictionaries(
        {"model_spec": specs, "metadata_field": st.lists(names, max_size=2)}
    ),
    "GetModelMetadataResponse": st.fixed_dictionaries(
        {
            "model_spec": specs,
            "metadata": st.dictionaries(
                names,
                st.builds(any_pb2.Any, type_url=names, value=st.binary()),
                max_size=2,
            ),
        }
    ),
    "SignatureDefMap": st.fixed_dictionaries(
        {"signature_def": st.dictionaries(names, signatures, max_size=2)}
    ),
    "GetModelStatusRequest": st.fixed_dictionaries({"model_spec": specs}),
    "GetModelStatusResponse": st.fixed_dictionaries(
        {
            "model_version_status": st.lists(
                st.fixed_dictionaries(
                    {
                        "version": int64,
                        "state": st.sampled_from([0, 10, 20, 30, 40, 50]),
                        "status": st.fixed_dictionaries(
                            {
                                "error_code": st.integers(0, 16),
                                "error_message": names,
                            }
                        ),
                    }
                ),
                max_size=3,
            )
        }
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_bytes_equal_the_original_messages(name, original):
    ours, theirs = getattr(serving_pb2, name), original[name]

    @settings(max_examples=60, database=None)
    @given(MESSAGES[name])
    def check(values):
        own = ours(**values).SerializeToString(deterministic=True)
        other = theirs(**values).SerializeToString(deterministic=True)
        assert own == other
        # And back: each reads the other's bytes without losing any.
        assert ours.FromString(other).SerializeToString(
            deterministic=True
        ) == theirs.FromString(own).SerializeToString(deterministic=True)

    check()


def test_a_field_we_do_not_know_survives_a_round_trip(original):
    theirs = original["PredictRequest"]()
    theirs.inputs["x"].resource_handle_val.add(device="cpu", name="table")
    theirs.model_spec.name = "m"

    ours = serving_pb2.PredictRequest.FromString(theirs.SerializeToString())

    back = original["PredictRequest"].FromString(ours.SerializeToString())
    assert back == theirs


def test_dtype_numbers_are_tensorflows(original):
    from tensorflow.core.framework import types_pb2

    for name, number in tensor_pb2.DataType.items():
        assert types_pb2.DataType.Value(name) == number


def test_a_tensor_made_by_tensorflow_reads_the_same(original):
    import tensorflow as tf

    theirs = tf.make_tensor_proto(np.float32([[1.5, np.nan]]))

    ours = tensor_pb2.TensorProto.FromString(theirs.SerializeToString())

    assert ours.dtype == tensor_pb2.DT_FLOAT
    assert [d.size for d in ours.tensor_shape.dim] == [1, 2]
    assert ours.tensor_content == np.float32([[1.5, np.nan]]).tobytes()
