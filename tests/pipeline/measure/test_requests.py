"""Queries: what a model may see, and what counts as right."""

import numpy as np
import pytest

from pipeline.measure import requests
from tests.support.prepared_stub import make_prepared


def rows_of(ragged):
    return [
        ragged.items[start:stop].tolist()
        for start, stop in zip(
            ragged.offsets[:-1], ragged.offsets[1:], strict=True
        )
    ]


def test_leave_last_out_asks_for_the_last_item():
    prepared = make_prepared([[2, 3, 4, 5], [6, 7, 2]], num_items=8)
    test = requests.make(prepared, "test")
    assert rows_of(test.histories) == [[2, 3, 4], [6, 7]]
    assert rows_of(test.relevant) == [[5], [2]]
    validation = requests.make(prepared, "validation")
    assert rows_of(validation.histories) == [[2, 3], [6]]
    assert rows_of(validation.relevant) == [[4], [7]]


def temporal(**changes):
    arguments = {
        "rows": [[2, 3, 4, 5, 5], [6, 7], [2, 1, 1, 3]],
        "num_items": 8,
        "split": "temporal",
        "timestamps": [1, 2, 8, 8, 9, 3, 5, 1, 7, 8, 9],
        "parts": [0, 0, 2, 2, 2, 0, 1, 0, 2, 2, 2],
    }
    return make_prepared(**(arguments | changes))


def test_split_protocol_asks_once_a_user_with_distinct_targets():
    asked = requests.make(temporal(), "test")
    assert rows_of(asked.histories) == [[2, 3], [2]]
    assert rows_of(asked.relevant) == [[4, 5], [3]]
    # Both interactions with items outside the catalogue count as missed.
    np.testing.assert_array_equal(asked.num_relevant, [2, 3])
    np.testing.assert_array_equal(asked.rows, [0, 2])
    np.testing.assert_array_equal(asked.events, [2, 8])


def test_rolling_protocol_never_shows_the_same_second():
    asked = requests.make(temporal(), "test", "rolling")
    # Items 4 and 5 share second 8: neither may be in the other's history.
    assert rows_of(asked.histories)[:2] == [[2, 3], [2, 3]]
    # The second 5 was seen by then: a target like any other.
    assert rows_of(asked.relevant)[:3] == [[4], [5], [5]]
    assert requests.again(asked).tolist() == [0, 0, 1, 0, 0, 0]


def test_targets_in_the_history_stay_and_are_counted():
    prepared = make_prepared(
        [[2, 3, 3, 2, 7], [4, 5, 6]],
        num_items=8,
        parts=[0, 0, 2, 2, 2, 0, 1, 2],
    )
    asked = requests.make(prepared, "test")
    assert rows_of(asked.relevant) == [[2, 3, 7], [6]]
    np.testing.assert_array_equal(asked.num_relevant, [3, 1])
    np.testing.assert_array_equal(requests.again(asked), [2, 0])


def test_users_are_drawn_by_seed():
    prepared = make_prepared([[2, 3, 4]] * 30, num_items=8)
    first = requests.make(prepared, "test", num_users=7, seed=1).rows
    again = requests.make(prepared, "test", num_users=7, seed=1).rows
    other = requests.make(prepared, "test", num_users=7, seed=2).rows
    assert len(first) == 7
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_random_split_keeps_the_other_parts_out_of_the_history():
    prepared = make_prepared(
        [[2, 3, 4, 5, 6]],
        num_items=8,
        split="random",
        parts=[0, 2, 0, 1, 0],
    )
    asked = requests.make(prepared, "validation")
    assert rows_of(asked.histories) == [[2, 4, 6]]
    asked = requests.make(prepared, "test")
    assert rows_of(asked.histories) == [[2, 4, 5, 6]]


def test_untied_needs_a_later_second():
    prepared = make_prepared(
        [[2, 3, 4], [2, 3, 4]], 8, timestamps=[1, 2, 2, 1, 2, 3]
    )
    asked = requests.make(prepared, "test")
    np.testing.assert_array_equal(
        requests.untied(asked, prepared), [False, True]
    )


def test_every_rated_interaction_becomes_a_candidate_once():
    prepared = temporal(ratings=[1, 2, 3, 4, np.nan, 1, 2, 3, 4, 5, 1])
    asked, candidates, truth = requests.ratings(prepared, "test")
    assert len(asked) == 2
    np.testing.assert_array_equal(candidates, [[4, 5, 0], [1, 1, 3]])
    np.testing.assert_array_equal(truth, [[3, 4, 0], [4, 5, 1]])


def test_ratings_are_refused_where_there_are_none():
    with pytest.raises(requests.DataError, match="`rating` column"):
        requests.ratings(temporal(), "test")
