"""Rows of different lengths."""

import numpy as np

from pipeline.tables.ragged import Ragged


def test_unpadded_leaves_padding_out() -> None:
    found = Ragged.unpadded(np.array([[3, 0, 2], [0, 0, 0]]))
    np.testing.assert_array_equal(found.items, [3, 2])
    np.testing.assert_array_equal(found.lengths, [2, 0])
