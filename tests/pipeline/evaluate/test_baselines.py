"""Item-item tables and baselines against slow references and planted truth."""

import tracemalloc

import numpy as np
import pytest

from pipeline.evaluate import baselines
from pipeline.measure import metrics, requests
from pipeline.ranking import cooccurrence, item_tables
from pipeline.ranking.cooccurrence import Log
from pipeline.run import auto
from pipeline.tables.ragged import Ragged
from tests.support.prepared_stub import make_prepared


def random_histories(num_users, num_items, seed=0):
    random = np.random.default_rng(seed)
    return Ragged.of(
        [
            (random.permutation(num_items - 2)[: random.integers(0, 9)] + 2)
            .astype(int)
            .tolist()
            for _ in range(num_users)
        ]
    )


def rows_of(ragged):
    return [
        ragged.items[start:stop].tolist()
        for start, stop in zip(
            ragged.offsets[:-1], ragged.offsets[1:], strict=True
        )
    ]


def test_window_markov_equals_slow_counts():
    histories = random_histories(30, 12)
    expected = np.zeros((12, 12))
    for row in rows_of(histories):
        for place, item in enumerate(row):
            for step in range(1, 4):
                if place + step < len(row):
                    weight = 0.8 ** (step - 1)
                    expected[item, row[place + step]] += weight
                    expected[row[place + step], item] += 0.5 * weight
    expected /= expected.sum(axis=1, keepdims=True) + 10.0
    found = cooccurrence.window_markov(histories, 12, 3, 0.5)
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-5)


def test_item_knn_equals_slow_cosine():
    histories = random_histories(40, 10)
    seen = np.zeros((40, 10))
    for user, row in enumerate(rows_of(histories)):
        seen[user, row] = 1
    norms = np.sqrt(seen.sum(axis=0))
    expected = (seen.T @ seen) / (np.outer(norms, norms) + 3.0)
    np.fill_diagonal(expected, 0)
    found = cooccurrence.item_knn(histories, 10, shrinkage=3.0)
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-5)


def test_item_knn_keeps_the_best_neighbours():
    histories = random_histories(60, 12)
    full = cooccurrence.item_knn(histories, 12).toarray()
    kept = cooccurrence.item_knn(histories, 12, num_neighbours=3).toarray()
    assert ((kept > 0).sum(axis=1) <= 3).all()
    np.testing.assert_allclose(kept.max(axis=1), full.max(axis=1))


def test_item_knn_of_a_large_catalogue_pairs_the_newest(monkeypatch):
    histories = random_histories(60, 12)
    newest = Ragged.of([row[-3:] for row in rows_of(histories)])
    expected = cooccurrence.item_knn(newest, 12).toarray()
    assert not np.allclose(
        cooccurrence.item_knn(histories, 12).toarray(), expected
    )
    monkeypatch.setattr(auto, "DENSE_UP_TO", 11)
    pairs = int((np.minimum(histories.lengths, 3) ** 2).sum())
    monkeypatch.setattr(auto, "_PAIRS", pairs)
    found = cooccurrence.item_knn(histories, 12).toarray()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_tables_of_a_large_catalogue_keep_the_best_neighbours(monkeypatch):
    histories = random_histories(200, 30)
    log = Log(histories, np.arange(len(histories.items)), 30, 30)
    whole = item_tables.build(log)
    monkeypatch.setattr(auto, "_LEAST_NEIGHBOURS", 2)
    monkeypatch.setattr(auto, "_ENTRIES", 60)
    kept = item_tables.build(log)
    assert len(kept.neighbours) < len(whole.neighbours)
    for item in range(30):
        few, all_ = (
            tables.weights[slice(*tables.offsets[item : item + 2])]
            for tables in (kept, whole)
        )
        assert ((few > 0).sum(axis=0) <= 2).all()
        np.testing.assert_array_equal(
            few.max(axis=0, initial=0), all_.max(axis=0, initial=0)
        )


def test_largest_of_a_dense_matrix_equals_a_full_sort():
    weights = np.random.default_rng(0).normal(size=(30, 20))
    found = cooccurrence.largest_of_dense(weights, 4).toarray()
    for row in range(30):
        expected = np.zeros(20)
        kept = np.argsort(-np.abs(weights[row]))[:4]
        expected[kept] = weights[row, kept]
        np.testing.assert_array_equal(found[row], expected)
    whole = cooccurrence.largest_of_dense(weights, 50).toarray()
    np.testing.assert_array_equal(whole, weights)


