"""Classify, Regress and MultiInference on one loaded model.

Enters: examples, serialized into one string tensor named `inputs`. Leaves:
classes with labels and scores, or one value an example. Checks and words are
those of TensorFlow Serving's `classifier.cc`, `regressor.cc` and
`multi_inference.cc`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import model_pb2

from serving.errors import ServingError
from serving.server.answers.predict import DEFAULT_SIGNATURE, Limits, check_size
from serving.server.runtime.bundle import Bundle, Signature
from serving.wire import tensors

_INVALID = "INVALID_ARGUMENT"


def infer(
    method: "Method",
    bundle: Bundle,
    request: Any,
    response: Any,
    version: int | None,
    timeout_seconds: float | None,
    limits: Limits,
    run_tensors: Any = None,
) -> int:
    """Answers a Classification- or `RegressionRequest`.

    Args:
        method: Which of the two.
        bundle: The model that answers.
        request: Names the signature and holds the examples.
        response: Empty, filled.
        version: Goes into the answer; None leaves it out.
        timeout_seconds: When to give up, None for never.
        limits: What the request may ask for.
        run_tensors: Runs the graph instead of `bundle.run_tensors`: batching.

    Returns:
        The number of examples.

    Raises:
        ServingError: With the code of each rule.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = bundle.signature(name)
    if signature is None:
        raise ServingError(
            f"No signature was found with the name: {name}", _INVALID
        )
    names = method.outputs(signature, limits)
    examples = _examples(request.input, limits)
    arrays = (run_tensors or bundle.run_tensors)(
        signature,
        {signature.feeds["inputs"]: examples},
        [signature.fetches[output] for output in names],
        timeout_seconds,
    )
    write_spec(request.model_spec, version, response.model_spec)
    found = dict(zip(names, arrays, strict=True))
    method.write(response.result, found, len(examples))
    return len(examples)


def first_spec(request: Any) -> Any:
    """The model spec that decides which model answers all tasks."""
    if not request.tasks:
        return model_pb2.ModelSpec()
    return request.tasks[0].model_spec


