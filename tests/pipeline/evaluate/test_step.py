"""Figures of an evaluation from lists whose quality is known."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from pipeline.evaluate import baselines, step
from pipeline.evaluate.evaluation import (
    Again,
    Diversity,
    Evaluation,
    Precision,
    Ratings,
    Student,
    plain,
)
from pipeline.evaluate.scoreboard import Board
from pipeline.measure import requests
from pipeline.release import gate
from pipeline.run.config import Config, EvaluateConfig, PublishConfig
from pipeline.tables.ragged import Ragged
from pipeline.tables.schema import DataError
from pipeline.terminal import report
from tests.support import evaluations
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


def result(asked, made):
    lists = answers(asked)
    return replace(
        evaluations.made(),
        again=Again(3, 4, "misses"),
        rows=tuple(
            row for name in lists for row in made.rows(name, lists[name])
        ),
        differences=made.differences(lists, ("popularity", "item_knn")),
        ratings=Ratings(0.91, 20_000),
        diversity=(
            Diversity(0.0, 0.20, 0.5, 0.4),
            Diversity(0.3, 0.18, 0.3, 0.4),
        ),
        sanity=made.sanity(
            lists, np.random.default_rng(0).normal(size=(NUM_ITEMS + 2, 4))
        ),
    )


def test_what_is_written_is_read(board, tmp_path):
    written = replace(
        result(*board),
        ondevice=Student("int8", "a", "b", {"int8": Precision(*[0.5] * 5)}),
    )
    path = tmp_path / "evaluation.json"
    written.write(path)
    assert Evaluation.read(path) == written
    values = json.loads(path.read_text())
    assert list(values["rows"][0]) == [
        "model",
        "slice",
        "users",
        "mrr",
        "recall@10",
        "ndcg@10",
        "recall@100",
        "ndcg@100",
        "ndcg@10_interval",
        "recall@10_interval",
        "recall@100_interval",
        "coverage@10",
        "pooled_recall@100",
    ]
    # Files of other versions lack some keys and have others.
    for name in ("again", "live", "left_out", "ondevice", "diversity"):
        del values[name]
    del values["rows"][0]["pooled_recall@100"]
    path.write_text(json.dumps(values | {"new": {"key": 1}}))
    older = Evaluation.read(path)
    assert older.rows[1:] == written.rows[1:] and older.again == Again()


def test_table_shows_models_differences_and_what_is_suspicious(board):
    text = report.table(result(*board))
    for words in (
        "two_stage",
        "item_knn",
        "two_stage against retrieval: ndcg@10 +0.5693",
        "RMSE 0.9100 over 20,000",
        "diversity 0.3: ndcg@10 0.1800 (-0.0200), likeness within a list 0.300",
        "3 of 150 queries have targets that stand in their history, 4 in all",
        "They count as misses",
        "too good",
    ):
        assert words in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_table_warns_of_collapse_and_of_tutorial_protocols(board):
    evaluation = result(*board)
    evaluation = replace(
        evaluation,
        label=step.label("random", "excluded"),
        sanity=replace(evaluation.sanity, list_overlap={"two_stage": 0.95}),
    )
    warnings = " ".join(report.warnings(evaluation))
    assert "tutorial protocol" in warnings
    assert "as tutorials count it: two_stage 1.000, " in warnings
    assert "collapsed" in warnings


@pytest.mark.parametrize(
    ("split", "seen", "is_tutorial"),
    [
        ("temporal", "excluded", False),
        ("leave_last_out", "included", True),
        ("random", "excluded", True),
    ],
)
def test_only_leaking_protocols_are_labelled(split, seen, is_tutorial):
    found = step.label(split, seen).startswith("tutorial")
    assert found == is_tutorial


def test_a_baseline_that_cannot_be_fitted_is_named(board, monkeypatch):
    evaluation = result(*board)
    monkeypatch.setattr(baselines, "EASE_MAX_ITEMS", 4)
    prepared = make_prepared([[2, 3, 4, 5, 6]] * 9, NUM_ITEMS)
    fitted = [baseline.name for baseline in baselines.fit_all(prepared)]
    evaluation = replace(evaluation, left_out=baselines.left_out(prepared))
    assert {*fitted, *evaluation.left_out} == set(baselines.NAMES)
    assert "ease" not in fitted
    text = report.table(evaluation)
    assert re.search(r"│ ease +│ +- │", text)
    assert "ease is not compared: it inverts" in text
    config = PublishConfig(must_beat=("ease",))
    assert "evaluated, since it inverts" in gate.gate(evaluation, config)[0]


def test_an_evaluation_without_a_target_to_find_is_refused(tmp_path):
    # The test part has nothing but items outside the catalogue.
    prepared = make_prepared([[2, 3, 4, 1], [3, 4, 2, 1]] * 5, NUM_ITEMS)
    config = Config(name="small", seed=0)
    with pytest.raises(DataError, match="targets that can be found"):
        step.run(config, prepared, tmp_path, tmp_path, tmp_path)


def test_where_the_history_may_come_back_what_ships_stands_beside(
    tiny_run, tmp_path
):
    options = EvaluateConfig(seen="included", bootstrap_samples=100)
    result = step.run(
        replace(tiny_run.config, evaluate=options),
        tiny_run.prepared(),
        tiny_run.export(),
        tiny_run.index(),
        tmp_path,
    )
    found = result.models
    assert "student" in result.left_out and "student" not in found
    # Nobody's target was in the history, whose items only take places.
    shipped, towers = found[step.AS_SHIPPED], found["retrieval"]
    assert shipped.recall_at_10 > towers.recall_at_10
    assert shipped.pooled_recall_at_100 >= towers.pooled_recall_at_100


def test_unpadded_leaves_padding_out():
    found = Ragged.unpadded(np.array([[3, 0, 2], [0, 0, 0]]))
    np.testing.assert_array_equal(found.items, [3, 2])
    np.testing.assert_array_equal(found.lengths, [2, 0])
