"""JSON text byte for byte as TensorFlow Serving writes it.

Its writer (RapidJSON's pretty writer) puts every element on a line, four
blanks a level, except inside the rows of an answer, which stay on one line.
Floats have the fewest digits of six, nine or seventeen that read back equal,
and always a point or an exponent.
"""

import base64
import json
import re
from typing import Any

import numpy as np

from serving.errors import ServingError

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
_WRITABLE = {
    "float32",
    "float64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "int64",
    "uint32",
    "uint64",
}


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


def debug(value: Any) -> str:
    """The start of a value, for messages; no more of it is rendered."""
    text = ""
    try:
        for part in _WRITER.iterencode(_start(value)):
            text += part
            if len(text) >= _DEBUG_CHARACTERS:
                break
    except RecursionError:
        return "..."
    return text[:_DEBUG_CHARACTERS]


def _start(value: Any) -> Any:
    # The writer takes a string as a whole.
    return value[:_DEBUG_CHARACTERS] if isinstance(value, str) else value


def error(message: str) -> str:
    """The body of an error.

    What a caller sent may be quoted in it: bytes that are not UTF-8 stay,
    half a surrogate pair, which has no bytes, becomes U+FFFD.
    """
    message = _HALVES.sub("\ufffd", message)
    return f'{{\n    "error": {string(message)}\n}}'


def _leaves(name: str, array: np.ndarray) -> list[str]:
    """Each value as JSON; NUL stands for the indent of a bytes object."""
    dtype = array.dtype
    if dtype.kind == "O":
        values = array.ravel().tolist()
        if name.endswith("_bytes"):
            return [
                f'{{\n\0{_INDENT}"b64": "{base64.b64encode(value).decode()}"'
                "\n\0}"
                for value in values
            ]
        return [
            string(value.decode("utf-8", "surrogateescape")) for value in values
        ]
    if dtype == np.bool_:
        return ["true" if value else "false" for value in array.ravel()]
    if dtype.name not in _WRITABLE:
        kind = {"float16": "half"}.get(dtype.name, dtype.name)
        raise ServingError(
            f"Failed to write JSON value for tensor type: {kind}",
            "INVALID_ARGUMENT",
        )
    if dtype.kind == "f":
        return numbers(array)
    return list(map(str, array.ravel().tolist()))


def _nest(
    leaves: list[str], shape: tuple[int, ...], level: int, is_flat: bool
) -> str:
    """Leaves in nested arrays.

    Args:
        leaves: As many as the shape has.
        shape: Of the arrays; none is the one leaf itself.
        level: How many arrays and objects are open around it.
        is_flat: Whether arrays stay on one line.
    """
    if not shape:
        return leaves[0].replace("\0", _INDENT * level)
    size = shape[0]
    if not size:
        return "[]"
    step = len(leaves) // size
    if len(shape) == 1:
        indent = _INDENT * (level + 1)
        items = [leaf.replace("\0", indent) for leaf in leaves]
    else:
        items = [
            _nest(
                leaves[i * step : (i + 1) * step], shape[1:], level + 1, is_flat
            )
            for i in range(size)
        ]
    if is_flat:
        return "[" + ", ".join(items) + "]"
    inner = "\n" + _INDENT * (level + 1)
    return f"[{inner}{f',{inner}'.join(items)}\n{_INDENT * level}]"


def predictions(arrays: dict[str, np.ndarray]) -> str:
    """Outputs by rows: `{"predictions": [...]}`.

    Raises:
        ServingError: If the outputs have no common first dimension.
    """
    if not arrays:
        raise ServingError(
            "Cannot convert empty tensor map to JSON", "INVALID_ARGUMENT"
        )
    rows = -1
    for name, array in arrays.items():
        if not array.shape:
            raise ServingError(
                f"Tensor name: {name} has no shape information ",
                "INVALID_ARGUMENT",
            )
        if rows not in (-1, array.shape[0]):
            raise ServingError(
                f"Tensor name: {name} has inconsistent batch size: "
                f"{array.shape[0]} expecting: {rows}",
                "INVALID_ARGUMENT",
            )
        rows = array.shape[0]
    leaves = {name: _leaves(name, array) for name, array in arrays.items()}
    steps = {name: len(leaves[name]) // max(rows, 1) for name in arrays}
    is_object = len(arrays) > 1
    level = 3 if is_object else 2
    items = []
    for row in range(rows):
        cells = [
            (
                name,
                _nest(
                    leaves[name][row * steps[name] : (row + 1) * steps[name]],
                    array.shape[1:],
                    level,
                    True,
                ),
            )
            for name, array in arrays.items()
        ]
        if not is_object:
            items.append(cells[0][1])
            continue
        fields = f",\n{_INDENT * 3}".join(
            f"{string(name)}: {text}" for name, text in cells
        )
        items.append(f"{{\n{_INDENT * 3}{fields}\n{_INDENT * 2}}}")
    if not items:
        return f'{{\n{_INDENT}"predictions": []\n}}'
    if is_object:
        inner = f"\n{_INDENT * 2}"
        body = inner + f",{inner}".join(items)
    else:
        body = ", ".join(items)
    return f'{{\n{_INDENT}"predictions": [{body}\n{_INDENT}]\n}}'


def outputs(arrays: dict[str, np.ndarray]) -> str:
    """Outputs by columns: `{"outputs": ...}`."""
    if not arrays:
        raise ServingError(
            "Cannot convert empty tensor map to JSON", "INVALID_ARGUMENT"
        )
    is_object = len(arrays) > 1
    level = 2 if is_object else 1
    cells = [
        (name, _nest(_leaves(name, array), array.shape, level, False))
        for name, array in arrays.items()
    ]
    if is_object:
        fields = f",\n{_INDENT * 2}".join(
            f"{string(name)}: {text}" for name, text in cells
        )
        body = f"{{\n{_INDENT * 2}{fields}\n{_INDENT}}}"
    else:
        body = cells[0][1]
    return f'{{\n{_INDENT}"outputs": {body}\n}}'


def classifications(result: Any) -> str:
    """The body of a classify answer."""
    if not result.classifications:
        raise ServingError(
            "Cannot convert empty ClassificationResults to JSON",
            "INVALID_ARGUMENT",
        )
    items = []
    for row in result.classifications:
        scores = np.array([one.score for one in row.classes], np.float32)
        pairs = [
            f"[{string(one.label)}, {score}]"
            for one, score in zip(row.classes, numbers(scores), strict=True)
        ]
        items.append(f"[{', '.join(pairs)}]")
    return f'{{\n{_INDENT}"results": [{", ".join(items)}\n{_INDENT}]\n}}'


def regressions(result: Any) -> str:
    """The body of a regress answer."""
    if not result.regressions:
        raise ServingError(
            "Cannot convert empty RegressionResults to JSON",
            "INVALID_ARGUMENT",
        )
    values = np.array([one.value for one in result.regressions], np.float32)
    return f'{{\n{_INDENT}"results": [{", ".join(numbers(values))}]\n}}'
