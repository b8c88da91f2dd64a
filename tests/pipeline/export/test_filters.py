"""Filters of a request to numbers, from every value that items have."""

import numpy as np
import pyarrow as pa
import tensorflow as tf

from models.layers.filters import FIRST_VALUE, NO_VALUE, NOT_GIVEN
from pipeline.export.filters import FilterInputs

MANY = [f"tag{number}" for number in range(40)]
CELLS = {
    "colour": pa.array([["red"], [], ["blue"], ["red"]]),
    # More values than a model reads of a cell, one of them twice.
    "tags": pa.array([[*MANY, "tag3"], ["tag3"], [], ["late"]]),
}


def test_every_value_of_every_cell_is_a_pair_once() -> None:
    inputs = FilterInputs(CELLS)
    for (name, cells), feature in zip(
        CELLS.items(), inputs.features, strict=True
    ):
        values = np.array(inputs.values[name])[feature.values]
        found = sorted(zip(feature.items.tolist(), values, strict=True))
        # Items begin at index 2.
        expected = sorted(
            (row + 2, value)
            for row, cell in enumerate(cells.to_pylist())
            for value in set(cell)
        )
        assert found == expected


def test_values_are_numbered_over_all_features() -> None:
    inputs = FilterInputs(CELLS)
    assert list(inputs.signature()) == ["allowed_colour", "allowed_tags"]
    allowed, features = inputs.encode(
        {
            "allowed_colour": tf.constant([["blue", "", "green"]]),
            "allowed_tags": tf.constant([["late", "red"]]),
        }
    )
    blue = inputs.values["colour"].index("blue")
    late = len(inputs.values["colour"]) + inputs.values["tags"].index("late")
    assert allowed.numpy().tolist() == [
        [
            *(FIRST_VALUE + blue, NOT_GIVEN, NO_VALUE),
            # A value of another feature is none of this one.
            *(FIRST_VALUE + late, NO_VALUE),
        ]
    ]
    assert features.numpy().tolist() == [0, 0, 0, 1, 1]


def test_a_filter_may_be_left_out_by_its_width() -> None:
    inputs = FilterInputs(CELLS)
    allowed, features = inputs.encode(
        {name: tf.zeros([2, 0], tf.string) for name in inputs.signature()}
    )
    assert allowed.shape == (2, 0)
    assert features.shape == (0,)
