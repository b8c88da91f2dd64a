"""Raw values to indices inside the graph."""

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.config import FeatureKind, FeatureSpec
from pipeline.export import encode
from pipeline.tables import columns


def test_ids_map_to_padding_unknown_and_known() -> None:
    lookup = encode.IdLookup(["b", "a", "ü"])
    found = lookup(tf.constant([["", "a", "b"], ["ü", "x", "\0"]]))
    assert found.numpy().tolist() == [[0, 3, 2], [4, 1, 1]]


# Capital letters that are younger than what TensorFlow lowers.
YOUNG = "\u2c2f\ua7c0\ua7d0\ua7d6\ua7d8"
WORDS = st.text(
    st.characters(
        exclude_categories=("Cs", "Cn"),
        max_codepoint=0xFFFF,
        exclude_characters=YOUNG,
    ),
    max_size=6,
)


def in_the_graph(column: columns.FeatureColumn, raw: list[Any]) -> np.ndarray:
    """What an exported graph makes of values, `raw` as a request has them."""
    lookup = encode.FeatureLookup(column)
    spec = lookup.signature("raw")
    # Traced, since the optimiser of graphs rewrites arithmetic.
    return tf.function(lookup, input_signature=[spec])(
        tf.constant(raw, spec.dtype, [len(raw), *np.shape(raw)[1:]])
    ).numpy()


@settings(max_examples=60)
@given(
    st.lists(st.none() | st.floats(allow_infinity=False, allow_nan=False)),
    st.floats(-1e12, 1e12),
    st.floats(1e-9, 1e12),
)
@example([15.0], 0.0, 1e-9)
def test_numbers_are_encoded_as_in_the_tables(
    numbers: list[float | None], mean: float, std: float
) -> None:
    column = columns.make(FeatureSpec("n", "numeric", 0, 1, mean, std))
    expected = column.encode(pa.array(numbers, pa.float64()))
    # A request carries float32.
    with np.errstate(over="ignore"):
        raw = np.array(numbers, float).astype(np.float32)
    found = in_the_graph(column, raw.tolist())
    assert found.dtype == expected.dtype == np.float32
    # Below the smallest normal float32, a number is 0 to TensorFlow.
    near_zero = float(np.finfo(np.float32).tiny) / min(std, 1.0)
    # TensorFlow multiplies by the reciprocal, which may cost the last bit.
    last_bit = float(np.finfo(np.float32).eps)
    np.testing.assert_allclose(found, expected, rtol=last_bit, atol=near_zero)


@pytest.mark.parametrize("kind", ["categorical", "multi_categorical", "text"])
# Each example traces a graph, so it asks for many values at once.
@settings(max_examples=25)
@given(data=st.data())
def test_words_are_encoded_as_in_the_tables(
    kind: FeatureKind, data: st.DataObject
) -> None:
    words = WORDS | st.sampled_from(["Red", "red", "two words", " red ", "-"])
    words |= st.just("nul\x00red")
    values = st.none() | words
    if kind == "multi_categorical":
        values = st.none() | st.lists(words, max_size=4)
    raw = data.draw(st.lists(values, min_size=1, max_size=24))
    whole = pa.array(
        raw, pa.list_(pa.string()) if "multi" in kind else pa.string()
    )
    # The vocabulary of the first rows: what the others add is unknown.
    cells = columns.KINDS[kind].cells(whole[: len(raw) // 2])
    known = sorted(set(itertools.chain.from_iterable(cells)))
    width = 1 if kind == "categorical" else data.draw(st.integers(1, 4))
    column = columns.make(FeatureSpec("c", kind, 2 + len(known), width), known)
    asked = [value or "" for value in raw]
    if kind == "multi_categorical":
        asked = [[*(row or ()), *[""] * 4][:4] for row in raw]
    assert in_the_graph(column, asked).tolist() == column.encode(whole).tolist()


def test_numbers_beyond_float32_count_as_missing() -> None:
    column = columns.make(FeatureSpec("n", "numeric", 0, 1, 10.0, 2.0))
    found = in_the_graph(column, [14.0, np.nan, np.inf, -np.inf])
    assert found.tolist() == [2.0, 0.0, 0.0, 0.0]
    encoded = column.encode(pa.array([14.0, None, 1e39, -1e39]))
    assert encoded.tolist() == found.tolist()


@settings(max_examples=60)
@given(
    st.lists(
        st.lists(st.integers(0, 9), min_size=6, max_size=6),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 5),
)
def test_keep_last_keeps_order_and_drops_padding_anywhere(
    rows: list[list[int]], length: int
) -> None:
    kept = encode.keep_last(tf.constant(rows), length).numpy()
    used = [[item for item in row if item][-length:] for row in rows]
    width = max(1, *map(len, used))
    expected = [[0] * (width - len(row)) + row for row in used]
    assert np.array_equal(kept, expected)


def test_keep_last_takes_an_empty_history() -> None:
    kept = encode.keep_last(tf.zeros([2, 0], tf.int32), 5)
    assert kept.numpy().tolist() == [[0], [0]]
