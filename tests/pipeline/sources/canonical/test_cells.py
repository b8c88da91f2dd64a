"""Times and ids from cells of any type."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources.canonical.cells import as_number, as_text
from pipeline.sources.canonical.timestamps import Clock


@pytest.mark.parametrize(
    ("values", "seconds", "form"),
    [
        (["1577836800", "1577836801"], [0, 1], "numbers in s"),
        ([1577836800000, 1577836801999], [0, 1], "numbers in ms"),
        ([1577836800000000], [0], "numbers in us"),
        (["1577836800000000000"], [0], "numbers in ns"),
        ([1577836800.75], [0], "numbers in s"),
        (["2020-01-01"], [0], "ISO dates"),
        (["2020-01-01T00:00:05Z"], [5], "ISO dates"),
        (["2020-01-01 01:00:05+01:00"], [5], "ISO dates"),
        (["2020-01-01 00:00:05.5", "2020-01-01"], [5, 0], "ISO dates"),
    ],
)
def test_time_is_read_in_any_common_form(
    values: list[Any], seconds: list[int], form: str
) -> None:
    clock = Clock()
    found, bad = clock.seconds(pa.array(values))
    assert (found - 1577836800).tolist() == seconds
    assert not bad.any()
    assert clock.form == form


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 2_000_000_000), min_size=1, max_size=9),
    st.sampled_from(["int", "text", "iso", "typed"]),
)
def test_forms_of_time_agree(times: list[int], form: str) -> None:
    typed = pa.array(times, pa.timestamp("s"))
    arrays = {
        "int": pa.array(times),
        "text": pa.array([str(t) for t in times]),
        "iso": typed.cast(pa.string()),
        "typed": typed,
    }
    found, bad = Clock().seconds(arrays[form])
    assert found.tolist() == times
    assert not bad.any()


def test_numbers_of_ids_do_not_depend_on_the_format() -> None:
    assert as_text(pa.array([7.0, None])).to_pylist() == ["7", None]
    numbers = [7.0, 7.5, 2e10, None]
    texts = ["7", "7.5", "20000000000", None]
    assert as_text(pa.array(numbers)).to_pylist() == texts
    assert as_text(pa.array([7, 8])).to_pylist() == ["7", "8"]
    assert as_text(pa.array([" 007 ", ""])).to_pylist() == ["007", None]
    assert as_text(pa.array([0.5])).to_pylist() == ["0.5"]
    assert as_text(pa.array(np.array([True]))).to_pylist() == ["true"]


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        (["10,99", "3", "1.234,50"], [10.99, 3.0, 1234.5]),
        (["0,125", "12,5"], [0.125, 12.5]),
        (["1,234.50", "7", "12,345"], [1234.5, 7.0, 12345.0]),
        (["1,234", "2.5"], [1234.0, 2.5]),
        (["1.5", "abc", None], [1.5, None, None]),
        (["$1,299.00", "-$3.50", "US$ 7"], [1299.0, -3.5, 7.0]),
        (["1.299,00 €", "5,50 €", "12 EUR"], [1299.0, 5.5, 12.0]),
        # No currency has three decimals, other numbers may.
        (["1.299 €", "12 €"], [1299.0, 12.0]),
        (["1.299", "12"], [1.299, 12.0]),
        (["1\u202f299,00", "1 299,50", "7"], [1299.0, 1299.5, 7.0]),
        (["1'299.00 CHF", "kr 5"], [1299.0, 5.0]),
    ],
)
def test_numbers_are_read_as_people_write_them(
    values: list[Any], numbers: list[Any]
) -> None:
    found, bad = as_number(pa.array(values, pa.string()))
    assert found.to_pylist() == numbers
    assert bad.tolist() == [value == "abc" for value in values]


def test_codes_and_words_are_no_prices() -> None:
    values = ["SKU12", "ABC 12", "$", "€ 5 €", "5 $ each", "12_34", "1 2 3"]
    found, bad = as_number(pa.array(values))
    assert found.null_count == len(values) and bad.all()


def test_days_are_counted_from_1970_or_as_excel_does() -> None:
    for unit, days in (("days", "18628"), ("excel", "44197.5")):
        seconds, bad = Clock(unit).seconds(pa.array([days]))
        assert not bad.any()
        assert seconds[0] == 1_609_459_200 + 43_200 * (unit == "excel")
