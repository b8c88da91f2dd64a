"""Exact and ScaNN search against NumPy; saving; lists that stay full."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.layers import index as search
from pipeline.retrieval import index
from pipeline.retrieval.report import Point, Report, Tuned
from pipeline.run.release import IndexConfig
from pipeline.steps import Run
from pipeline.tables.schema import DataError

NUM_ITEMS, DIM, K = 4_000, 16, 20


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    generator = np.random.default_rng(7)
    centres = generator.normal(size=(40, DIM))
    rows = centres[generator.integers(0, 40, NUM_ITEMS + 2)]
    noise = generator.normal(size=(NUM_ITEMS + 2, DIM))
    return (rows + 0.5 * noise).astype(np.float32)


@pytest.fixture(scope="module")
def queries(embeddings: np.ndarray) -> np.ndarray:
    generator = np.random.default_rng(8)
    picked = embeddings[generator.integers(2, NUM_ITEMS, 60)]
    noise = generator.normal(size=picked.shape)
    return (picked + 0.3 * noise).astype(np.float32)


@pytest.fixture(scope="module")
def scann(
    embeddings: np.ndarray,
    queries: np.ndarray,
    tmp_path_factory: pytest.TempPathFactory,
) -> search.ScannIndex:
    """As the exporter gets it: built, written and read again."""
    config = IndexConfig(kind="scann", num_candidates=K)
    report, searcher = index.build(embeddings, queries, config)
    assert report.scann and report.scann.meets_recall_floor
    directory = tmp_path_factory.mktemp("index")
    index.save(embeddings, report, searcher, directory)
    loaded = index.load(config, directory)
    assert isinstance(loaded, search.ScannIndex)
    return loaded


def _oracle(
    embeddings: np.ndarray, query: np.ndarray, seen: np.ndarray, k: int
) -> list[int]:
    scores = embeddings @ query
    scores[:2] = -np.inf
    scores[seen] = -np.inf
    order = np.argsort(-scores, kind="stable")[:k]
    return [int(item) for item in order if np.isfinite(scores[item])]


def test_exact_search_equals_numpy(
    embeddings: np.ndarray, queries: np.ndarray
) -> None:
    generator = np.random.default_rng(1)
    seen = generator.integers(0, NUM_ITEMS, (len(queries), 30)).astype(np.int32)
    scores, found = search.ExactIndex(embeddings, K)(queries, seen)
    for row, query in enumerate(queries):
        assert list(found[row].numpy()) == _oracle(
            embeddings, query, seen[row], K
        )
    assert np.all(np.diff(scores.numpy(), axis=1) <= 0)


def test_a_list_the_catalogue_cannot_fill_ends_in_padding(
    embeddings: np.ndarray, queries: np.ndarray
) -> None:
    exact = search.ExactIndex(embeddings[:8], K)
    scores, found = exact(queries[:1], np.array([[3, 4, 4, 0]], np.int32))
    assert found.shape == (1, 6)
    assert list(found[0, 4:].numpy()) == [0, 0]
    assert sorted(found[0, :4].numpy()) == [2, 5, 6, 7]
    assert np.all(scores[0, 4:].numpy() == search.MASKED_SCORE)


def test_scann_meets_the_floor_and_never_returns_seen_items(
    scann: search.ScannIndex, embeddings: np.ndarray, queries: np.ndarray
) -> None:
    recalls = []
    for query in queries:
        # The items it would return first: the worst case for a full list.
        seen = np.array([_oracle(embeddings, query, np.array([0]), K)])
        found = scann(query[None], seen.astype(np.int32))[1].numpy()[0]
        assert not set(found) & set(seen[0])
        assert len(set(found)) == K
        truth = _oracle(embeddings, query, seen[0], K)
        recalls.append(len(set(found) & set(truth)) / K)
    assert np.mean(recalls) > 0.8


def test_scann_fills_the_list_when_nearly_everything_is_excluded(
    scann: search.ScannIndex, embeddings: np.ndarray, queries: np.ndarray
) -> None:
    seen = np.arange(2, NUM_ITEMS + 2 - K, dtype=np.int32)[None]
    found = scann(queries[:1], seen)[1].numpy()[0]
    assert sorted(found) == list(range(NUM_ITEMS + 2 - K, NUM_ITEMS + 2))


def test_a_saved_scann_index_answers_the_same(
    scann: search.ScannIndex, queries: np.ndarray, tmp_path: Path
) -> None:
    call = tf.function(
        scann.__call__,
        input_signature=[
            tf.TensorSpec([None, DIM], tf.float32),
            tf.TensorSpec([None, None], tf.int32),
        ],
    )
    seen = np.zeros((1, 1), np.int32)
    expected = [call(query[None], seen)[1].numpy() for query in queries]
    scann.call = call
    tf.saved_model.save(scann, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    for query, answer in zip(queries, expected, strict=True):
        assert np.array_equal(loaded.call(query[None], seen)[1], answer)


@pytest.mark.parametrize("num_shards", [2, 3, 7])
def test_shards_merged_equal_one_index_on_exact_search(
    embeddings: np.ndarray, queries: np.ndarray, num_shards: int
) -> None:
    generator = np.random.default_rng(1)
    seen = generator.integers(0, 3_000, (len(queries), 30)).astype(np.int32)
    # Equal items in several shards: ties keep the order of the catalogue.
    doubled = np.concatenate([embeddings[:1502], embeddings[2:1502]])
    size = len(doubled) - 2
    one = search.ExactIndex(doubled, K)(queries, seen)
    found = []
    for shard in range(num_shards):
        first = 2 + shard * size // num_shards
        stop = 2 + (shard + 1) * size // num_shards
        rows = np.concatenate([doubled[:2], doubled[first:stop]])
        inside = (seen >= first) & (seen < stop)
        local = np.where(inside, seen - first + 2, 0).astype(np.int32)
        scores, indices = search.ExactIndex(rows, K)(queries, local)
        found.append((scores, tf.where(indices > 0, indices + first - 2, 0)))
    merged = search.merge(found, K)
    np.testing.assert_array_equal(merged[1], one[1])
    np.testing.assert_allclose(merged[0], one[0], rtol=1e-6)


@pytest.mark.slow
def test_scann_shards_are_merged_and_saved(
    embeddings: np.ndarray, queries: np.ndarray, tmp_path: Path
) -> None:
    config = IndexConfig(kind="scann", num_candidates=K)
    searchers = [
        search.build_searcher(embeddings[first : first + 2000], K, 44)
        for first in (2, 2002)
    ]
    report, kept = index.build(embeddings, queries, config, searchers)
    assert report.scann and report.scann.shards == [2000, 2000]
    assert report.scann and report.scann.meets_recall_floor
    index.save(embeddings, report, kept, tmp_path)
    loaded = index.load(config, tmp_path)
    seen = np.zeros((1, 1), np.int32)
    hits = []
    for query in queries:
        found = loaded(query[None], seen)[1].numpy()[0]
        truth = _oracle(embeddings, query, seen[0], K)
        assert len(set(found)) == K
        hits.append(len(set(found) & set(truth)) / K)
    assert np.mean(hits) > 0.9
    everything = np.arange(2, NUM_ITEMS + 2 - K, dtype=np.int32)[None]
    found = loaded(queries[:1], everything)[1].numpy()[0]
    assert sorted(found) == list(range(NUM_ITEMS + 2 - K, NUM_ITEMS + 2))


def test_shards_are_merged_when_all_are_there(
    tiny_run: Run, tmp_path: Path
) -> None:
    config = replace(tiny_run.config, artifacts=str(tmp_path))
    shutil.copytree(tiny_run.config.run_directory, config.run_directory)
    said: list[str] = []
    for shard in (2, 0):
        Run(config, progress=said.append).index_shard(shard, 3)
    # Not complete: what is there stays up to date.
    one = np.load(Run(config).index() / "embeddings.npy")
    Run(config, progress=said.append).index_shard(1, 3)
    merged = Run(config, progress=said.append).index()
    assert "merged from 3 shards" in "".join(said)
    # A matrix product of fewer rows may round otherwise.
    np.testing.assert_allclose(
        np.load(merged / "embeddings.npy"), one, rtol=1e-5, atol=1e-6
    )
    # A shard of another model is not merged.
    changed = replace(config, index=replace(config.index, num_candidates=20))
    said.clear()
    Run(changed, progress=said.append).index()
    assert "merged" not in "".join(said)


def test_small_catalogues_are_searched_exactly(
    embeddings: np.ndarray, queries: np.ndarray
) -> None:
    report, searcher = index.build(embeddings, queries, IndexConfig())
    assert report.kind == "exact"
    assert searcher is None


@pytest.mark.parametrize("is_tuned", [False, True])
def test_a_report_is_read_as_it_was_written(
    is_tuned: bool, tmp_path: Path
) -> None:
    points = [Point(9, 2, 60, 7, 0.8, 0.3), Point(9, 4, 90, 8, 0.97, 0.4)]
    tuned = Tuned([5, 4], points[1], 1.5, True, points)
    made = Report(9, 30, 0.97, 0.4, tuned if is_tuned else None)
    made.write(tmp_path)
    assert Report.read(tmp_path) == made
    content = json.loads((tmp_path / "index.json").read_text())
    common = ["kind", "num_items", "num_candidates", "recall@30", "latency_ms"]
    assert list(content)[:5] == common and list(content)[-1] == "frontier"
    if is_tuned:
        assert content["chosen"] == {
            "num_leaves": 9,
            "num_leaves_to_search": 4,
            "num_reordering_candidates": 90,
            "work": 8,
            "recall@30": 0.97,
            "latency_ms": 0.4,
        }
        assert content["frontier"][1] == content["chosen"]


def test_scann_refuses_a_catalogue_it_cannot_train_on(
    embeddings: np.ndarray, queries: np.ndarray
) -> None:
    with pytest.raises(DataError, match="at least 1000 items. Received: 98"):
        index.build(embeddings[:100], queries, IndexConfig(kind="scann"))


def _spoilt(values: object) -> np.ndarray:
    embeddings = np.random.default_rng(0).normal(size=(1_200, 8))
    embeddings[[3, 700]] = values
    return embeddings


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e19])
def test_what_would_end_the_process_is_an_error(value: float) -> None:
    with pytest.raises(ValueError, match="2 of 1200 rows that are not: 3, 700"):
        search.build_searcher(_spoilt(value), K, 34)


@pytest.mark.parametrize(
    ("embeddings", "leaves", "words"),
    [
        (np.zeros([0, 8]), 1, r"Received: \[0, 8\]"),
        (np.zeros([1_200, 0]), 1, r"Received: \[1200, 0\]"),
        (np.zeros([8]), 1, r"Received: \[8\]"),
        (np.zeros([30, 8]), 31, "Received: 31 for 30 items"),
        (np.zeros([30, 8]), 0, "Received: 0 for 30 items"),
    ],
)
def test_shapes_that_no_tree_has_are_refused(
    embeddings: np.ndarray, leaves: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        search.build_searcher(embeddings, K, leaves)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_embeddings_are_searched(value: float) -> None:
    embeddings = np.full([1_200, 8], value)
    assert search.build_searcher(embeddings, K, 34)


def test_items_without_a_finite_embedding_are_named() -> None:
    ids = [f"item-{row}" for row in range(1_200)]
    with pytest.raises(DataError, match="2 of 1200 .* 'item-3', 'item-700'"):
        index._check(_spoilt(np.nan), ids)
    index._check(_spoilt(1.0), ids)
