"""Figures of an evaluation from lists whose quality is known."""

import numpy as np
import pytest

from pipeline.evaluate.evaluation import plain
from pipeline.evaluate.scoreboard import Board
from pipeline.measure import requests
from tests.support.prepared_stub import make_prepared

NUM_ITEMS = 60


@pytest.fixture(scope="module")
def board():
    random = np.random.default_rng(0)
    rows = [
        (random.permutation(NUM_ITEMS)[: random.integers(3, 9)] + 2).tolist()
        for _ in range(150)
    ]
    prepared = make_prepared(rows, NUM_ITEMS)
    asked = requests.make(prepared, "test")
    return asked, Board(asked, prepared, 200, 0)


def answer(asked, places, seed=0):
    """Lists of 20 with each query's target at the given place."""
    random = np.random.default_rng(seed)
    items = np.zeros((len(asked), 20), np.int32)
    for row, target in enumerate(asked.relevant.items):
        others = random.permutation(
            np.setdiff1d(np.arange(2, NUM_ITEMS + 2), target)
        )
        items[row] = np.insert(others[:19], places[row], target)[:20]
    scores = np.tile(-np.arange(20.0), (len(asked), 1))
    return scores, items


def rows_of(board, model, lists):
    """Every row's JSON by slice."""
    return {row.slice: plain(row) for row in board.rows(model, lists)}


def test_row_of_a_perfect_and_of_a_useless_model(board):
    asked, made = board
    perfect = rows_of(made, "ours", answer(asked, np.zeros(150, int)))
    whole = perfect["all"]
    assert whole["users"] == 150
    assert whole["ndcg@10"] == whole["mrr"] == 1.0
    assert whole["ndcg@10_interval"] == (1.0, 1.0)
    late = rows_of(made, "ours", answer(asked, np.full(150, 15)))
    assert late["all"]["ndcg@10"] == 0.0
    assert late["all"]["recall@100"] == 1.0


def test_pooled_recall_counts_interactions_and_not_users():
    prepared = make_prepared(
        [[2, 3, 4], [2, 3, 5, 6, 7, 8]],
        NUM_ITEMS,
        parts=[0, 1, 2, 0, 1, 2, 2, 2, 2],
    )
    asked = requests.make(prepared, "test")
    found = (
        -np.tile(np.arange(3.0), (2, 1)),
        np.array([[4, 9, 10], [5, 11, 12]], np.int32),
    )
    row = rows_of(Board(asked, prepared, 100, 0), "ours", found)["all"]
    # The one target of the first user, one of four of the second.
    assert row["recall@100"] == pytest.approx((1 + 1 / 4) / 2)
    assert row["pooled_recall@100"] == pytest.approx(2 / 5)


def test_deciles_split_all_targets_between_them(board):
    asked, made = board
    rows = rows_of(made, "ours", answer(asked, np.zeros(150, int)))
    deciles = [
        row for name, row in rows.items() if name.startswith("popularity_")
    ]
    total = sum(row["users"] for row in deciles)
    assert total + rows.get("new_items", {"users": 0})["users"] == 150
    assert all(row["recall@10"] == 1.0 for row in deciles)


def test_cold_and_warm_share_the_queries():
    prepared = make_prepared(
        [[2, 3, 4], [5, 6], [3, 2, 4]],
        8,
        parts=[
            0,
            1,
            2,
            2,
            2,
            0,
            1,
            2,
        ],
    )
    asked = requests.make(prepared, "test")
    made = Board(asked, prepared, 100, 0)
    items = np.tile(np.arange(2, 9, dtype=np.int32), (len(asked), 1))
    rows = rows_of(made, "ours", (-items.astype(float), items))
    users = [rows[name]["users"] for name in ("all", "warm", "cold")]
    assert users == [3, 2, 1]


def answers(asked):
    return {
        "two_stage": answer(asked, np.zeros(150, int)),
        "retrieval": answer(asked, np.full(150, 3)),
        "popularity": answer(asked, np.full(150, 12)),
        "item_knn": answer(asked, np.full(150, 5)),
    }


def test_differences_name_the_best_baseline(board):
    asked, made = board
    found = made.differences(answers(asked), ("popularity", "item_knn"))
    pairs = [(item.model, item.against) for item in found]
    assert pairs == [
        ("two_stage", "retrieval"),
        ("two_stage", "item_knn"),
        ("retrieval", "item_knn"),
    ]
    assert found[0].difference == pytest.approx(1 - 1 / np.log2(5), abs=1e-4)
    assert found[0].low > 0


def test_live_version_is_compared_where_there_is_one(board):
    asked, made = board
    found = made.differences(
        answers(asked) | {"live": answer(asked, np.zeros(150, int))},
        ("popularity",),
    )
    assert found[-1].against == "live"
    assert found[-1].difference == 0.0


def test_queries_that_live_cannot_answer_do_not_count_against_it(board):
    asked, made = board
    # Live misses the first half of the targets, which are gone there.
    gone = np.arange(150) < 75
    lists = answers(asked)
    scores, items = answer(asked, np.zeros(150, int))
    items = np.where(gone[:, None] & (np.arange(20) == 0), 0, items)
    lists["live"] = scores, items

    def against(fair):
        *_, last = made.differences(lists, ("popularity",), fair)
        return last.difference

    assert against(slice(None)) > 0.4
    assert against(~gone) == 0.0


def test_targets_that_are_gone_are_none(board):
    asked, _made = board
    gone = np.unique(asked.relevant.items)[:20]
    left = requests.without(asked, gone)
    assert 0 < len(left) < len(asked)
    assert not np.isin(left.relevant.items, gone).any()
    assert (left.num_relevant == left.relevant.lengths).all()


def test_shuffled_targets_fall_to_chance(board):
    asked, made = board
    sanity = made.sanity(answers(asked), np.ones((NUM_ITEMS + 2, 4)))
    # Ten of sixty items at random: discounted, about a tenth.
    assert sanity.shuffled_targets_ndcg_at_10 < 0.2


def test_collapse_is_seen(board):
    asked, made = board
    same = np.tile(np.arange(2, 22, dtype=np.int32), (len(asked), 1))
    lists = answers(asked) | {
        "two_stage": (np.tile(-np.arange(20.0), (len(asked), 1)), same)
    }
    sanity = made.sanity(lists, np.zeros((NUM_ITEMS + 2, 4)))
    assert sanity.list_overlap["two_stage"] == 1.0
    assert sanity.list_overlap["retrieval"] < 0.5
    assert sanity.embedding_norm.zero_share == 1.0
