"""JSON bodies of the REST API as request messages.

Row format `{"instances": [...]}` and columnar `{"inputs": ...}`; examples are
in `json_examples`. Values take the dtype of the signature; words and rules
are those of TensorFlow Serving's `json_tensor.cc`. Bytes that are not UTF-8
pass through as they are.
"""

import base64
import binascii
import gc
import json
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from serving.errors import ServingError
from serving.server.rest.text import debug

INT64 = 2**63
_INT32 = 2**31
# Dtype to the field of its values and the permitted integers.
_INTEGERS = {
    "int32": ("int_val", -_INT32, _INT32),
    "int16": ("int_val", -_INT32, _INT32),
    "int8": ("int_val", -_INT32, _INT32),
    "uint8": ("int_val", -_INT32, _INT32),
    "int64": ("int64_val", -INT64, INT64),
    "uint32": ("uint32_val", 0, 2 * _INT32),
    "uint64": ("uint64_val", 0, 2 * INT64),
}
_FLOATS = {"float": "float_val", "double": "double_val"}
# The parser is one call into C, which no other thread interrupts: a million
# values take it a tenth of a second.
MAX_VALUES = 2**20
_MARKS = (b",", b"[", b"{")
# What the bare words become: these very objects, no others.
_CONSTANTS = {word: float(word) for word in ("NaN", "Infinity", "-Infinity")}
_DECODER = json.JSONDecoder(parse_constant=_CONSTANTS.__getitem__)


def invalid(message: str) -> ServingError:
    """The error of nearly every rule here."""
    return ServingError(message, "INVALID_ARGUMENT")


def _too_big() -> ServingError:
    return invalid("JSON Parse error: Number too big to be stored in double.")


def parse(body: bytes) -> dict[str, Any]:
    """Reads a body; what follows the first value is ignored.

    Raises:
        ServingError: If it is not a JSON object, or one of too many values.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    if len(body) > MAX_VALUES:
        # Each value but the first has one in front of it.
        count = sum(map(body.count, _MARKS))
        if count > MAX_VALUES:
            raise invalid(
                f"A body may have at most {MAX_VALUES} values. Received: up to "
                f"{count}. Split the request, or send it over gRPC."
            )
    text = body.decode("utf-8", "surrogateescape")
    start = len(text) - len(text.lstrip(" \t\r\n"))
    # Values are made by the million here, and none of them is garbage.
    collects = gc.isenabled()
    gc.disable()
    try:
        found, _ = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise invalid(
            f"JSON Parse error: {error.msg} at offset: {error.pos}"
        ) from error
    except (RecursionError, ValueError) as error:
        raise invalid(f"JSON Parse error: {error}") from error
    finally:
        if collects:
            gc.enable()
    if not isinstance(found, dict):
        raise invalid(f"JSON Value: {debug(found)} Is not object")
    return found


def fill_signature(document: dict[str, Any], spec: Any) -> None:
    """Copies `signature_name`, which must be a string."""
    if "signature_name" in document:
        name = document["signature_name"]
        if not isinstance(name, str):
            raise invalid(
                f"JSON Value: {debug(document)} not formatted correctly. "
                "'signature_name' key must be a string value."
            )
        spec.signature_name = to_text(name)


def fill_predict(
    document: dict[str, Any],
    request: Any,
    find_inputs: Callable[[str], dict[str, Any]],
) -> bool:
    """Fills a `PredictRequest`.

    Args:
        document: The body.
        request: With the model spec, except the signature.
        find_inputs: Signature name to its inputs' `TensorInfo`.

    Returns:
        Whether the format is by rows.

    Raises:
        ServingError: If the body does not fit the signature.
    """
    fill_signature(document, request.model_spec)
    name = request.model_spec.signature_name
    infos = find_inputs(name)
    if not infos:
        raise invalid(
            f"Failed to get input map for signature: {name or 'DEFAULT'}"
        )
    if "instances" in document and "inputs" in document:
        raise invalid(
            f"JSON Value: {debug(document)} Not formatted correctly expecting "
            "only one of 'inputs' or 'instances' keys to exist "
        )
    if "instances" in document:
        instances = document["instances"]
        if not isinstance(instances, list):
            raise invalid(
                f"JSON Value: {debug(document)} Expecting 'instances' to be "
                "an list/array"
            )
        if not instances:
            raise invalid(
                f"JSON Value: {debug(document)} No values in 'instances' array"
            )
        _fill_rows(instances, infos, request.inputs)
        return True
    if "inputs" in document:
        _fill_columns(document["inputs"], infos, request.inputs)
        return False
    raise invalid("Missing 'inputs' or 'instances' key")


def is_base64(value: Any) -> bool:
    """Whether a value is `{"b64": "..."}`."""
    return (
        isinstance(value, dict)
        and len(value) == 1
        and isinstance(value.get("b64"), str)
    )


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def _fill_rows(rows: list[Any], infos: dict[str, Any], tensors: Any) -> None:
    if not isinstance(rows[0], dict) and len(infos) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as "
            "multiple input tensors required as per tensorinfo_map"
        )
    are_objects = _is_object(rows[0])
    columns = {name: _Column(info) for name, info in infos.items()}
    for place, row in enumerate(rows):
        if are_objects != _is_object(row):
            words = (
                "Expecting object but got list at item"
                if are_objects
                else "Expecting value/list but got object at item"
            )
            raise invalid(f"{words} {place} of input list")
        cells = row if are_objects else {next(iter(infos)): row}
        for name, cell in cells.items():
            try:
                if name not in columns:
                    raise invalid(
                        f"JSON object: does not have named input: {name}"
                    )
                columns[name].add(cell)
            except ServingError as error:
                key = f" key: {name}" if are_objects else ""
                raise invalid(
                    f"Failed to process element: {place}{key} of 'instances' "
                    f"list. Error: {error.code}: {error}"
                ) from error
        if cells.keys() != infos.keys():
            raise invalid(
                f"Failed to process element: {place} of 'instances' list. "
                f"JSON object: {debug(row)} keys must be equal to: "
                f"{','.join(sorted(infos))}"
            )
    for name, column in columns.items():
        column.write(tensors[name], len(rows))


class _Column:
    """Values of one input over all rows; every row has the same shape."""

    def __init__(self, info: Any) -> None:
        self.dtype = info.dtype
        self.values: list[Any] = []
        self.shape: list[int] | None = None

    def add(self, cell: Any) -> None:
        shape = _shape(cell)
        before = len(self.values)
        _collect(cell, 0, shape, dtype_name(self.dtype), self.values)
        if self.shape is None:
            self.shape, self.size = shape, len(self.values) - before
        elif len(self.values) - before != self.size:
            raise invalid(
                f"Expecting tensor size: {self.size} but got: "
                f"{len(self.values) - before}"
            )
        elif shape != self.shape:
            raise invalid(
                f"Expecting shape {_render(self.shape)} but got: "
                f"{_render(shape)}"
            )

    def write(self, tensor: Any, rows: int) -> None:
        _write(tensor, self.dtype, [rows, *(self.shape or [])], self.values)


def _fill_columns(inputs: Any, infos: dict[str, Any], tensors: Any) -> None:
    if not _is_object(inputs):
        if len(infos) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as "
                "multiple input tensors required as per tensorinfo_map"
            )
        inputs = {next(iter(infos)): inputs}
    for name, info in infos.items():
        if name not in inputs:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        shape = _shape(inputs[name])
        values: list[Any] = []
        _collect(inputs[name], 0, shape, dtype_name(info.dtype), values)
        _write(tensors[name], info.dtype, shape, values)


def _render(shape: list[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _shape(value: Any) -> list[int]:
    """Sizes along the first elements."""
    sizes = []
    while isinstance(value, list):
        sizes.append(len(value))
        if not value:
            break
        value = value[0]
    return sizes


def dtype_name(dtype: int) -> str:
    """TensorFlow's name of a dtype: float, double, the others as in Python."""
    name = tf.as_dtype(dtype).name
    return {"float32": "float", "float64": "double", "float16": "half"}.get(
        name, name
    )


