"""Ranking metrics against a slow reference, and against common mistakes."""

import math

import numpy as np
import pytest

from pipeline.measure import metrics
from pipeline.tables.ragged import Ragged


def slow_metrics(scores, items, relevant, k):
    """One list, word by word as the definitions read."""
    order = sorted(
        range(len(items)),
        key=lambda place: (
            -scores[place],
            items[place] in relevant,
            place,
        ),
    )
    found, gain, first = 0, 0.0, 0.0
    used = set()
    for rank, place in enumerate(order, start=1):
        item = items[place]
        if item == 0 or item not in relevant or item in used:
            continue
        used.add(item)
        if not first:
            first = 1 / rank
        if rank <= k:
            found += 1
            gain += 1 / math.log2(rank + 1)
    ideal = sum(
        1 / math.log2(rank + 1) for rank in range(1, min(k, len(relevant)) + 1)
    )
    return found / len(relevant), gain / ideal, first


@pytest.mark.parametrize("num_levels", [2, 5, 10_000])
def test_equals_slow_reference_with_and_without_ties(num_levels):
    random = np.random.default_rng(num_levels)
    items = np.stack(
        [random.permutation(np.arange(1, 31))[:12] for _ in range(40)]
    )
    scores = -np.sort(-random.integers(num_levels, size=items.shape), axis=1)
    relevant = [
        sorted(random.choice(30, random.integers(1, 6), replace=False) + 1)
        for _ in range(40)
    ]
    ragged = Ragged.of([[int(item) for item in row] for row in relevant])
    hits = metrics.find_hits(items, ragged, scores)
    for k in (1, 5, 10, 20):
        recall = metrics.recall_at_k(hits, ragged.lengths, k)
        ndcg = metrics.ndcg_at_k(hits, ragged.lengths, k)
        reciprocal = metrics.mrr(hits)
        for row in range(40):
            expected = slow_metrics(
                scores[row], items[row], set(relevant[row]), k
            )
            found = (recall[row], ndcg[row], reciprocal[row])
            np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_top_k_equals_full_sort():
    scores = np.random.default_rng(1).normal(size=(20, 50))
    found, items = metrics.top_k(scores, 7)
    np.testing.assert_array_equal(items, np.argsort(-scores)[:, :7])
    np.testing.assert_array_equal(found, -np.sort(-scores)[:, :7])


def test_top_k_pads_what_may_not_be_recommended():
    scores = np.array([[np.nan, 1.0, -np.inf, 3.0]])
    found, items = metrics.top_k(scores, 6)
    np.testing.assert_array_equal(items, [[3, 1, 0, 0, 0, 0]])
    assert np.isneginf(found[0, 2:]).all()


def test_constant_scorer_finds_k_of_n():
    num_queries, num_items, k = 2_000, 200, 20
    random = np.random.default_rng(0)
    relevant = Ragged.of(
        [[int(item)] for item in random.integers(1, num_items, num_queries)]
    )
    recalls = []
    for start in range(0, num_queries, 100):
        scores = np.zeros((100, num_items))
        scores[:, 0] = -np.inf
        found, items = metrics.top_k(scores, k, seed=start)
        block = relevant.take(np.arange(start, start + 100))
        hits = metrics.find_hits(items, block, found)
        recalls.append(metrics.recall_at_k(hits, block.lengths, k).mean())
        # Inside the list ties are the worst case: no hit comes early.
        assert metrics.recall_at_k(hits, block.lengths, k // 2).max() == 0
    assert np.mean(recalls) == pytest.approx(k / (num_items - 1), abs=0.03)


def test_an_item_listed_twice_counts_once():
    hits = metrics.find_hits(np.array([[4, 4, 5]]), Ragged.of([[4, 5]]))
    np.testing.assert_array_equal(hits, [[True, False, True]])


def test_no_relevant_item_scores_nothing():
    hits = metrics.find_hits(np.array([[4, 5]]), Ragged.of([[]]))
    values = metrics.summarise(hits, np.array([0]), (1, 10))
    assert all(value[0] == 0 for value in values.values())


def test_targets_outside_the_catalogue_lower_recall():
    hits = metrics.find_hits(np.array([[3, 2]]), Ragged.of([[3]]))
    assert metrics.recall_at_k(hits, np.array([4]), 2)[0] == 0.25


def test_ragged_rows_are_taken_and_padded():
    ragged = Ragged.of([[1, 2, 3], [], [4]])
    taken = ragged.take(np.array([2, 0]))
    np.testing.assert_array_equal(taken.items, [4, 1, 2, 3])
    np.testing.assert_array_equal(taken.lengths, [1, 3])
    np.testing.assert_array_equal(ragged.last(2), [[2, 3], [0, 0], [0, 4]])


def test_interval_covers_the_mean_about_as_often_as_it_says():
    random = np.random.default_rng(5)
    covered = 0
    for seed in range(200):
        low, high = metrics.interval(random.normal(size=80), 300, seed)
        covered += low <= 0 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_paired_difference_sees_what_unpaired_intervals_do_not():
    random = np.random.default_rng(3)
    reference = random.normal(1.0, 1.0, size=300)
    better = reference + 0.05 + random.normal(0.0, 0.05, size=300)
    found = metrics.paired_difference(better, reference)
    assert found["low"] > 0
    assert found["p_value"] < 0.01
    assert found["difference"] == pytest.approx(0.05, abs=0.02)
    # Alone, the two means cannot be told apart.
    low, high = metrics.interval(reference)
    assert low < better.mean() < high


def test_paired_difference_of_equals_is_not_significant():
    values = np.random.default_rng(3).random(50)
    found = metrics.paired_difference(values, values)
    assert found["difference"] == 0
    assert found["p_value"] == 1.0
    assert found["ratio"] == 1.0


@pytest.mark.parametrize("levels", [3, 400, 10**9])
def test_wide_rows_give_the_same_best(levels, monkeypatch):
    rng = np.random.default_rng(levels)
    scores = rng.integers(0, levels, (30, 3_001)).astype(np.float32)
    scores[0] = -np.inf
    scores[1, 5:] = np.nan
    scores[2, 3:] = -np.inf
    wide = metrics.top_k(scores, 9, seed=4)
    monkeypatch.setattr(metrics, "_GROUP", 10**6)
    plain = metrics.top_k(scores, 9, seed=4)
    for one, two in zip(wide, plain, strict=True):
        np.testing.assert_array_equal(one, two)
