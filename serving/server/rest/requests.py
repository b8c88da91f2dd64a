"""JSON bodies of the REST API as request messages.

Row format `{"instances": [...]}` and columnar `{"inputs": ...}`; `examples`
has those of classify and regress. Values take the dtype of the signature;
words and rules are those of TensorFlow Serving's `json_tensor.cc`. Bytes that
are not UTF-8 pass through as they are.
"""

import base64
import binascii
import gc
import json
import math
from collections.abc import Callable, Mapping, MutableMapping
from typing import TypeGuard

from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2

from serving.errors import ServingError, invalid
from serving.server.rest.text import Json, debug

INT64 = 2**63
# Dtype to the field of its values.
_FIELDS = {
    "string": "string_val",
    "bool": "bool_val",
    "float": "float_val",
    "double": "double_val",
    **dict.fromkeys(("int32", "int16", "int8", "uint8"), "int_val"),
    **{name: f"{name}_val" for name in ("int64", "uint32", "uint64")},
}
# Whole numbers that a field holds.
_RANGES = {
    "int_val": range(-(2**31), 2**31),
    "int64_val": range(-INT64, INT64),
    "uint32_val": range(2**32),
    "uint64_val": range(2 * INT64),
}
# The parser is one call into C, which no other thread interrupts: a million
# values take it a tenth of a second.
MAX_VALUES = 2**20
_MARKS = (b",", b"[", b"{")
# What the bare words become: these very objects, no others.
_CONSTANTS = {word: float(word) for word in ("NaN", "Infinity", "-Infinity")}
_DECODER = json.JSONDecoder(parse_constant=_CONSTANTS.__getitem__)

_Infos = Mapping[str, meta_graph_pb2.TensorInfo]
_Tensors = MutableMapping[str, tensor_pb2.TensorProto]


def parse(body: bytes) -> dict[str, Json]:
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


def fill_signature(
    document: dict[str, Json], spec: model_pb2.ModelSpec
) -> None:
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
    document: dict[str, Json],
    request: predict_pb2.PredictRequest,
    find_inputs: Callable[[str], _Infos],
) -> bool:
    """Fills a request that has its model spec, except the signature.

    Args:
        document: The body.
        request: The message.
        find_inputs: Signature name to its inputs, by name and in order.

    Returns:
        Whether the format is by rows.
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
    if "inputs" in document:
        _fill_columns(document["inputs"], infos, request.inputs)
        return False
    if "instances" not in document:
        raise invalid("Missing 'inputs' or 'instances' key")
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


def is_base64(value: Json) -> bool:
    """Whether a value is `{"b64": "..."}`."""
    return (
        isinstance(value, dict)
        and len(value) == 1
        and isinstance(value.get("b64"), str)
    )


def _is_object(value: Json) -> TypeGuard[dict[str, Json]]:
    return isinstance(value, dict) and not is_base64(value)


def _fill_rows(rows: list[Json], infos: _Infos, tensors: _Tensors) -> None:
    if not isinstance(rows[0], dict) and len(infos) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as "
            "multiple input tensors required as per tensorinfo_map"
        )
    are_objects = _is_object(rows[0])
    columns = {name: _Column(info.dtype) for name, info in infos.items()}
    for place, row in enumerate(rows):
        if are_objects != _is_object(row):
            words = (
                "Expecting object but got list at item"
                if are_objects
                else "Expecting value/list but got object at item"
            )
            raise invalid(f"{words} {place} of input list")
        cells = row if _is_object(row) else {next(iter(infos)): row}
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
        column.write(tensors[name], [len(rows)])


def _fill_columns(inputs: Json, infos: _Infos, tensors: _Tensors) -> None:
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
        column = _Column(info.dtype)
        column.add(inputs[name])
        column.write(tensors[name], [])


class _Column:
    """Values of one input; all that are added have the same shape."""

    def __init__(self, dtype: int) -> None:
        self._dtype = dtype
        self._name = dtype_name(dtype)
        self._values: list[Json | bytes] = []
        self._shape: list[int] | None = None
        self._size = 0

    def add(self, cell: Json) -> None:
        shape = _shape(cell)
        before = len(self._values)
        self._collect(cell, 0, shape)
        size = len(self._values) - before
        if self._shape is None:
            self._shape, self._size = shape, size
        elif size != self._size:
            raise invalid(
                f"Expecting tensor size: {self._size} but got: {size}"
            )
        elif shape != self._shape:
            raise invalid(
                f"Expecting shape {_render(self._shape)} but got: "
                f"{_render(shape)}"
            )

    def _collect(self, value: Json, level: int, shape: list[int]) -> None:
        """Appends the leaves of `value`, which must have that shape."""
        if not isinstance(value, list):
            if level != len(shape):
                raise invalid(
                    f"JSON Value: {debug(value)} found at incorrect level: "
                    f"{level + 1} in the JSON DOM. Expected at level: "
                    f"{len(shape)}"
                )
            self._values.append(leaf(value, self._name))
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
            self._collect(item, level + 1, shape)

    def write(self, tensor: tensor_pb2.TensorProto, rows: list[int]) -> None:
        """Fills a message; `rows` are dimensions before the values' own."""
        tensor.dtype = self._dtype
        tensor.tensor_shape.SetInParent()
        for size in rows + (self._shape or []):
            tensor.tensor_shape.dim.add(size=size)
        if self._name in _FIELDS:
            getattr(tensor, _FIELDS[self._name]).extend(self._values)


def _render(shape: list[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _shape(value: Json) -> list[int]:
    """Sizes along the first elements."""
    sizes = []
    while isinstance(value, list):
        sizes.append(len(value))
        if not value:
            break
        value = value[0]
    return sizes


def dtype_name(dtype: int) -> str:
    """TensorFlow's own name of a dtype: float, double, half, int32."""
    return types_pb2.DataType.Name(dtype).removeprefix("DT_").lower()


def leaf(value: Json, dtype: str) -> "Json | bytes":
    """A value that fits the dtype; another is refused."""
    field = _FIELDS.get(dtype)
    if field == "string_val":
        if isinstance(value, str):
            return to_bytes(value)
        if isinstance(value, dict):
            return from_base64(value)
    elif field in ("float_val", "double_val"):
        if type(value) is float and math.isfinite(value):
            return value
        if type(value) is float or type(value) is int:
            return _float(value)
    elif field in _RANGES:
        if type(value) is int and value in _RANGES[field]:
            return value
    elif field == "bool_val":
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


def _float(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    # Python reads 1e400 as infinite; only the words may be.
    if math.isinf(number) and not any(
        value is word for word in _CONSTANTS.values()
    ):
        raise invalid(
            "JSON Parse error: Number too big to be stored in double."
        )
    return number


def kind(value: Json) -> str:
    """What messages call a value's type."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return str(value)
    names: dict[type, str] = {dict: "Object", list: "Array", str: "String"}
    return names.get(type(value), "Number")


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


def from_base64(value: dict[str, Json]) -> bytes:
    """The bytes of `{"b64": "..."}`."""
    text = value.get("b64")
    if len(value) != 1 or not isinstance(text, str):
        raise invalid(
            f"JSON Value: {debug(value)} not formatted correctly for base64 "
            "data"
        )
    try:
        data = to_bytes(text).translate(None, b" \t\r\n").rstrip(b"=")
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error
