"""Raw values to indices and numbers, and back."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import FeatureSpec
from pipeline.tables import columns

FLOAT32 = st.floats(-(2.0**40), 2.0**40, width=32)


def test_words_are_runs_of_letters_and_digits() -> None:
    texts = pa.array(["Amélie: (2001) — l'Été_2!", " ... ", None])
    assert columns.Text.cells(texts) == [
        ["amélie", "2001", "l", "été", "2"], [], [],
    ]  # fmt: skip


def test_missing_is_0_unknown_1_and_the_first_value_2() -> None:
    column = columns.make(FeatureSpec("town", "categorical", 4), ["b", "a"])
    encoded = column.encode(pa.array(["a", None, "b", "", "c"]))
    assert encoded.dtype == np.int32
    assert encoded.tolist() == [3, 0, 2, 0, 1]
    assert column.encode(pa.array([None], pa.string())).tolist() == [0]


def test_values_beyond_the_width_are_dropped_and_fewer_are_padded() -> None:
    spec = FeatureSpec("tags", "multi_categorical", 4, 2)
    column = columns.make(spec, ["x", "y"])
    encoded = column.encode(pa.array([["", "y", "z", "x"], None, ["x"], []]))
    assert encoded.tolist() == [[3, 1], [0, 0], [2, 0], [0, 0]]
    assert column.words(encoded) == [["y"], [], ["x"], []]
    assert column.encode(pa.array([], pa.list_(pa.string()))).shape == (0, 2)


@pytest.mark.parametrize("kind", ["categorical", "multi_categorical", "text"])
def test_decoded_words_are_encoded_the_same(kind: str) -> None:
    # Not even the word for what is unknown may be a known one.
    column = columns.KINDS[kind](
        FeatureSpec("c", kind, 5, 3),  # type: ignore[arg-type]
        ["unknown", "in", "unknownx"],
    )
    encoded = np.array([[2, 1, 4], [0, 0, 0], [1, 0, 0], [3, 3, 1]], np.int32)
    if kind == "categorical":
        encoded = encoded[:, 0]
    decoded = pa.array(column.decode(encoded).tolist())
    assert column.encode(decoded).tolist() == encoded.tolist()


@given(FLOAT32, st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_decoded_numbers_are_encoded_almost_the_same(
    number: float, mean: float, std: float
) -> None:
    column = columns.make(FeatureSpec("n", "numeric", 0, 1, mean, std))
    encoded = column.encode(pa.array([number]))
    again = column.encode(pa.array(column.decode(encoded).astype(np.float64)))
    # A request carries float32, so that is all that can be lost.
    assert abs(again - encoded)[0] <= np.spacing(
        np.float32(max(abs(number), abs(mean)))
    ) / std + np.spacing(abs(encoded[0]))
