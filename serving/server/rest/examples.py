"""JSON examples of classify and regress as tf.Example messages.

A feature is one value or a flat list of one kind: whole numbers, fractions,
or strings and `{"b64": ...}`. A context is shared by all examples.
"""

from typing import Any

from serving.server.rest.requests import (
    INT64,
    fill_signature,
    from_base64,
    invalid,
    is_base64,
    kind,
    leaf,
    to_bytes,
    to_text,
)
from serving.server.rest.text import debug


def fill(document: dict[str, Any], request: Any) -> None:
    """Fills a `ClassificationRequest` or `RegressionRequest`.

    Raises:
        ServingError: If the body is not a list of flat examples.
    """
    fill_signature(document, request.model_spec)
    target = request.input.example_list
    if "context" in document:
        target = request.input.example_list_with_context
        _fill_example(document["context"], target.context)
    if "examples" not in document:
        raise invalid(
            f"JSON Value: {debug(document)} When method is classify, key "
            "'examples' is expected and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise invalid(
            f"JSON Value: {debug(document)} Expecting 'examples' value to be "
            "an list/array"
        )
    if not examples:
        raise invalid(
            f"JSON Value: {debug(document)} 'examples' value is an empty array"
        )
    for item in examples:
        _fill_example(item, target.examples.add())


def _fill_example(value: Any, example: Any) -> None:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {kind(value)}")
    example.SetInParent()
    for name, content in value.items():
        feature = example.features.feature[to_text(name)]
        items = content if isinstance(content, list) else [content]
        for item in items:
            _add_feature(item, name, feature)


_KINDS = {
    "bytes_list": "bytes",
    "float_list": "float",
    "int64_list": "int64",
}


def _add_feature(value: Any, name: str, feature: Any) -> None:
    item: Any
    if isinstance(value, bool):
        field, item = "int64_list", int(value)
    elif isinstance(value, str):
        field, item = "bytes_list", to_bytes(value)
    elif is_base64(value):
        field, item = "bytes_list", from_base64(value)
    elif isinstance(value, float) or (
        isinstance(value, int) and not -INT64 <= value < 2 * INT64
    ):
        field, item = "float_list", leaf(value, "float")
    elif isinstance(value, int):
        if value >= INT64:
            raise invalid(
                f"Feature: {name} has uint64_t element. Only int64_t is "
                "supported."
            )
        field, item = "int64_list", value
    else:
        raise invalid(
            f"Feature: {name} has element with unexpected JSON type: "
            f"{kind(value)}"
        )
    present = feature.WhichOneof("kind")
    if present not in (None, field):
        raise invalid(
            f"Unexpected element type in feature: {name} expecting type: "
            f"{_KINDS[present]}"
        )
    getattr(feature, field).value.append(item)
