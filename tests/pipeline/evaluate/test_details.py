"""Recall at every place, users by history, calibration and variety."""

import numpy as np
import pytest

from pipeline.evaluate import calibration, details, variety
from pipeline.evaluate.calibration import Bin
from pipeline.evaluate.details import Details
from pipeline.evaluate.scoreboard import Board
from pipeline.measure import requests
from tests.support import evaluations
from tests.support.prepared_stub import make_prepared


def test_recall_counts_each_place_once():
    # u0 wants item 4, u1 item 5.
    prepared = make_prepared([[2, 3, 4], [2, 3, 5]], 6)
    asked = requests.make(prepared, "test")
    lists = np.array([[4, 6, 5], [6, 4, 5]], np.int32)
    scores = np.array([[3.0, 2.0, 1.0]] * 2)
    found = details.recall(asked, {"ours": (scores, lists)})
    assert found == {"ours": (0.5, 0.5, 1.0)}


def test_users_stand_with_those_whose_histories_are_as_long():
    rows = [[2 + place for place in range(size)] for size in (3, 6, 6, 13)]
    prepared = make_prepared(rows, 20)
    asked = requests.make(prepared, "test")
    wanted = asked.relevant.items[:, None]
    board = Board(asked, prepared, 50, 0)
    # Only the longest history gets what it wants.
    lists = np.where(asked.histories.lengths[:, None] > 10, wanted, 2)
    answer = np.ones(lists.shape), lists.astype(np.int32)
    found = list(details.lengths(asked, {"ours": answer}, board))
    assert [(group.first, group.last, group.users) for group in found] == [
        (1, 4, 1),
        (5, 9, 2),
        (10, 19, 1),
    ]
    means = [group.ndcg_at_10["ours"].value for group in found]
    assert means == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("sureness", [1.0, 3.0])
def test_a_model_that_knows_the_chances_is_calibrated(sureness):
    random = np.random.default_rng(0)
    logits = random.normal(0, 1.5, (20_000, 6))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    drawn = (chances.cumsum(axis=1) > random.random((20_000, 1))).argmax(axis=1)
    items = np.tile(np.arange(2, 8), (20_000, 1))
    answer = sureness * logits, items
    bins = list(calibration.probabilities(answer, drawn + 2))
    assert sum(group.count for group in bins) == items.size
    gaps = [
        abs(group.predicted - group.observed)
        for group in bins
        if group.count > 500
    ]
    assert (max(gaps) < 0.02) == (sureness == 1.0)


def test_what_was_not_retrieved_and_padding_have_no_probability():
    items = np.array([[2, 3, 0], [2, 3, 0]])
    scores = np.array([[1.0, 1.0, -np.inf]] * 2)
    found = list(calibration.probabilities((scores, items), np.array([3, 9])))
    assert found == [Bin(2, 0.5, 0.5)]
    assert not list(calibration.probabilities((scores, items), np.full(2, 9)))


def test_ratings_are_binned_by_what_was_predicted():
    predicted = np.repeat(np.arange(10.0), 4)
    found = list(calibration.ratings(predicted, predicted + 1))
    assert found == [Bin(4, x, x + 1) for x in np.arange(10.0)]


def test_variety_against_figures_by_hand():
    counts = np.array([0, 0, 6, 1, 1, 0])
    units = np.eye(6)
    lists = np.array([[2, 3], [2, 0]])
    found = variety.measure(lists, counts, units)
    # 2 holds 6 of 8 interactions, 3 one.
    bits = -np.log2([6 / 8, 1 / 8])
    assert found.novelty_at_10 == pytest.approx(
        (bits.mean() + bits[0]) / 2, abs=1e-5
    )
    assert found.popularity_at_10 == (3.5 + 6) / 2
    assert found.similarity_at_10 == 0.0
    # Four items with places 0, 0, 1, 2.
    assert found.gini_at_10 == pytest.approx(
        (1 * 1 + 3 * 2) / (4 * 3), abs=1e-5
    )


@pytest.mark.parametrize(
    ("places", "expected"), [([3, 3, 3], 0.0), ([0, 0, 9], 2 / 3), ([0, 0], 0)]
)
def test_gini_tells_equal_from_unequal(places, expected):
    assert variety.gini(np.array(places)) == pytest.approx(expected)


def test_details_are_read_as_they_were_written(tmp_path):
    found = evaluations.details("two_stage", "retrieval")
    assert Details.read(tmp_path) is None
    found.write(tmp_path)
    assert Details.read(tmp_path) == found


def test_a_run_keeps_the_details_of_what_it_asked(tiny_run):
    found = Details.read(tiny_run.evaluate())
    assert found.recall.keys() == found.variety.keys()
    for curve in found.recall.values():
        assert list(curve) == sorted(curve)
    assert set(found.latency_us) == {"retrieval", "ranking", "recommender"}
    assert all(min(taken) > 0 for taken in found.latency_us.values())
    queries = sum(group.count * group.observed for group in found.probabilities)
    assert queries == pytest.approx(round(queries), abs=0.1) and queries > 9
