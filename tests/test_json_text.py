"""Numbers in JSON as the original writes them."""

import numpy as np
import pytest

from serving import json_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (9_000_000, "9e+06"),
        (999_999, "999999.0"),
        (0.5, "0.5"),
        (0.0003, "0.0003"),
        (0.00003, "3e-05"),
        (555557.5, "555557.5"),
        (0.1, "0.1"),
        (1 / 3, "0.333333343"),
        (-0.0, "-0.0"),
        (float("-inf"), "-Infinity"),
    ],
)
def test_floats_as_the_original_writes_them(value, text):
    assert json_text.numbers(np.float32([value])) == [text]


def test_doubles_keep_their_digits():
    assert json_text.numbers(np.float64([1 / 3])) == ["0.33333333333333331"]
