"""JSON text byte for byte as TensorFlow Serving writes it.

Its writer (RapidJSON's pretty writer) puts every element on a line, four
blanks a level, except inside the rows of an answer, which stay on one line.
Floats have the fewest digits of six, nine or seventeen that read back equal,
and always a point or an exponent.
"""

import base64
import json
import re
from collections.abc import Mapping, Sized
from typing import TypeAlias

import numpy as np
from tensorflow_serving.apis import classification_pb2, regression_pb2

from serving.errors import invalid

# What a parsed body holds.
Json: TypeAlias = "dict[str, Json] | list[Json] | str | float | None"
# What is to be written: strings are JSON already.
_Cell: TypeAlias = "dict[str, _Cell] | list[_Cell] | str"

_INDENT = "    "
_DEBUG_CHARACTERS = 256
_WRITER = json.JSONEncoder(indent=4, ensure_ascii=False)
# Surrogates but those that stand for single bytes (surrogateescape).
_HALVES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_ESCAPES = {
    **{code: f"\\u{code:04X}" for code in range(32)},
    **{ord('"'): '\\"', ord("\\"): "\\\\"},
    **{8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"},
}
_WHOLE = ("int8", "uint8", "int16", "int32", "uint32", "int64", "uint64")


def string(text: str) -> str:
    """A JSON string; characters beyond ASCII stay as they are."""
    return f'"{text.translate(_ESCAPES)}"'


def numbers(array: np.ndarray) -> list[str]:
    """Each value of a float array as JSON."""
    digits = 9 if array.dtype == np.float32 else 17
    values = array.ravel().tolist()
    short = [f"{value:.6g}" for value in values]
    back = np.array(short, np.str_).astype(np.float64).astype(array.dtype)
    exact = (back == array.ravel()).tolist()
    found = []
    for value, text, is_exact in zip(values, short, exact, strict=True):
        if value != value:
            text = "NaN"
        elif text in ("inf", "-inf"):
            text = text.replace("inf", "Infinity")
        else:
            if not is_exact:
                text = f"{value:.{digits}g}"
            if "." not in text and "e" not in text:
                text += ".0"
        found.append(text)
    return found


def debug(value: Json) -> str:
    """The start of a value, for messages; no more of it is rendered."""
    text = ""
    if isinstance(value, str):
        # The writer takes a string as a whole.
        value = value[:_DEBUG_CHARACTERS]
    try:
        for part in _WRITER.iterencode(value):
            text += part
            if len(text) >= _DEBUG_CHARACTERS:
                break
    except RecursionError:
        return "..."
    return text[:_DEBUG_CHARACTERS]


def error(message: str) -> str:
    """The body of an error.

    What a caller sent may be quoted in it: bytes that are not UTF-8 stay,
    half a surrogate pair, which has no bytes, becomes U+FFFD.
    """
    message = _HALVES.sub("\ufffd", message)
    return f'{{\n    "error": {string(message)}\n}}'


def _cells(name: str, array: np.ndarray) -> _Cell:
    """The values of an output, in lists as its shape has them."""
    dtype = array.dtype
    values = array.ravel().tolist()
    found = np.empty(len(values), object)
    if dtype.kind == "O" and name.endswith("_bytes"):
        found[:] = [
            {"b64": f'"{base64.b64encode(value).decode()}"'} for value in values
        ]
    elif dtype.kind == "O":
        found[:] = [
            string(value.decode("utf-8", "surrogateescape")) for value in values
        ]
    elif dtype == np.bool_:
        found[:] = ["true" if value else "false" for value in values]
    elif dtype in (np.float32, np.float64):
        found[:] = numbers(array)
    elif dtype.name in _WHOLE:
        found[:] = list(map(str, values))
    else:
        kind = {"float16": "half"}.get(dtype.name, dtype.name)
        raise invalid(f"Failed to write JSON value for tensor type: {kind}")
    return found.reshape(array.shape).tolist()


def _write(value: _Cell, level: int, is_flat: bool) -> str:
    """A value's text, inside `level` arrays and objects; flat on one line."""
    if isinstance(value, str):
        return value
    inner = "\n" + _INDENT * (level + 1)
    if isinstance(value, dict):
        fields = [
            f"{string(name)}: {_write(cell, level + 1, is_flat)}"
            for name, cell in value.items()
        ]
        return f"{{{inner}{f',{inner}'.join(fields)}\n{_INDENT * level}}}"
    items = [
        cell if isinstance(cell, str) else _write(cell, level + 1, is_flat)
        for cell in value
    ]
    if is_flat or not items:
        return f"[{', '.join(items)}]"
    return f"[{inner}{f',{inner}'.join(items)}\n{_INDENT * level}]"


def predictions(arrays: Mapping[str, np.ndarray]) -> str:
    """Outputs by rows: `{"predictions": [...]}`."""
    _check_any(arrays, "tensor map")
    rows = -1
    for name, array in arrays.items():
        if not array.shape:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if rows not in (-1, len(array)):
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: "
                f"{len(array)} expecting: {rows}"
            )
        rows = len(array)
    columns = [_cells(name, array) for name, array in arrays.items()]
    if not rows:
        return f'{{\n{_INDENT}"predictions": []\n}}'
    if len(columns) == 1:
        return _listed(
            "predictions", [_write(row, 2, True) for row in columns[0]]
        )
    items = [
        _write(dict(zip(arrays, row, strict=True)), 2, True)
        for row in zip(*columns, strict=True)
    ]
    inner = f"\n{_INDENT * 2}"
    return _listed("predictions", [inner + f",{inner}".join(items)])


def outputs(arrays: Mapping[str, np.ndarray]) -> str:
    """Outputs by columns: `{"outputs": ...}`."""
    _check_any(arrays, "tensor map")
    cells = {name: _cells(name, array) for name, array in arrays.items()}
    value = cells if len(cells) > 1 else next(iter(cells.values()))
    return f'{{\n{_INDENT}"outputs": {_write(value, 1, False)}\n}}'


def classifications(result: classification_pb2.ClassificationResult) -> str:
    """The body of a classify answer."""
    _check_any(result.classifications, "ClassificationResults")
    items = []
    for row in result.classifications:
        scores = np.array([one.score for one in row.classes], np.float32)
        pairs = [
            f"[{string(one.label)}, {score}]"
            for one, score in zip(row.classes, numbers(scores), strict=True)
        ]
        items.append(f"[{', '.join(pairs)}]")
    return _listed("results", items)


def regressions(result: regression_pb2.RegressionResult) -> str:
    """The body of a regress answer."""
    _check_any(result.regressions, "RegressionResults")
    values = np.array([one.value for one in result.regressions], np.float32)
    return f'{{\n{_INDENT}"results": [{", ".join(numbers(values))}]\n}}'


def _check_any(found: Sized, kind: str) -> None:
    if not found:
        raise invalid(f"Cannot convert empty {kind} to JSON")


def _listed(key: str, items: list[str]) -> str:
    return f'{{\n{_INDENT}"{key}": [{", ".join(items)}\n{_INDENT}]\n}}'