def _collect(
    value: Any, level: int, shape: list[int], dtype: str, values: list[Any]
) -> None:
    """Appends the leaves of `value`, which must have that shape."""
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {debug(value)} found at incorrect level: "
                f"{level + 1} in the JSON DOM. Expected at level: {len(shape)}"
            )
        values.append(leaf(value, dtype))
        return
    if level >= len(shape):
        raise invalid(
            f"Encountered list at unexpected level: {level} expected < "
            f"{len(shape)}"
        )
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: "
            f"{level} expected size: {shape[level]}"
        )
    for item in value:
        _collect(item, level + 1, shape, dtype, values)


def leaf(value: Any, dtype: str) -> Any:
    """A value that fits the dtype.

    Raises:
        ServingError: If it does not.
    """
    if dtype == "string":
        if isinstance(value, str):
            return to_bytes(value)
        if isinstance(value, dict):
            return from_base64(value)
    elif dtype in _FLOATS:
        if type(value) in (int, float):
            try:
                number = float(value)
            except OverflowError as error:
                raise _too_big() from error
            # Python reads 1e400 as infinite; only the words may be.
            if math.isinf(number) and not any(
                value is word for word in _CONSTANTS.values()
            ):
                raise _too_big()
            return number
    elif dtype in _INTEGERS:
        _, low, high = _INTEGERS[dtype]
        if type(value) is int and low <= value < high:
            return value
    elif dtype == "bool":
        if isinstance(value, bool):
            return value
    elif not isinstance(value, dict):
        raise ServingError(
            f"Conversion of JSON Value: {debug(value)} to type: {dtype}",
            "UNIMPLEMENTED",
        )
    raise invalid(
        f"JSON Value: {debug(value)} Type: {kind(value)} is not of expected "
        f"type: {dtype}"
    )


def kind(value: Any) -> str:
    """What messages call a value's type."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, dict):
        return "Object"
    if isinstance(value, list):
        return "Array"
    return "String" if isinstance(value, str) else "Number"


def to_bytes(text: str) -> bytes:
    """The bytes of a JSON string; half a surrogate pair is refused."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise invalid(
            "JSON Parse error: The surrogate pair in string is invalid."
        ) from error


def to_text(text: str) -> str:
    """A string that a message can hold: half surrogates are refused."""
    return to_bytes(text).decode("utf-8", "replace")


def from_base64(value: dict[str, Any]) -> bytes:
    """The bytes of `{"b64": "..."}`."""
    if not is_base64(value):
        raise invalid(
            f"JSON Value: {debug(value)} not formatted correctly for base64 "
            "data"
        )
    try:
        text = to_bytes(value["b64"]).translate(None, b" \t\r\n").rstrip(b"=")
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


def _write(
    tensor: Any, dtype: int, shape: list[int], values: list[Any]
) -> None:
    tensor.dtype = dtype
    tensor.tensor_shape.SetInParent()
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    name = dtype_name(dtype)
    if name == "string":
        tensor.string_val.extend(values)
    elif name == "bool":
        tensor.bool_val.extend(values)
    elif name in _FLOATS:
        getattr(tensor, _FLOATS[name]).extend(values)
    elif name in _INTEGERS:
        getattr(tensor, _INTEGERS[name][0]).extend(values)
