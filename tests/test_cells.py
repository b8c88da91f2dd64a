"""Times and ids from cells of any type."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources.cells import as_text
from pipeline.sources.timestamps import Clock


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


@settings(max_examples=40, deadline=None)
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
    assert as_text(pa.array([7, 8])).to_pylist() == ["7", "8"]
    assert as_text(pa.array([" 007 ", ""])).to_pylist() == ["007", None]
    assert as_text(pa.array([0.5])).to_pylist() == ["0.5"]
    assert as_text(pa.array(np.array([True]))).to_pylist() == ["true"]
