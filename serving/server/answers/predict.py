"""Predict on one loaded model: request message in, response message out.

Order and words of every check are those of TensorFlow Serving's
`predict_util.cc`; clients match on them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2

from serving.errors import ServingError, invalid
from serving.server.runtime.bundle import Bundle, Feeds, Signature
from serving.wire import tensors

DEFAULT_SIGNATURE = "serving_default"
METHOD_NAMES = (
    "tensorflow/serving/predict",
    "tensorflow/serving/classify",
    "tensorflow/serving/regress",
)
_COMMON = (np.float32, np.float64, np.int32, np.int64, np.bool_, object)


@dataclass(frozen=True)
class Limits:
    """What one request may ask for, so that it cannot exhaust the process.

    Attributes:
        batch_rows: Largest first dimension of an input.
        row_width: Largest other dimension of an input, such as the number of
            candidates of a row.
        tensor_bytes: Memory that the inputs may take, see `tensors.Budget`.
        check_method_name: Whether a signature must be one for the method.
        as_tensor_content: Whether outputs go into `tensor_content`.
    """

    batch_rows: int = 1_000_000
    row_width: int = 1_000_000
    tensor_bytes: int = tensors.MAX_TENSOR_BYTES
    check_method_name: bool = False
    as_tensor_content: bool = False

    def check_size(self, what: str, size: int, limit: int, alias: str) -> None:
        """Refuses what exceeds one of them; `alias` names the input, if any."""
        if size > limit:
            where = f"tensor parsing error: {alias}: " if alias else ""
            raise invalid(
                f"{where}A request may have at most {limit} {what}. Received: "
                f"{size}. Split the request."
            )


def run(
    bundle: Bundle,
    request: predict_pb2.PredictRequest,
    version: int | None,
    timeout_seconds: float | None,
    limits: Limits,
) -> predict_pb2.PredictResponse:
    """Answers a request; None leaves out the version, or the deadline."""
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = bundle.signature(name)
    if signature is None:
        raise ServingError(
            f'Serving signature key "{name}" not found.', "FAILED_PRECONDITION"
        )
    method = signature.definition.method_name
    if limits.check_method_name and method not in METHOD_NAMES:
        raise ServingError(
            "Expected prediction signature method_name to be one of "
            f"{{{', '.join(METHOD_NAMES)}}}. Was: {method}",
            "INTERNAL",
        )
    feeds = _feeds(signature, request.inputs, limits)
    names = _outputs(signature, request.output_filter)
    fetches = [signature.fetches[alias] for alias in names]
    arrays = bundle.run(signature, feeds, fetches, timeout_seconds)
    response = predict_pb2.PredictResponse()
    write_spec(request.model_spec, version, response.model_spec)
    outputs = response.outputs
    for alias, array in zip(names, arrays, strict=True):
        try:
            tensors.encode(array, outputs[alias], limits.as_tensor_content)
        except ValueError:
            # A dtype that NumPy lacks.
            outputs[alias].CopyFrom(tf.make_tensor_proto(array))
    return response


def write_spec(
    asked: model_pb2.ModelSpec, version: int | None, spec: model_pb2.ModelSpec
) -> None:
    """Name, resolved signature and resolved version, never a label."""
    spec.name = asked.name
    spec.signature_name = asked.signature_name or DEFAULT_SIGNATURE
    if version is not None:
        spec.version.value = version


def _feeds(
    signature: Signature,
    inputs: Mapping[str, tensor_pb2.TensorProto],
    limits: Limits,
) -> Feeds:
    wanted = signature.feeds
    if len(inputs) > len(wanted) or (
        len(inputs) < len(wanted) and not signature.defaults
    ):
        raise invalid(_size_message(set(inputs), set(wanted)))
    feeds = {}
    budget = tensors.Budget(limits.tensor_bytes)
    for alias, tensor in wanted.items():
        if alias in inputs:
            feeds[tensor] = _decode(alias, inputs[alias], limits, budget)
        elif alias in signature.defaults:
            feeds[tensor] = signature.defaults[alias]
        else:
            raise invalid(
                f"Signature input alias: {alias}(feed name: "
                f"{signature.definition.inputs[alias].name}) not found in "
                "request and no default value provided. Inputs expected to "
                f"be in the set {{{','.join(wanted)}}}."
            )
    return feeds


def _decode(
    alias: str,
    tensor: tensor_pb2.TensorProto,
    limits: Limits,
    budget: tensors.Budget,
) -> np.ndarray:
    try:
        shape = tensors.shape_of(tensor)
        if shape:
            limits.check_size("batch rows", shape[0], limits.batch_rows, alias)
            for size in shape[1:]:
                limits.check_size("values a row", size, limits.row_width, alias)
        return tensors.decode(tensor, budget, shape)
    except ValueError as error:
        try:
            if isinstance(error, tensors.TooLarge):
                raise
            return _decode_rare(tensor)
        except Exception:
            raise invalid(f"tensor parsing error: {alias}: {error}") from error


def _decode_rare(tensor: tensor_pb2.TensorProto) -> np.ndarray:
    """Dtypes that only TensorFlow knows: bfloat16, quantised, 8-bit floats."""
    dtype = tf.as_dtype(tensor.dtype)
    size = np.prod([float(dim.size) for dim in tensor.tensor_shape.dim])
    carried = max(len(tensor.half_val), len(tensor.int_val))
    if dtype.as_numpy_dtype in _COMMON or not 0 <= size <= 64 * (carried + 1):
        raise ValueError("not a rare dtype, or hardly any values")
    return tf.make_ndarray(tensor)


def _size_message(sent: set[str], wanted: set[str]) -> str:
    def join(names: set[str]) -> str:
        return ",".join(sorted(names))

    return (
        f"input size does not match signature: {len(sent)}!={len(wanted)} "
        f"len({{{join(sent)}}}) != len({{{join(wanted)}}}). Sent extra: "
        f"{{{join(sent - wanted)}}}. Missing but required: "
        f"{{{join(wanted - sent)}}}."
    )


def _outputs(signature: Signature, output_filter: Iterable[str]) -> list[str]:
    names: list[str] = []
    for alias in output_filter:
        if alias not in signature.fetches:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs "
                "expected to be in the set "
                f"{{{','.join(signature.fetches)}}}."
            )
        if alias in names:
            raise invalid(f"duplicate output tensor alias: {alias}")
        names.append(alias)
    return names or list(signature.fetches)
