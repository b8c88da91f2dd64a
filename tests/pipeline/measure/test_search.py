"""Exact search: what is hidden, and how ties are cut."""

import numpy as np

from pipeline.measure import search
from pipeline.tables.ragged import Ragged


def test_search_hides_what_it_is_told_to():
    scores = np.array([[9, 9, 0.3, 0.2, 0.1, 0]])
    for hidden, expected in (([], [2, 3]), ([2], [3, 4])):
        _, items = search.find(
            lambda rows: scores[rows], 2, Ragged.of([hidden])
        )
        np.testing.assert_array_equal(items, [expected])


def test_lists_are_filled_up_where_all_is_hidden():
    found, items = search.find(
        lambda rows: np.ones((len(rows), 4)), 3, Ragged.of([[2], [2, 3]])
    )
    np.testing.assert_array_equal(items, [[3, 0, 0], [0, 0, 0]])
    assert np.isneginf(found[:, 1:]).all()


def test_ties_do_not_go_to_the_first_items():
    _, items = search.find(
        lambda rows: np.zeros((len(rows), 500)), 10, Ragged.empty(3), block=2
    )
    assert items.min() > 2 and (items > 100).any()
    # The same order in every block and for the same seed.
    np.testing.assert_array_equal(items[0], items[2])


def test_nobody_asked_is_an_empty_answer():
    scores, items = search.find(lambda rows: scores, 7, Ragged.empty(0))
    assert scores.shape == items.shape == (0, 7)


def test_blocks_of_a_large_catalogue_are_small():
    assert search.rows_at_once(60_000) == search.BLOCK
    assert search.rows_at_once(60_000, 256) == 256
    for size in (10**6, 5 * 10**6, 10**9):
        rows = search.rows_at_once(size)
        assert rows == 1 or rows * size <= 2**25
