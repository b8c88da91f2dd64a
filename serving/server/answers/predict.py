"""Predict on one loaded model: request message in, response message out.

Order and words of every check are those of TensorFlow Serving's
`predict_util.cc`; clients match on them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from serving.errors import ServingError
from serving.server.runtime.bundle import Bundle, Signature
from serving.wire import tensors

DEFAULT_SIGNATURE = "serving_default"
METHOD_NAMES = (
    "tensorflow/serving/predict",
    "tensorflow/serving/classify",
    "tensorflow/serving/regress",
)


@dataclass(frozen=True)
class Limits:
    """What one request may ask for, so that it cannot exhaust the process.

    Attributes:
        batch_rows: Largest first dimension of an input.
        row_width: Largest other dimension of an input, such as the number of
            candidates of a row.
        tensor_bytes: Memory that the inputs may take, see `codec.Budget`.
        check_method_name: Whether a signature must be one for the method.
        as_tensor_content: Whether outputs go into `tensor_content`.
    """

    batch_rows: int = 1_000_000
    row_width: int = 1_000_000
    tensor_bytes: int = tensors.MAX_TENSOR_BYTES
    check_method_name: bool = False
    as_tensor_content: bool = False


def run(
    bundle: Bundle,
    request: Any,
    response: Any,
    version: int | None,
    timeout_seconds: float | None,
    limits: Limits,
    run_tensors: Any = None,
) -> None:
    """Answers a `PredictRequest`.

    Args:
        bundle: The model that answers.
        request: Names the signature, inputs and outputs.
        response: Empty `PredictResponse`, filled.
        version: Goes into the answer; None leaves it out.
        timeout_seconds: When to give up, None for never.
        limits: What the request may ask for.
        run_tensors: Runs the graph instead of `bundle.run_tensors`: batching.

    Raises:
        ServingError: With the code of each rule.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = bundle.signature(name)
    if signature is None:
        raise ServingError(
            f'Serving signature key "{name}" not found.', "FAILED_PRECONDITION"
        )
    check_method_name(signature, limits)
    feeds = _feeds(signature, request.inputs, limits)
    names = _outputs(signature, request.output_filter)
    fetches = [signature.fetches[alias] for alias in names]
    arrays = (run_tensors or bundle.run_tensors)(
        signature, feeds, fetches, timeout_seconds
    )
    spec = response.model_spec
    spec.name = request.model_spec.name
    spec.signature_name = name
    if version is not None:
        spec.version.value = version
    outputs = response.outputs
    for alias, array in zip(names, arrays, strict=True):
        write(array, outputs[alias], limits)


def write(array: np.ndarray, tensor: Any, limits: Limits) -> None:
    """Writes an output; dtypes that NumPy lacks go through TensorFlow."""
    try:
        tensors.encode(array, tensor, limits.as_tensor_content)
    except ValueError:
        tensor.CopyFrom(tf.make_tensor_proto(array))


def check_method_name(signature: Signature, limits: Limits) -> None:
    """Refuses signatures of unknown methods where that check is on."""
    method = signature.definition.method_name
    if limits.check_method_name and method not in METHOD_NAMES:
        raise ServingError(
            "Expected prediction signature method_name to be one of "
            f"{{{', '.join(METHOD_NAMES)}}}. Was: {method}",
            "INTERNAL",
        )


def _feeds(
    signature: Signature, inputs: Any, limits: Limits
) -> dict[Any, np.ndarray]:
    wanted = signature.feeds
    if len(inputs) > len(wanted) or (
        len(inputs) < len(wanted) and not signature.defaults
    ):
        raise ServingError(_size_message(set(inputs), set(wanted)), _INVALID)
    feeds = {}
    budget = tensors.Budget(limits.tensor_bytes)
    for alias, tensor in wanted.items():
        if alias in inputs:
            feeds[tensor] = _decode(alias, inputs[alias], limits, budget)
        elif alias in signature.defaults:
            feeds[tensor] = signature.defaults[alias]
        else:
            raise ServingError(
                f"Signature input alias: {alias}(feed name: "
                f"{signature.definition.inputs[alias].name}) not found in "
                "request and no default value provided. Inputs expected to "
                f"be in the set {{{','.join(wanted)}}}.",
                _INVALID,
            )
    return feeds


def _decode(
    alias: str, tensor: Any, limits: Limits, budget: tensors.Budget
) -> np.ndarray:
    try:
        shape = tensors.shape_of(tensor)
        if shape:
            check_size("batch rows", shape[0], limits.batch_rows, alias)
            for size in shape[1:]:
                check_size("values a row", size, limits.row_width, alias)
        return tensors.decode(tensor, budget, shape)
    except tensors.TooLarge as error:
        raise _unparsed(alias, error) from error
    except ValueError as error:
        try:
            return _decode_rare(tensor)
        except Exception:
            raise _unparsed(alias, error) from error


def _unparsed(alias: str, error: ValueError) -> ServingError:
    return ServingError(f"tensor parsing error: {alias}: {error}", _INVALID)


def _decode_rare(tensor: Any) -> np.ndarray:
    """Dtypes that only TensorFlow knows: bfloat16, quantised, 8-bit floats."""
    dtype = tf.as_dtype(tensor.dtype)
    size = np.prod([float(dim.size) for dim in tensor.tensor_shape.dim])
    carried = max(len(tensor.half_val), len(tensor.int_val))
    if dtype.as_numpy_dtype in _COMMON or not 0 <= size <= 64 * (carried + 1):
        raise ValueError("not a rare dtype, or hardly any values")
    return tf.make_ndarray(tensor)


_COMMON = (np.float32, np.float64, np.int32, np.int64, np.bool_, object)


def check_size(what: str, size: int, limit: int, alias: str = "") -> None:
    """Refuses what exceeds a limit of the server."""
    if size > limit:
        where = f"tensor parsing error: {alias}: " if alias else ""
        raise ServingError(
            f"{where}A request may have at most {limit} {what}. Received: "
            f"{size}. Split the request.",
            _INVALID,
        )


def _size_message(sent: set[str], wanted: set[str]) -> str:
    def join(names: set[str]) -> str:
        return ",".join(sorted(names))

    return (
        f"input size does not match signature: {len(sent)}!={len(wanted)} "
        f"len({{{join(sent)}}}) != len({{{join(wanted)}}}). Sent extra: "
        f"{{{join(sent - wanted)}}}. Missing but required: "
        f"{{{join(wanted - sent)}}}."
    )


def _outputs(signature: Signature, output_filter: Any) -> list[str]:
    names: list[str] = []
    for alias in output_filter:
        if alias not in signature.fetches:
            raise ServingError(
                f"output tensor alias not found in signature: {alias} Outputs "
                "expected to be in the set "
                f"{{{','.join(signature.fetches)}}}.",
                _INVALID,
            )
        if alias in names:
            raise ServingError(
                f"duplicate output tensor alias: {alias}", _INVALID
            )
        names.append(alias)
    return names or list(signature.fetches)


_INVALID = "INVALID_ARGUMENT"
