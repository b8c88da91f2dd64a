"""Cells of any type as text, numbers or lists: one rule for every format."""

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# From here on a double may stand for one of several whole numbers.
EXACT = 2.0**53


def plain(array: pa.Array) -> pa.Array:
    """Cells of a type that few functions take as ones of a common type.

    UUIDs are text in their usual form, other bytes text where they are UTF-8
    and of no fixed number, else hexadecimal. Each cell is judged by itself, so
    that an id reads alike in all files.
    """
    kind = array.type
    if pa.types.is_dictionary(kind):
        return plain(array.dictionary_decode())
    if is_list(array) and not pa.types.is_nested(kind.value_type):
        values = plain(pc.list_flatten(array))
        is_same = values.type == kind.value_type
        return array if is_same else with_values(array, values)
    if pa.types.is_float16(kind):
        return pc.cast(array, pa.float32())
    if pa.types.is_string_view(kind):
        return pc.cast(array, pa.string())
    if isinstance(kind, pa.UuidType):
        return pc.replace_substring_regex(
            plain(array.storage), r"^(.{8})(.{4})(.{4})(.{4})", r"\1-\2-\3-\4-"
        )
    if isinstance(kind, pa.BaseExtensionType):
        return plain(array.storage)
    if pa.types.is_fixed_size_binary(kind):
        texts = [v if v is None else v.hex() for v in array.to_pylist()]
        return pa.array(texts, pa.string())
    if (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
    ):
        try:
            return pc.cast(array, pa.string())
        except pa.ArrowInvalid:
            texts = [v if v is None else _decoded(v) for v in array.to_pylist()]
            return pa.array(texts, pa.string())
    return array


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()


