"""Cells of any type as text, numbers or lists: one rule for every format."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def as_text(array: pa.Array) -> pa.Array:
    """Text without surrounding blanks; numbers as written; empty as null."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_nested(array.type):
        values = [
            None if value is None else json.dumps(value, default=str)
            for value in array.to_pylist()
        ]
        array = pa.array(values, pa.string())
    if pa.types.is_floating(array.type):
        # An integer column with gaps arrives as floats: 7.0 means "7".
        whole = pc.and_(
            pc.equal(pc.floor(array), array), pc.less(pc.abs(array), 2.0**53)
        )
        if pc.all(whole).as_py() is not False and array.null_count < len(array):
            array = pc.cast(array, pa.int64())
    text = pc.utf8_trim_whitespace(pc.cast(array, pa.string()))
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def as_number(array: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Numbers, and a mask of the values that are there but are none.

    Text may have a decimal comma ("10,99", "1.234,50") or commas between
    thousands ("1,234.50"): what all of it together bears decides.

    Returns:
        float64 `[num_rows]`, null where absent or no number; bool
        `[num_rows]`.
    """
    if not (
        pa.types.is_integer(array.type)
        or pa.types.is_floating(array.type)
        or pa.types.is_boolean(array.type)
        or pa.types.is_decimal(array.type)
    ):
        array = as_text(array)
    try:
        numbers = pc.cast(array, pa.float64(), safe=False)
        finite = pc.is_finite(numbers)
    except pa.ArrowInvalid:
        parsed = [_number(value) for value in _with_points(array).to_pylist()]
        numbers = pa.array(parsed, pa.float64())
        finite = pc.is_finite(numbers)
    bad = pc.and_(pc.is_valid(array), pc.invert(pc.fill_null(finite, False)))
    return (
        pc.if_else(bad, pa.scalar(None, pa.float64()), numbers),
        bad.to_numpy(zero_copy_only=False),
    )


# A comma that can only stand before decimals; commas between thousands.
_DECIMAL = r"^[+-]?(\d{1,3}(\.\d{3})+|\d*),(\d{1,2}|\d{4,})$|^[+-]?0,\d+$"
_THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$"


def _with_points(text: pa.Array) -> pa.Array:
    """Numbers as text with a decimal point and nothing between thousands."""

    def count(pattern: str) -> int:
        found = pc.match_substring_regex(text, pattern)
        return pc.sum(pc.cast(found, pa.int64())).as_py() or 0

    if count(_DECIMAL) > count(r"^[+-]?[\d,]*\.\d+$"):
        text = pc.replace_substring_regex(text, r"\.(\d{3})", r"\1")
        return pc.replace_substring(text, ",", ".")
    return pc.if_else(
        pc.match_substring_regex(text, _THOUSANDS),
        pc.replace_substring(text, ",", ""),
        text,
    )


def _number(value: str | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def as_values(array: pa.Array, separator: str) -> pa.Array:
    """Lists of texts: split cells, or lists as they are; empty as null."""
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        if pa.types.is_nested(array.type.value_type):
            return pa.array(
                [
                    None if cell is None else [json.dumps(v) for v in cell]
                    for cell in array.to_pylist()
                ],
                pa.list_(pa.string()),
            )
        lists = pc.cast(array, pa.list_(pa.string()))
    else:
        lists = pc.split_pattern(as_text(array), separator)
    return lists