def multi(
    bundle: Bundle,
    request: Any,
    response: Any,
    version: int | None,
    timeout_seconds: float | None,
    limits: Limits,
    run_tensors: Any = None,
) -> int:
    """Answers a `MultiInferenceRequest`; returns the number of examples.

    Raises:
        ServingError: With the code of each rule.
    """
    seen: set[str] = set()
    tasks: list[tuple[Method, Signature, list[str]]] = []
    model = first_spec(request).name
    for task in request.tasks:
        _check_task(task, model, seen)
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = bundle.signature(name)
        if signature is None:
            raise ServingError(
                f"Requested signature not found in model graph: {name}",
                _INVALID,
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
        raise ServingError(
            "Must specify at least one target to fetch or execute.", _INVALID
        )
    feeds = {signature.feeds["inputs"]: examples for _, signature, _ in tasks}
    fetches = list(
        {
            signature.fetches[name]: None
            for _, signature, names in tasks
            for name in names
        }
    )
    run = run_tensors or bundle.run_tensors
    # One that may be long makes the whole run so.
    signatures = [signature for _, signature, _ in tasks]
    decisive = next((one for one in signatures if not one.quick), signatures[0])
    found = dict(
        zip(
            fetches,
            run(decisive, feeds, fetches, timeout_seconds),
            strict=True,
        )
    )
    for task, (method, signature, names) in zip(
        request.tasks, tasks, strict=True
    ):
        arrays = {name: found[signature.fetches[name]] for name in names}
        entry = response.results.add()
        result = getattr(entry, method.result)
        result.SetInParent()
        method.write(result, arrays, len(examples))
        write_spec(task.model_spec, version, entry.model_spec)
    return len(examples)


def _check_task(task: Any, model: str, seen: set[str]) -> None:
    if not task.model_spec.name:
        raise ServingError(
            "Found ModelSpec with an empty model name.", _INVALID
        )
    if task.model_spec.name != model:
        raise ServingError(
            "All ModelSpecs in a MultiInferenceRequest must access the same "
            "model name.",
            _INVALID,
        )
    name = task.model_spec.signature_name or DEFAULT_SIGNATURE
    if name in seen:
        raise ServingError(
            f"Duplicate evaluation of signature: {name}", _INVALID
        )
    seen.add(name)


def write_spec(asked: Any, version: int | None, spec: Any) -> None:
    """Name, resolved signature and resolved version, never a label."""
    spec.name = asked.name
    spec.signature_name = asked.signature_name or DEFAULT_SIGNATURE
    if version is not None:
        spec.version.value = version


def _class_outputs(signature: Signature) -> list[str]:
    if len(signature.fetches) not in (1, 2):
        raise ServingError(
            "Expected one or two output Tensors, found "
            f"{len(signature.fetches)}",
            _INVALID,
        )
    _check_input(signature, "classification")
    names: list[str] = [
        name for name in ("classes", "scores") if name in signature.fetches
    ]
    if not names:
        raise ServingError(
            "Expected classification signature outputs to contain at least "
            'one of "classes" or "scores". Signature was: '
            f"{signature.definition}",
            _INVALID,
        )
    return names


def _value_outputs(signature: Signature) -> list[str]:
    if len(signature.fetches) != 1:
        raise ServingError("Expected one output Tensor.", _INVALID)
    _check_input(signature, "regression")
    if "outputs" not in signature.fetches:
        raise ServingError(
            "No regression outputs found in SignatureDef: "
            f"{signature.definition}",
            _INVALID,
        )
    return ["outputs"]


def _check_input(signature: Signature, kind: str) -> None:
    if "inputs" not in signature.feeds:
        raise ServingError(
            f"No {kind} inputs found in SignatureDef: {signature.definition}",
            _INVALID,
        )


def _examples(source: Any, limits: Limits) -> np.ndarray:
    """Serialized examples `[num_examples]`, each behind the context."""
    context = b""
    kind = source.WhichOneof("kind")
    if kind == "example_list_with_context":
        examples = source.example_list_with_context.examples
        context = source.example_list_with_context.context.SerializeToString()
    elif kind == "example_list":
        examples = source.example_list.examples
    else:
        examples = []
    if not len(examples):
        raise ServingError("Input is empty.", _INVALID)
    check_size("batch rows", len(examples), limits.batch_rows)
    try:
        # The context is sent once, and lies in front of every example.
        count = len(examples)
        tensors.Budget(limits.tensor_bytes).take(
            tensors.cost_of_strings(count, count * len(context)), (count,)
        )
    except tensors.TooLarge as error:
        raise ServingError(
            f"tensor parsing error: {error}", _INVALID
        ) from error
    found = np.empty(len(examples), object)
    # Two serialized messages in a row are their merge.
    found[:] = [context + item.SerializeToString() for item in examples]
    return found


def _shape(array: np.ndarray) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _dtype(array: np.ndarray) -> str:
    if array.dtype.kind in "OSU":
        return "DT_STRING"
    return types_pb2.DataType.Name(tf.as_dtype(array.dtype).as_datatype_enum)


def _check_classes(
    name: str, array: np.ndarray, dtype: np.dtype, words: str, count: int
) -> None:
    if array.ndim != 2:
        raise ServingError(
            "Expected Tensor shape: [batch_size num_classes] but got "
            f"{_shape(array)}",
            _INVALID,
        )
    if array.dtype != dtype:
        raise ServingError(
            f"Expected {name} Tensor of {words}. Got: {_dtype(array)}", _INVALID
        )
    if len(array) != count:
        raise ServingError(
            f"Expected {name} output batch size of {count}. Got: {len(array)}",
            _INVALID,
        )


def _write_classes(
    result: Any, arrays: dict[str, np.ndarray], count: int
) -> None:
    classes, scores = arrays.get("classes"), arrays.get("scores")
    if classes is not None:
        _check_classes("classes", classes, np.dtype(object), "DT_STRING", count)
    if scores is not None:
        _check_classes(
            "scores", scores, np.dtype(np.float32), "DT_FLOAT", count
        )
    if classes is not None and scores is not None:
        if classes.shape[1] != scores.shape[1]:
            raise ServingError(
                "Tensors class and score should match in dim_size(1). Got "
                f"{classes.shape[1]} vs. {scores.shape[1]}",
                _INVALID,
            )
    labels = None if classes is None else classes.tolist()
    values = None if scores is None else scores.tolist()
    width = (classes if scores is None else scores).shape[1]  # type: ignore
    for row in range(count):
        entry = result.classifications.add()
        for column in range(width):
            item = entry.classes.add()
            if labels is not None:
                # The field is a string: what is not UTF-8 cannot be sent.
                item.label = labels[row][column].decode("utf-8", "replace")
            if values is not None:
                item.score = values[row][column]


def _write_values(
    result: Any, arrays: dict[str, np.ndarray], count: int
) -> None:
    values = arrays["outputs"]
    if values.ndim != 1 and not (values.ndim == 2 and values.shape[1] == 1):
        raise ServingError(
            "Expected output Tensor shape to be either [batch_size] or "
            f"[batch_size, 1] but got {_shape(values)}",
            _INVALID,
        )
    if len(values) != count:
        raise ServingError(
            "Input batch size did not match output batch size: "
            f"{count} vs. {len(values)}",
            _INVALID,
        )
    if values.dtype != np.float32:
        raise ServingError(
            f"Expected output Tensor of DT_FLOAT.  Got: {_dtype(values)}",
            _INVALID,
        )
    for value in values.ravel().tolist():
        result.regressions.add(value=value)


@dataclass(frozen=True)
class Method:
    """How Classify and Regress differ.

    Attributes:
        api: What metrics call it.
        name: The signature's `method_name`.
        result: Field of an `InferenceResult`.
        find_outputs: The outputs to fetch, or an error.
        write: Fills the result from outputs, for so many examples.
    """

    api: str
    name: str
    result: str
    find_outputs: Callable[[Signature], list[str]]
    write: Callable[[Any, dict[str, np.ndarray], int], None]

    def outputs(self, signature: Signature, limits: Limits) -> list[str]:
        """The outputs to fetch.

        Raises:
            ServingError: If the signature is not one of this method.
        """
        found = signature.definition.method_name
        if limits.check_method_name and found != self.name:
            kind = self.result.removesuffix("_result")
            raise ServingError(
                f"Expected {kind} signature method_name to be {self.name}. "
                f"Was: {found}",
                _INVALID,
            )
        if len(signature.feeds) != 1:
            raise ServingError("Expected one input Tensor.", _INVALID)
        return self.find_outputs(signature)


CLASSIFY = Method(
    "Classify",
    "tensorflow/serving/classify",
    "classification_result",
    _class_outputs,
    _write_classes,
)
REGRESS = Method(
    "Regress",
    "tensorflow/serving/regress",
    "regression_result",
    _value_outputs,
    _write_values,
)
_METHODS = {method.name: method for method in (CLASSIFY, REGRESS)}
