"""Numbers in JSON as the original writes them."""

import json

import numpy as np
import pytest

from serving.server.rest import text as json_text


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


@pytest.mark.parametrize(
    "value",
    [None, {"a": [1, {"b": "c"}]}, "x" * 1000, [[]] * 500, {"a": "x" * 999}],
)
def test_an_excerpt_is_the_start_of_the_whole(value):
    whole = json.dumps(value, indent=4, ensure_ascii=False)
    assert json_text.debug(value) == (
        whole if len(whole) <= 256 else whole[:256]
    )


def test_an_excerpt_renders_no_more_than_it_shows():
    class Watched(list):
        read = 0

        def __iter__(self):
            for item in super().__iter__():
                Watched.read += 1
                yield item

    assert len(json_text.debug({"inputs": Watched(range(10**6))})) == 256
    assert Watched.read < 256
