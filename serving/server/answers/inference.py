"""Classify, Regress and MultiInference on one loaded model.

Enters: examples, serialized into one string tensor named `inputs`. Leaves:
classes with labels and scores, or one value an example. Checks and words are
those of TensorFlow Serving's `classifier.cc`, `regressor.cc` and
`multi_inference.cc`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import tensorflow as tf
from google.protobuf import message
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    regression_pb2,
)

from serving.errors import ServingError, invalid
from serving.server.answers.predict import (
    DEFAULT_SIGNATURE,
    Limits,
    write_spec,
)
from serving.server.runtime.bundle import Bundle, Signature
from serving.wire import tensors

Request: TypeAlias = (
    classification_pb2.ClassificationRequest | regression_pb2.RegressionRequest
)
Response: TypeAlias = (
    classification_pb2.ClassificationResponse
    | regression_pb2.RegressionResponse
)
_Arrays = dict[str, np.ndarray]
# In this order; how messages call what NumPy calls otherwise.
_CLASS_DTYPES = {
    "classes": (np.dtype(object), "DT_STRING"),
    "scores": (np.dtype(np.float32), "DT_FLOAT"),
}


@dataclass(frozen=True)
class Method:
    """How Classify and Regress differ.

    `name` is the signature's `method_name`, `kind` what messages call it.
    """

    api: str
    name: str
    kind: str
    response: type[message.Message]
    find_outputs: Callable[[Signature], list[str]]
    write: Callable[[message.Message, _Arrays, int], None]

    def outputs(self, signature: Signature, limits: Limits) -> list[str]:
        """The outputs to fetch."""
        found = signature.definition.method_name
        if limits.check_method_name and found != self.name:
            raise invalid(
                f"Expected {self.kind} signature method_name to be "
                f"{self.name}. Was: {found}"
            )
        if len(signature.feeds) != 1:
            raise invalid("Expected one input Tensor.")
        return self.find_outputs(signature)


_Tasks = list[tuple[Method, Signature, list[str]]]


def infer(
    method: Method,
    bundle: Bundle,
    request: Request,
    version: int | None,
    timeout_seconds: float | None,
    limits: Limits,
) -> tuple[Response, int]:
    """Answers a request for classes or for values, as `predict.run` does.

    Returns:
        The response, and the number of examples that it answers.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = bundle.signature(name)
    if signature is None:
        raise invalid(f"No signature was found with the name: {name}")
    names = method.outputs(signature, limits)
    examples = _examples(request.input, limits)
    task = (method, signature, names)
    (arrays,) = _run(bundle, [task], examples, timeout_seconds)
    response = method.response()
    write_spec(request.model_spec, version, response.model_spec)
    method.write(response.result, arrays, len(examples))
    return response, len(examples)


def multi(
    bundle: Bundle,
    request: inference_pb2.MultiInferenceRequest,
    version: int | None,
    timeout_seconds: float | None,
    limits: Limits,
) -> tuple[inference_pb2.MultiInferenceResponse, int]:
    """Answers a `MultiInferenceRequest` in one run of the graph."""
    seen: set[str] = set()
    tasks: _Tasks = []
    for task in request.tasks:
        spec = task.model_spec
        name = spec.signature_name or DEFAULT_SIGNATURE
        if not spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if spec.name != request.tasks[0].model_spec.name:
            raise invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the "
                "same model name."
            )
        if name in seen:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        seen.add(name)
        signature = bundle.signature(name)
        if signature is None:
            raise invalid(
                f"Requested signature not found in model graph: {name}"
            )
        method = _METHODS.get(task.method_name)
        if method is None:
            raise ServingError(
                f"Unsupported signature method_name: {task.method_name}",
                "UNIMPLEMENTED",
            )
        tasks.append((method, signature, method.outputs(signature, limits)))
    examples = _examples(request.input, limits)
    if not tasks:
        raise invalid("Must specify at least one target to fetch or execute.")
    response = inference_pb2.MultiInferenceResponse()
    found = _run(bundle, tasks, examples, timeout_seconds)
    for task, (method, _, _), arrays in zip(
        request.tasks, tasks, found, strict=True
    ):
        entry = response.results.add()
        result = getattr(entry, f"{method.kind}_result")
        result.SetInParent()
        method.write(result, arrays, len(examples))
        write_spec(task.model_spec, version, entry.model_spec)
    return response, len(examples)


def _run(
    bundle: Bundle,
    tasks: _Tasks,
    examples: np.ndarray,
    timeout_seconds: float | None,
) -> list[_Arrays]:
    """The outputs of every task, from one run."""
    fetches = list(
        {
            signature.fetches[name]: None
            for _, signature, names in tasks
            for name in names
        }
    )
    # One that may be long makes the whole run so.
    signatures = [signature for _, signature, _ in tasks]
    decisive = next((one for one in signatures if not one.quick), signatures[0])
    feeds = {signature.feeds["inputs"]: examples for signature in signatures}
    arrays = bundle.run(decisive, feeds, fetches, timeout_seconds)
    found = dict(zip(fetches, arrays, strict=True))
    return [
        {name: found[signature.fetches[name]] for name in names}
        for _, signature, names in tasks
    ]


