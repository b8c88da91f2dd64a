"""JSON examples of classify and regress as tf.Example messages.

A feature is one value or a flat list of one kind: whole numbers, fractions,
or strings and `{"b64": ...}`. A context is shared by all examples.
"""

from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow_serving.apis import classification_pb2, regression_pb2

from serving.errors import invalid
from serving.server.rest.requests import (
    INT64,
    fill_signature,
    from_base64,
    is_base64,
    kind,
    leaf,
    to_bytes,
    to_text,
)
from serving.server.rest.text import Json, debug


def fill(
    document: dict[str, Json],
    request: classification_pb2.ClassificationRequest
    | regression_pb2.RegressionRequest,
) -> None:
    """Fills a request."""
    fill_signature(document, request.model_spec)
    target = request.input.example_list
    if "context" in document:
        target = request.input.example_list_with_context
        _fill_example(document["context"], target.context)
    examples = document.get("examples")
    if "examples" not in document:
        problem = (
            "When method is classify, key 'examples' is expected and was not "
            "found"
        )
    elif not isinstance(examples, list):
        problem = "Expecting 'examples' value to be an list/array"
    else:
        problem = "'examples' value is an empty array"
        for item in examples:
            _fill_example(item, target.examples.add())
    if not target.examples:
        raise invalid(f"JSON Value: {debug(document)} {problem}")


def _fill_example(value: Json, example: example_pb2.Example) -> None:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {kind(value)}")
    example.SetInParent()
    for name, content in value.items():
        feature = example.features.feature[to_text(name)]
        for item in content if isinstance(content, list) else [content]:
            _add_feature(item, name, feature)


def _add_feature(value: Json, name: str, feature: feature_pb2.Feature) -> None:
    item: Json | bytes = value
    if isinstance(value, bool):
        field, item = "int64_list", int(value)
    elif isinstance(value, str):
        field, item = "bytes_list", to_bytes(value)
    elif isinstance(value, dict) and is_base64(value):
        field, item = "bytes_list", from_base64(value)
    elif isinstance(value, float) or (
        isinstance(value, int) and not -INT64 <= value < 2 * INT64
    ):
        field, item = "float_list", leaf(value, "float")
    elif isinstance(value, int):
        field = "int64_list"
        if value >= INT64:
            raise invalid(
                f"Feature: {name} has uint64_t element. Only int64_t is "
                "supported."
            )
    else:
        raise invalid(
            f"Feature: {name} has element with unexpected JSON type: "
            f"{kind(value)}"
        )
    present = feature.WhichOneof("kind")
    if present not in (None, field):
        raise invalid(
            f"Unexpected element type in feature: {name} expecting type: "
            f"{present.removesuffix('_list')}"
        )
    getattr(feature, field).value.append(item)
