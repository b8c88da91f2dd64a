"""Tiny SavedModels whose answers are arithmetic, for tests of the server.

Exporting needs half a second each, so the tests export once a session and
copy directories.
"""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

WARMUP = Path("assets.extra") / "tf_serving_warmup_requests"


class Affine(tf.Module):
    """y = x * slope + 2: half plus two, and its relatives."""

    def __init__(self, slope=0.5):
        super().__init__()
        self.slope = tf.Variable(slope)
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(["a", "b"], [1, 2]), 0
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def serving_default(self, x):
        return {"y": x * self.slope + 2.0}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, "x"),
            tf.TensorSpec([None], tf.float32, "y"),
        ]
    )
    def two(self, x, y):
        return {"sum": x + y, "product": x * y}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
    def matrix(self, x):
        return {"y": tf.matmul(x, tf.ones([2, 1]))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "words")])
    def strings(self, words):
        return {
            "echo_bytes": words,
            "index": self.table.lookup(words),
            "length": tf.strings.length(words),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "steps")])
    def slow(self, steps):
        value = tf.constant(0, tf.int64)
        while value < steps[0]:
            value += 1
        return {"steps": value}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], dtype, dtype.name)
            for dtype in (
                tf.float64,
                tf.int32,
                tf.int16,
                tf.int8,
                tf.uint8,
                tf.uint16,
                tf.uint32,
                tf.uint64,
                tf.bool,
                tf.float16,
                tf.complex64,
                tf.bfloat16,
            )
        ]
    )
    def dtypes(self, f64, i32, i16, i8, u8, u16, u32, u64, b, f16, c64, bf16):
        tensors = (f64, i32, i16, i8, u8, u16, u32, u64, b, f16, c64, bf16)
        return {
            f"{tensor.dtype.name}_out": tf.identity(tensor)
            for tensor in tensors
        }


class Examples(tf.Module):
    """Labels and values from tf.Examples with one float feature "x"."""

    def _x(self, inputs, kind=tf.float32):
        spec = {"x": tf.io.FixedLenFeature([], kind)}
        return tf.io.parse_example(inputs, spec)["x"]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def serving_default(self, inputs):
        x = self._x(inputs)
        labels = tf.tile([["low", "high"]], [tf.shape(x)[0], 1])
        return {"classes": labels, "scores": tf.stack([1.0 - x, x], 1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def scores(self, inputs):
        return {"scores": tf.stack([self._x(inputs)], 1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classes(self, inputs):
        return {"classes": tf.strings.as_string(self._x(inputs))[:, None]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def regress(self, inputs):
        return {"outputs": self._x(inputs) * 2.0}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def regress_column(self, inputs):
        return {"outputs": self._x(inputs)[:, None] * 2.0}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def regress_wide(self, inputs):
        return {"outputs": tf.stack([self._x(inputs)] * 2, 1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def regress_double(self, inputs):
        return {"outputs": tf.cast(self._x(inputs), tf.float64)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def flat_scores(self, inputs):
        return {"scores": self._x(inputs)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "rows")])
    def other_name(self, rows):
        return {"outputs": self._x(rows), "more": self._x(rows)}


SIGNATURES = {
    Affine: ("serving_default", "two", "matrix", "strings", "slow", "dtypes"),
    Examples: (
        "serving_default",
        "scores",
        "classes",
        "regress",
        "regress_column",
        "regress_wide",
        "regress_double",
        "flat_scores",
        "other_name",
    ),
}


def export(module, directory, signatures=None):
    """Saves a module with its signatures."""
    names = signatures or SIGNATURES[type(module)]
    tf.saved_model.save(
        module,
        str(directory),
        signatures={name: getattr(module, name) for name in names},
    )
    return Path(directory)


def publish(source, base, version):
    """Copies a model to `base/version` as publishing does, by rename."""
    base = Path(base)
    base.mkdir(parents=True, exist_ok=True)
    staging = base / f".staging-{version}"
    shutil.copytree(source, staging)
    staging.rename(base / str(version))
    return base / str(version)


def break_model(base, version):
    """A version that cannot be loaded."""
    base = Path(base)
    staging = base / f".staging-{version}"
    staging.mkdir(parents=True)
    (staging / "saved_model.pb").write_bytes(b"not a model")
    staging.rename(base / str(version))


def write_warmup(model, *requests):
    """Puts PredictRequests, other logs or raw bytes into the warm-up file."""
    path = Path(model) / WARMUP
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            if isinstance(request, bytes):
                writer.write(request)
                continue
            if not isinstance(request, prediction_log_pb2.PredictionLog):
                log = prediction_log_pb2.PredictionLog()
                log.predict_log.request.CopyFrom(request)
                request = log
            writer.write(request.SerializeToString())


@functools.cache
def originals():
    """Exported once a test run: {"affine", "third", "examples"} to paths."""
    directory = Path(tempfile.mkdtemp(prefix="serving-models-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return {
        "affine": export(Affine(), directory / "affine"),
        # Answers otherwise, so that tests can tell versions apart.
        "third": export(
            Affine(1 / 3), directory / "third", ("serving_default", "slow")
        ),
        "examples": export(Examples(), directory / "examples"),
    }
