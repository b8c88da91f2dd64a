"""What every index promises, whatever it is made of."""

import numpy as np
import pytest
import tensorflow as tf

from models.layers import index as search

NUM_ITEMS, DIM, K = 1_200, 8, 20
Index = search.ExactIndex | search.ScannIndex


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    generator = np.random.default_rng(3)
    return generator.normal(size=(NUM_ITEMS + 2, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def indexes(embeddings: np.ndarray) -> dict[str, Index]:
    items = embeddings[2:]
    whole = [search.build_searcher(items, K, 34)]
    rounded = [search.build_searcher(items, K, 34, "int8")]
    halves = [search.build_searcher(x, K, 24) for x in np.split(items, 2)]
    sizes = [NUM_ITEMS // 2] * 2
    exact = search.ExactIndex(embeddings, K)
    return {
        "exact": exact,
        "scann": search.ScannIndex(exact, whole, [NUM_ITEMS], 10, 80),
        "int8": search.ScannIndex(exact, rounded, [NUM_ITEMS], 10, 80),
        # One leaf rarely holds enough: the exact index has to step in.
        "starved": search.ScannIndex(exact, whole, [NUM_ITEMS], 1, 20),
        "shards": search.ScannIndex(exact, halves, sizes, 8, 80),
    }


@pytest.mark.parametrize("num_hidden", [0, 40, NUM_ITEMS - K, NUM_ITEMS])
@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize(
    "name", ["exact", "scann", "int8", "starved", "shards"]
)
def test_lists_are_full_and_clean(
    indexes: dict[str, Index],
    embeddings: np.ndarray,
    name: str,
    batch_size: int,
    num_hidden: int,
) -> None:
    generator = np.random.default_rng(batch_size + num_hidden)
    queries = generator.normal(size=(batch_size, DIM)).astype(np.float32)
    # What would be found first; pads and rows of no item among it.
    order = np.argsort(-(queries @ embeddings[2:].T), axis=1)[:, :num_hidden]
    pads = np.zeros((batch_size, 2), np.int32)
    seen = np.concatenate([order + 2, pads], axis=1).astype(np.int32)
    scores, found = (
        x.numpy() for x in tf.function(indexes[name].__call__)(queries, seen)
    )
    assert scores.shape == found.shape == (batch_size, K)
    assert np.all(np.isfinite(scores))
    assert np.all(np.diff(scores, axis=1) <= 0)
    for row in range(batch_size):
        items = found[row][found[row] > 0]
        assert len(set(items)) == len(items) == min(K, NUM_ITEMS - num_hidden)
        assert items.min(initial=2) >= 2
        assert not set(items) & set(seen[row])
        np.testing.assert_allclose(
            scores[row][: len(items)],
            embeddings[items] @ queries[row],
            atol=0.1 if name == "int8" else 1e-4,
        )
    assert np.all(scores[found == 0] == search.MASKED_SCORE)


def test_one_starved_leaf_is_why_exact_search_steps_in(
    indexes: dict[str, Index], embeddings: np.ndarray
) -> None:
    index = indexes["starved"]
    assert isinstance(index, search.ScannIndex)
    query = embeddings[5:6]
    farthest = np.argsort(query @ embeddings[2:].T)[:, :K] + 2
    others = np.setdiff1d(np.arange(2, NUM_ITEMS + 2), farthest)
    scores, found = index.approximate(query, others[None].astype(np.int32))
    assert found.shape == (1, K)
    short = np.flatnonzero(found[0] == 0)
    assert len(short)
    assert np.all(scores.numpy()[0, short] == search.MASKED_SCORE)


@pytest.mark.parametrize("kind", ["exact", "scann"])
def test_what_is_gone_is_never_found(kind: str) -> None:
    rng = np.random.default_rng(4)
    embeddings = rng.normal(size=(1_202, 8)).astype(np.float32)
    gone = np.r_[2, rng.choice(np.arange(3, 1_202), 99, replace=False)]
    exact = search.ExactIndex(embeddings, 20, gone)
    made: Index = exact
    if kind == "scann":
        kept = np.delete(embeddings, gone, axis=0)[2:]
        searcher = search.build_searcher(kept, 20, 10)
        # All leaves and candidates: as exact as it can be.
        made = search.ScannIndex(exact, [searcher], [len(kept)], 10, 400)
    queries = rng.normal(size=(5, 8)).astype(np.float32)
    expected = queries @ embeddings.T
    expected[:, gone] = expected[:, :2] = -np.inf
    best = np.argsort(-expected, axis=1)[:, :20]
    for rows in (slice(None), slice(1)):
        seen = np.zeros((5, 1), np.int32)[rows]
        _scores, found = made(queries[rows], seen)
        assert not np.isin(found, gone).any()
        shared = [
            len(set(ours) & set(theirs))
            for ours, theirs in zip(found.numpy(), best[rows], strict=True)
        ]
        assert min(shared) >= 18


def test_k_is_at_most_what_is_left() -> None:
    embeddings = np.eye(6, dtype=np.float32)
    made = search.ExactIndex(embeddings, 5, [3, 4])
    _scores, found = made(embeddings[:1], np.zeros((1, 1), np.int32))
    assert made.k == 2 and set(found.numpy()[0]) == {2, 5}
