"""Predicted ratings of users and items that training did not rate."""

from dataclasses import replace

import numpy as np
import tensorflow as tf

from models.config import RetrievalConfig
from pipeline.ranking import rating
from pipeline.run import auto
from pipeline.run.config import Config
from tests.support.prepared_stub import make_prepared

NUM_ITEMS = 12


def make_config(refit):
    return Config(
        name="small",
        seed=3,
        retrieval=RetrievalConfig(history_length=4, refit=refit),
    )


def trained(prepared, directory, refit=False):
    config = make_config(refit)
    rating.run(config, prepared, directory)
    return rating.load(config, prepared, directory)


def rated(head, users, items):
    """Ratings [users, items] without a history."""
    return head(
        tf.zeros([len(users), 1], tf.int32),
        tf.constant(users, tf.int32),
        tf.constant([items] * len(users), tf.int32),
    ).numpy()


def make_rows(seed=0, num_users=60):
    random = np.random.default_rng(seed)
    rows = [(random.permutation(8)[:5] + 2).tolist() for _ in range(num_users)]
    ratings = [1.0 + item % 5 for row in rows for item in row]
    return rows, ratings


def test_what_is_unknown_is_rated_like_any_other(tmp_path):
    rows, ratings = make_rows()
    head = trained(make_prepared(rows, NUM_ITEMS, ratings=ratings), tmp_path)
    users, items = np.arange(2, 62), np.arange(2, 10)
    all_pairs = rated(head, users, items)
    # Bias and product are linear in each row, so their means agree.
    np.testing.assert_allclose(
        rated(head, users, [1])[:, 0], all_pairs.mean(axis=1), atol=1e-4
    )
    np.testing.assert_allclose(
        rated(head, [1], items)[0], all_pairs.mean(axis=0), atol=1e-4
    )
    # Listed and never taken, beyond the tables, or nobody at all.
    np.testing.assert_array_equal(
        rated(head, [1], [11]), rated(head, [500], [1])
    )
    assert np.ptp(all_pairs) > 1


def test_a_row_between_others_without_a_rating_is_like_any_other(tmp_path):
    rows, ratings = make_rows()
    flat = np.array([item for row in rows for item in row])
    ratings = np.where(flat == 5, np.nan, ratings)
    head = trained(make_prepared(rows, NUM_ITEMS, ratings=ratings), tmp_path)
    users = np.arange(2, 12)
    np.testing.assert_array_equal(
        rated(head, users, [5]), rated(head, users, [1])
    )


def test_users_of_validation_alone_are_rated_as_serving_finds_them(tmp_path):
    rows, ratings = make_rows()
    parts = np.concatenate([[0, 0, 0, 1, 2]] * 50 + [[1, 1, 1, 1, 2]] * 10)
    prepared = make_prepared(
        rows, NUM_ITEMS, "temporal", ratings=ratings, parts=parts
    )
    # A request looks users of the train part up, and they come first.
    prepared = replace(prepared, users=replace(prepared.users, num_known=52))
    head = trained(prepared, tmp_path, refit=True)
    assert head.num_users == 52
    np.testing.assert_array_equal(rated(head, [55], [3]), rated(head, [1], [3]))


def test_ratings_in_the_train_part_are_needed(tmp_path):
    prepared = make_prepared(
        [[2, 3, 4]] * 5, NUM_ITEMS, ratings=[np.nan, 3, 4] * 5
    )
    assert rating.run(make_config(True), prepared, tmp_path) == {}


def test_large_tables_are_trained_by_row_and_as_well(tmp_path, monkeypatch):
    rows, ratings = make_rows()
    prepared = make_prepared(rows, NUM_ITEMS, ratings=ratings)
    monkeypatch.setattr(rating, "_BATCH", 16)
    monkeypatch.setattr(rating, "_EPOCHS", 3)
    make, made, curves = rating._optimizer, [], []

    def kept(*arguments):
        made.append(make(*arguments))
        return made[-1]

    monkeypatch.setattr(rating, "_optimizer", kept)
    for limit in (auto.DENSE_UP_TO, 0):
        monkeypatch.setattr(auto, "DENSE_UP_TO", limit)
        report = rating.run(make_config(False), prepared, tmp_path)
        curves.append(report["validation_rmse"])
    dense, lazy = curves
    assert [type(o).__name__ for o in made] == ["Adam", "LazyAdamW"]
    np.testing.assert_allclose(lazy, dense, atol=2e-3)