def _class_outputs(signature: Signature) -> list[str]:
    if len(signature.fetches) not in (1, 2):
        raise invalid(
            "Expected one or two output Tensors, found "
            f"{len(signature.fetches)}"
        )
    _check_input(signature, "classification")
    names = [name for name in _CLASS_DTYPES if name in signature.fetches]
    if not names:
        raise invalid(
            "Expected classification signature outputs to contain at least "
            'one of "classes" or "scores". Signature was: '
            f"{signature.definition}"
        )
    return names


def _value_outputs(signature: Signature) -> list[str]:
    if len(signature.fetches) != 1:
        raise invalid("Expected one output Tensor.")
    _check_input(signature, "regression")
    if "outputs" not in signature.fetches:
        raise invalid(
            "No regression outputs found in SignatureDef: "
            f"{signature.definition}"
        )
    return ["outputs"]


def _check_input(signature: Signature, kind: str) -> None:
    if "inputs" not in signature.feeds:
        raise invalid(
            f"No {kind} inputs found in SignatureDef: {signature.definition}"
        )


def _examples(source: input_pb2.Input, limits: Limits) -> np.ndarray:
    """Serialized examples `[num_examples]`, each behind the context."""
    context = b""
    listed = source.example_list
    if source.WhichOneof("kind") == "example_list_with_context":
        listed = source.example_list_with_context
        context = listed.context.SerializeToString()
    count = len(listed.examples)
    if not count:
        raise invalid("Input is empty.")
    limits.check_size("batch rows", count, limits.batch_rows, "")
    try:
        # The context is sent once, and lies in front of every example.
        tensors.Budget(limits.tensor_bytes).take(
            tensors.cost_of_strings(count, count * len(context)), (count,)
        )
    except tensors.TooLarge as error:
        raise invalid(f"tensor parsing error: {error}") from error
    found = np.empty(count, object)
    # Two serialized messages in a row are their merge.
    found[:] = [context + item.SerializeToString() for item in listed.examples]
    return found


def _shape(array: np.ndarray) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _dtype(array: np.ndarray) -> str:
    if array.dtype.kind in "OSU":
        return "DT_STRING"
    return types_pb2.DataType.Name(tf.as_dtype(array.dtype).as_datatype_enum)


def _check_classes(name: str, array: np.ndarray, count: int) -> None:
    dtype, words = _CLASS_DTYPES[name]
    if array.ndim != 2:
        raise invalid(
            "Expected Tensor shape: [batch_size num_classes] but got "
            f"{_shape(array)}"
        )
    if array.dtype != dtype:
        raise invalid(
            f"Expected {name} Tensor of {words}. Got: {_dtype(array)}"
        )
    if len(array) != count:
        raise invalid(
            f"Expected {name} output batch size of {count}. Got: {len(array)}"
        )


def _write_classes(
    result: classification_pb2.ClassificationResult, arrays: _Arrays, count: int
) -> None:
    for name, array in arrays.items():
        _check_classes(name, array, count)
    widths = [array.shape[1] for array in arrays.values()]
    if widths[0] != widths[-1]:
        raise invalid(
            "Tensors class and score should match in dim_size(1). Got "
            f"{widths[0]} vs. {widths[-1]}"
        )
    lists = {name: array.tolist() for name, array in arrays.items()}
    labels, values = lists.get("classes"), lists.get("scores")
    for row in range(count):
        entry = result.classifications.add()
        for column in range(widths[0]):
            item = entry.classes.add()
            if labels is not None:
                # The field is a string: what is not UTF-8 cannot be sent.
                item.label = labels[row][column].decode("utf-8", "replace")
            if values is not None:
                item.score = values[row][column]


def _write_values(
    result: regression_pb2.RegressionResult, arrays: _Arrays, count: int
) -> None:
    values = arrays["outputs"]
    if values.ndim != 1 and not (values.ndim == 2 and values.shape[1] == 1):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or "
            f"[batch_size, 1] but got {_shape(values)}"
        )
    if len(values) != count:
        raise invalid(
            "Input batch size did not match output batch size: "
            f"{count} vs. {len(values)}"
        )
    if values.dtype != np.float32:
        raise invalid(
            f"Expected output Tensor of DT_FLOAT.  Got: {_dtype(values)}"
        )
    for value in values.ravel().tolist():
        result.regressions.add(value=value)


CLASSIFY = Method(
    "Classify",
    "tensorflow/serving/classify",
    "classification",
    classification_pb2.ClassificationResponse,
    _class_outputs,
    _write_classes,
)
REGRESS = Method(
    "Regress",
    "tensorflow/serving/regress",
    "regression",
    regression_pb2.RegressionResponse,
    _value_outputs,
    _write_values,
)
_METHODS = {method.name: method for method in (CLASSIFY, REGRESS)}