def test_ease_solves_the_constrained_least_squares():
    histories = random_histories(50, 9)
    seen = np.zeros((50, 9))
    for user, row in enumerate(rows_of(histories)):
        seen[user, row] = 1
    found = cooccurrence.ease(histories, 9, 2.0)
    assert (np.diag(found) == 0).all()
    # Ridge regression of each item on the others.
    for item in range(2, 9):
        others = [other for other in range(2, 9) if other != item]
        inputs = seen[:, others]
        expected = np.linalg.solve(
            inputs.T @ inputs + 2.0 * np.eye(6), inputs.T @ seen[:, item]
        )
        np.testing.assert_allclose(
            found[others, item], expected, rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("name", ["ease", "item_knn", "window_markov"])
def test_memory_goes_by_known_items_and_not_by_listed_ones(name):
    histories = Ragged.of([[2, 3, 4, 5], [3, 2, 5], [4, 5]] * 20)
    times = np.arange(len(histories.items))
    settings = {
        key: values[0] for key, values in baselines._GRIDS[name].items()
    }
    tracemalloc.start()
    try:
        large = next(
            baselines.fit(name, Log(histories, times, 100_002, 6), [settings])
        )
        item_tables.build(Log(histories, times, 100_002, 6))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50e6
    small = next(baselines.fit(name, Log(histories, times, 6, 6), [settings]))
    # A history may hold what is listed and was never taken.
    asked = Ragged.of([[2, 90_000, 3], [5]])
    found = large.score(asked)
    assert found.shape == (2, 100_002) and not found[:, 6:].any()
    np.testing.assert_allclose(
        found[:, :6], small.score(Ragged.of([[2, 1, 3], [5]]))
    )


def test_decayed_history_weighs_the_newest_most():
    histories = Ragged.of([[2, 3, 4], [], [1, 5]])
    found = cooccurrence.decayed(histories, 6, decay=0.5).toarray()
    np.testing.assert_allclose(found[0], [0, 0, 0.25, 0.5, 1, 0])
    assert not found[1].any()
    # Unknown items take a place but weigh nothing.
    np.testing.assert_allclose(found[2], [0, 0, 0, 0, 0, 1])


def test_recent_popularity_halves_after_the_half_life():
    log = Log(Ragged.of([[2, 3]]), np.array([0, 86_400 * 3]), 4, 4)
    found = log.popularity(half_life=3, unit=86_400)
    np.testing.assert_allclose(found, [0, 0, 0.5, 1.0])


@pytest.fixture(scope="module")
def chain():
    """Users who walk a fixed chain of items: order is everything."""
    random = np.random.default_rng(0)
    sequences = []
    for _ in range(200):
        start = random.integers(0, 30)
        sequences.append([2 + (start + step) % 30 for step in range(8)])
    return make_prepared(sequences, num_items=30)


def test_order_aware_baseline_wins_where_order_is_planted(chain):
    asked = requests.make(chain, "test")
    found = {
        baseline.name: metrics.recall_at_k(
            baselines.find(baseline, asked, 10), asked.num_relevant, 1
        ).mean()
        for baseline in baselines.fit_all(chain)
    }
    assert set(found) == set(baselines.NAMES)
    assert found["window_markov"] > 0.9
    assert found["popularity"] < 0.3


def test_nothing_seen_or_reserved_is_recommended(chain):
    asked = requests.make(chain, "test")
    for baseline in baselines.fit_all(chain):
        _, items = baselines.recommend(baseline, asked.histories, 10)
        assert not metrics.find_hits(items, asked.histories).any()
        assert (items >= 2).all()


def test_random_is_at_chance():
    random = np.random.default_rng(0)
    rows = [(random.permutation(100)[:6] + 2).tolist() for _ in range(1_500)]
    prepared = make_prepared(rows, num_items=100)
    asked = requests.make(prepared, "test")
    baseline = next(baselines.fit_all(prepared, seed=3))
    recall = metrics.recall_at_k(
        baselines.find(baseline, asked, 10, 3), asked.num_relevant, 10
    )
    assert recall.mean() == pytest.approx(10 / 95, abs=0.025)


def test_same_seed_gives_same_lists(chain):
    asked = requests.make(chain, "test")
    first, second = (
        [
            baselines.recommend(baseline, asked.histories, 5, 7)[1]
            for baseline in baselines.fit_all(chain, seed=7)
        ]
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_settings_come_from_validation_alone(chain):
    """Destroying the test part must not change what is chosen."""
    sequences = chain.sequences()
    before = {b.name: b.settings for b in baselines.fit_all(chain)}
    rows = [
        sequences.item_indices[start:stop].tolist()
        for start, stop in zip(
            sequences.offsets[:-1], sequences.offsets[1:], strict=True
        )
    ]
    destroyed = make_prepared([[*row[:-1], 2] for row in rows], num_items=30)
    after = {b.name: b.settings for b in baselines.fit_all(destroyed)}
    assert before == after


def test_a_baseline_that_cannot_be_fitted_is_left_out(monkeypatch):
    monkeypatch.setattr(baselines, "EASE_MAX_ITEMS", 4)
    prepared = make_prepared([[2, 3, 4, 5, 6]] * 9, 60)
    fitted = [baseline.name for baseline in baselines.fit_all(prepared)]
    left_out = baselines.left_out(prepared)
    assert {*fitted, *left_out} == set(baselines.NAMES)
    assert list(left_out) == ["ease"] and "ease" not in fitted
