import contextlib
import shutil
import threading

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

import tests.support.serving_models as models
from serving.errors import ServingError
from serving.server.runtime.bundle import Bundle


@pytest.fixture(scope="module")
def bundle():
    loaded = Bundle(models.originals()["affine"])
    yield loaded
    loaded.close()


def run(bundle, name, timeout=30.0, **inputs):
    """All outputs of a signature by name."""
    signature = bundle.signature(name)
    feeds = {signature.feeds[alias]: value for alias, value in inputs.items()}
    fetches = list(signature.fetches.values())
    arrays = bundle.run(signature, feeds, fetches, timeout)
    return dict(zip(signature.fetches, arrays, strict=True))


def code(raised):
    return raised.value.code


def test_signatures_are_those_of_the_file(bundle):
    assert {"serving_default", "two", "__saved_model_init_op"} <= set(
        bundle.signature_defs
    )
    assert bundle.signature("absent") is None
    two = bundle.signature("two")
    assert (list(two.feeds), list(two.fetches)) == (
        ["x", "y"],
        ["product", "sum"],
    )


def test_it_runs_again_and_again(bundle):
    for _ in range(3):
        found = run(bundle, "serving_default", x=np.float32([1, 2]))
        assert found["y"].tolist() == [2.5, 3.0]


@pytest.mark.parametrize("shape", [(), (0,), (2, 2), (1, 2, 3)])
def test_shapes_are_not_checked_against_the_signature(bundle, shape):
    found = run(bundle, "serving_default", x=np.ones(shape, np.float32))
    assert found["y"].shape == shape


def test_strings_without_dimensions_are_arrays(bundle):
    found = run(bundle, "strings", words=np.array(b"a", object))
    assert found["echo_bytes"].shape == ()
    assert found["echo_bytes"].dtype == object
    assert found["echo_bytes"].item() == b"a"


def test_dtypes_are_never_cast(bundle):
    with pytest.raises(ServingError) as raised:
        run(bundle, "serving_default", x=np.int64([1]))
    assert str(raised.value) == (
        "Expects arg[0] to be float but int64 is provided"
    )
    assert code(raised) == "INVALID_ARGUMENT"


def test_a_kernel_may_refuse_a_shape(bundle):
    with pytest.raises(ServingError, match="Matrix size-incompatible"):
        run(bundle, "matrix", x=np.ones((2, 3), np.float32))


def test_a_deadline_interrupts_a_long_run(bundle):
    # A quick answer says nothing of the next request.
    for _ in range(3):
        run(bundle, "slow", 0.2, steps=np.int64([3]))
    steps = np.int64([10**9])
    with pytest.raises(ServingError) as raised:
        run(bundle, "slow", 0.2, steps=steps)
    assert code(raised) == "DEADLINE_EXCEEDED"
    with pytest.raises(ServingError) as raised:
        run(bundle, "slow", 0.0, steps=steps)
    assert code(raised) == "DEADLINE_EXCEEDED"


class Product(tf.Module):
    """One operation that takes long, and does not pause as loops do."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, "size")])
    def serving_default(self, size):
        ones = tf.ones([size, size])
        return {"y": tf.matmul(ones, ones)[0, 0]}


@pytest.mark.parametrize("is_loading", [True, False])
def test_a_load_leaves_the_pool_to_requests(tmp_path, is_loading):
    config = config_pb2.ConfigProto()
    config.session_inter_op_thread_pool.add(num_threads=1, global_name="one")
    models.export(Product(), tmp_path / "product", ["serving_default"])
    served = Bundle(models.originals()["affine"], config=config)
    other = Bundle(tmp_path / "product", config=config)

    def long_run():
        with other.loading() if is_loading else contextlib.nullcontext():
            run(other, "serving_default", None, size=np.int32(3000))

    run(served, "slow", None, steps=np.int64([1]))
    run(other, "serving_default", None, size=np.int32(1))
    thread = threading.Thread(target=long_run)
    thread.start()
    answered = 0
    while thread.is_alive():
        run(served, "slow", None, steps=np.int64([1]))
        answered += thread.is_alive()
    thread.join()
    served.close()
    other.close()
    # Behind the long run one may wait, after some before it begins.
    assert (answered > 100) == is_loading


def test_what_is_no_tensor_cannot_be_fetched(bundle):
    with pytest.raises(ServingError) as raised:
        bundle.signature("__saved_model_init_op")
    assert code(raised) == "INVALID_ARGUMENT"


def test_what_cannot_be_loaded_says_why(tmp_path):
    def load(path, **options):
        with pytest.raises(ServingError) as raised:
            Bundle(path, **options)
        return code(raised), str(raised.value)

    empty = tmp_path / "1"
    empty.mkdir()
    found, message = load(empty)
    assert found == "NOT_FOUND"
    assert message.startswith("Could not find SavedModel .pb or .pbtxt")
    assert load(tmp_path / "absent")[0] == "NOT_FOUND"
    plain = tmp_path / "2"
    plain.write_text("a file")
    assert load(plain) == (
        "FAILED_PRECONDITION",
        f"{plain}/saved_model.pb; Not a directory",
    )
    models.break_model(tmp_path, 3)
    assert load(tmp_path / "3") == (
        "OUT_OF_RANGE",
        "Read less bytes than requested",
    )
    (tmp_path / "3" / "saved_model.pb").write_bytes(b"\xff" * 4000)
    assert load(tmp_path / "3") == (
        "DATA_LOSS",
        f"Can't parse {tmp_path}/3/saved_model.pb as binary proto",
    )
    found, message = load(models.originals()["affine"], tags=["gpu"])
    assert found == "NOT_FOUND"
    assert "matching supplied tags: { gpu }" in message
    copied = tmp_path / "4"
    shutil.copytree(models.originals()["affine"], copied)
    for file in (copied / "variables").glob("*.data-*"):
        file.unlink()
    found, message = load(copied)
    assert found == "NOT_FOUND"
    assert ".data-" in message
    (copied / "variables" / "variables.index").unlink()
    found, message = load(copied)
    assert found == "NOT_FOUND"
    assert "variables.index" in message