def as_text(array: pa.Array) -> pa.Array:
    """Text without surrounding blanks; numbers as written; empty as null."""
    array = plain(array)
    if pa.types.is_nested(array.type):
        cells = array.to_pylist()
        values = [c if c is None else json.dumps(c, default=str) for c in cells]
        array = pa.array(values, pa.string())
    if pa.types.is_floating(array.type):
        # An integer column with gaps arrives as floats: 7.0 means "7", also
        # beside 7.5, so that a value reads alike in all blocks.
        whole = pc.and_(
            pc.equal(pc.floor(array), array), pc.less(pc.abs(array), EXACT)
        )
        nothing = pa.scalar(None, array.type)
        numbers = pc.cast(pc.if_else(whole, array, nothing), pa.int64())
        text = pc.cast(numbers, pa.string())
        if numbers.null_count > array.null_count:
            text = pc.coalesce(text, pc.cast(array, pa.string()))
    else:
        text = pc.utf8_trim_whitespace(pc.cast(array, pa.string()))
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def as_number(array: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Numbers, and a mask of the values that are there but are none.

    Text may have a decimal comma ("10,99", "1.234,50"), commas, blanks or
    apostrophes between thousands ("1,234.50", "1 234.50") and a currency
    ("$5", "5 EUR"): what all of it together bears decides.

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
    except pa.ArrowInvalid:
        parsed = [_number(value) for value in _with_points(array).to_pylist()]
        numbers = pa.array(parsed, pa.float64())
    finite = pc.is_finite(numbers)
    bad = pc.and_(pc.is_valid(array), pc.invert(pc.fill_null(finite, False)))
    return (
        pc.if_else(bad, pa.scalar(None, pa.float64()), numbers),
        bad.to_numpy(zero_copy_only=False),
    )


_CURRENCY = (
    r"(?:[A-Z]{0,3}\p{Sc}|USD|EUR|GBP|CHF|JPY|CNY|RMB|INR|CAD|AUD|SEK|NOK|DKK|"
    r"PLN|CZK|HUF|RON|RUB|BRL|MXN|TRY|ZAR|KRW|kr\.?|Kr\.?|Fr\.?|Rs\.?|zł|Kč|"
    r"Ft|円|元)"
)
_PRICE = (
    rf"^([+-]?)\s*{_CURRENCY}\s*([+-]?[\d.,][^\pL\p{{Sc}}]*?)$"
    rf"|^([+-]?[\d.,][^\pL\p{{Sc}}]*?)\s*{_CURRENCY}$"
)
# Between thousands: blanks, also narrow and unbroken ones, and apostrophes.
_GAPS = r"[ \x{a0}\x{202f}\x{2009}'\x{2019}]"
_GAPPED = rf"^[+-]?\d{{1,3}}({_GAPS}\d{{3}})+([.,]\d+)?$"
# A comma that can only stand before decimals; commas between thousands.
_DECIMAL = r"^[+-]?(\d{1,3}(\.\d{3})+|\d*),(\d{1,2}|\d{4,})$|^[+-]?0,\d+$"
_DOTTED = r"^[+-]?\d{1,3}(\.\d{3})+$"
_POINT = r"\.(\d{1,2}|\d{4,})$"
_THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$"


def _with_points(text: pa.Array) -> pa.Array:
    """Numbers as text with a decimal point and nothing between thousands."""

    def matching(pattern: str) -> int:
        return count(pc.match_substring_regex(text, pattern))

    priced = matching(_PRICE)
    text = pc.replace_substring_regex(text, _PRICE, r"\1\2\3")
    text = pc.utf8_trim_whitespace(text)
    text = pc.if_else(
        pc.match_substring_regex(text, _GAPPED),
        pc.replace_substring_regex(text, _GAPS, ""),
        text,
    )
    if priced and matching(_DOTTED) and not matching(_POINT):
        # No currency has three decimals: "1.299 EUR" is more than a thousand.
        text = pc.replace_substring_regex(text, r"\.(\d{3})", r"\1")
    if matching(_DECIMAL) > matching(r"^[+-]?[\d,]*\.\d+$"):
        text = pc.replace_substring_regex(text, r"\.(\d{3})", r"\1")
        return pc.replace_substring(text, ",", ".")
    return pc.if_else(
        pc.match_substring_regex(text, _THOUSANDS),
        pc.replace_substring(text, ",", ""),
        text,
    )


def _number(value: str | None) -> float | None:
    try:
        # Python would read "12_34" as 1234.
        return None if value is None or "_" in value else float(value)
    except ValueError:
        return None


def as_values(array: pa.Array, separator: str) -> pa.Array:
    """Lists of texts without surrounding blanks; empty ones are left out."""
    if not is_list(array):
        array = pc.split_pattern(as_text(array), separator)
    elif not pa.types.is_nested(array.type.value_type):
        array = pc.cast(array, pa.list_(pa.string()))
    lists = [
        [
            word if isinstance(word, str) else json.dumps(word, default=str)
            for word in cell or ()
            if word is not None
        ]
        for cell in array.to_pylist()
    ]
    lists = [[word.strip() for word in cell if word.strip()] for cell in lists]
    return pa.array(lists, pa.list_(pa.string()))


def is_list(array: pa.Array) -> bool:
    """Whether every cell of a column holds several values."""
    return pa.types.is_list(array.type) or pa.types.is_large_list(array.type)


def with_values(lists: pa.Array, values: pa.Array) -> pa.Array:
    """Lists as long as others, with values of their own one behind another."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    ends = pc.cumulative_sum(pc.cast(lengths, pa.int32()))
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    return pa.ListArray.from_arrays(offsets, values)


def is_text(array: pa.Array) -> bool:
    """Whether the cells of a column are text."""
    kind = array.type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def counts(array: pa.Array) -> Counter[str]:
    """How often each text is there; "" for null."""
    found: Counter[str] = Counter()
    for pair in pc.value_counts(array):
        found[pair["values"].as_py() or ""] += pair["counts"].as_py()
    return found


def joined(day: pa.Array, time: pa.Array) -> pa.Array:
    """Days and times of day as one text."""
    return pc.binary_join_element_wise(
        as_text(day), as_text(time), " ", null_handling="skip"
    )


def share(found: pa.Array) -> float:
    """Share of the values that are true, 0 to 1; 0 of none."""
    return float(pc.mean(pc.cast(found, pa.int8())).as_py() or 0.0)


def count(found: pa.Array) -> int:
    """How many values are true."""
    return int(pc.sum(pc.cast(found, pa.int64())).as_py() or 0)
