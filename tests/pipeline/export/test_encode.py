"""Raw values to indices inside the graph."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.config import FeatureSpec
from pipeline.export import encode


def test_ids_map_to_padding_unknown_and_known() -> None:
    lookup = encode.IdLookup(["b", "a", "ü"])
    found = lookup(tf.constant([["", "a", "b"], ["ü", "x", "\0"]]))
    assert found.numpy().tolist() == [[0, 3, 2], [4, 1, 1]]


def test_a_missing_number_is_the_mean() -> None:
    spec = FeatureSpec("age", "numeric", mean=10.0, std=2.0)
    encoded = encode.FeatureLookup(spec, ())(
        tf.constant([10.0, 14.0, float("nan"), float("inf")])
    )
    assert encoded.numpy().tolist() == [0.0, 2.0, 0.0, 0.0]


def test_values_beyond_the_width_are_dropped_and_fewer_are_padded() -> None:
    spec = FeatureSpec("genres", "multi_categorical", size=4, width=3)
    lookup = encode.FeatureLookup(spec, ["x", "y"])
    assert lookup(tf.constant([["x"], ["z"]])).numpy().tolist() == [
        [2, 0, 0],
        [1, 0, 0],
    ]
    assert lookup(tf.constant([["y", "x", "x", "y"]])).numpy().tolist() == [
        [3, 2, 2]
    ]


def test_text_is_lowered_and_split_at_punctuation() -> None:
    spec = FeatureSpec("title", "text", size=5, width=4)
    lookup = encode.FeatureLookup(spec, ["the", "été", "2"])
    assert lookup(tf.constant(["The Été-2!", "", "--"])).numpy().tolist() == [
        [2, 3, 4, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]


@settings(max_examples=60, deadline=None)
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
