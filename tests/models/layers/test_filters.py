"""Filtered search against a brute force over every item."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.layers import index as search
from models.layers.filters import (
    FIRST_VALUE,
    NO_VALUE,
    FeatureValues,
    FilteredIndex,
)

DIM = 8
# Of 40 items: one of four colours each, any of three sizes.
NUM_ITEMS, COLOURS, SIZES = 40, 4, 3
GENERATOR = np.random.default_rng(5)
COLOUR = GENERATOR.integers(0, COLOURS, NUM_ITEMS + 2)
HAS_SIZE = GENERATOR.random((NUM_ITEMS + 2, SIZES)) < 0.4
EMBEDDINGS = GENERATOR.normal(size=(NUM_ITEMS + 2, DIM)).astype(np.float32)

Ask = Callable[..., tuple[tf.Tensor, tf.Tensor]]


def _traced(index: FilteredIndex) -> Ask:
    return tf.function(
        index.__call__,
        input_signature=[
            tf.TensorSpec([None, index.embeddings.shape[1]], tf.float32),
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None], tf.int32),
        ],
    )


def _small(k: int) -> Ask:
    items = np.arange(2, NUM_ITEMS + 2, dtype=np.int32)
    owners, sizes = np.nonzero(HAS_SIZE[2:])
    features = [
        FeatureValues(items, COLOUR[2:].astype(np.int32), COLOURS),
        FeatureValues(
            owners.astype(np.int32) + 2, sizes.astype(np.int32), SIZES
        ),
    ]
    exact = search.ExactIndex(EMBEDDINGS, k)
    return _traced(FilteredIndex(exact, features))


@pytest.fixture(scope="module", params=[1, 7, NUM_ITEMS + 5])
def asked(request: pytest.FixtureRequest) -> tuple[Ask, int]:
    """A search, and how many items it answers at most."""
    return _small(request.param), min(request.param, NUM_ITEMS)


def _passes(colours: list[int], sizes: list[int]) -> np.ndarray:
    """Items that have one of each; an empty list lets everything pass."""
    passes = np.ones(NUM_ITEMS + 2, bool)
    if colours:
        passes &= np.isin(COLOUR, colours)
    if sizes:
        # The last of them no item has.
        known = [size for size in sizes if size < SIZES]
        passes &= HAS_SIZE[:, known].any(axis=1)
    passes[:2] = False
    return passes


ROWS = st.tuples(
    st.lists(st.integers(0, COLOURS - 1), max_size=3),
    st.lists(st.integers(0, SIZES), max_size=3),
    st.lists(st.integers(0, NUM_ITEMS + 1), max_size=NUM_ITEMS),
)


@settings(max_examples=30)
@given(rows=st.lists(ROWS, min_size=1, max_size=3))
def test_filters_and_exclusions_give_what_brute_force_gives(
    asked: tuple[Ask, int],
    rows: list[tuple[list[int], list[int], list[int]]],
) -> None:
    ask, k = asked
    queries = GENERATOR.normal(size=(len(rows), DIM)).astype(np.float32)
    width = max(len(hidden) for *_, hidden in rows)
    seen = np.zeros((len(rows), width), np.int32)
    allowed = np.zeros((len(rows), 6), np.int32)
    for place, (colours, sizes, hidden) in enumerate(rows):
        seen[place, : len(hidden)] = hidden
        for column, colour in enumerate(colours):
            allowed[place, column] = FIRST_VALUE + colour
        for column, size in enumerate(sizes):
            number = FIRST_VALUE + COLOURS + size
            allowed[place, 3 + column] = number if size < SIZES else NO_VALUE
    features = np.array([0, 0, 0, 1, 1, 1], np.int32)
    scores, found = ask(queries, seen, allowed, features)
    for place, (colours, sizes, hidden) in enumerate(rows):
        passes = _passes(colours, sizes)
        passes[hidden] = False
        exact = np.where(passes, EMBEDDINGS @ queries[place], -np.inf)
        expected = np.argsort(-exact, kind="stable")[: min(k, passes.sum())]
        answer = found[place].numpy()
        assert answer.tolist() == expected.tolist() + [0] * (k - len(expected))
        np.testing.assert_allclose(
            scores[place, : len(expected)],
            exact[expected],
            rtol=1e-4,
            atol=1e-5,
        )
        assert np.all(scores[place, len(expected) :] == search.MASKED_SCORE)


NUM_MANY, NUM_LEAVES, K = 4_000, 60, 20
SHARES = (1.0, 0.5, 0.1, 0.01, 0.001)


@pytest.fixture(scope="module")
def many() -> tuple[Ask, np.ndarray, list[np.ndarray]]:
    """A search with ScaNN, its embeddings, and the items of each value."""
    embeddings = GENERATOR.normal(size=(NUM_MANY + 2, DIM)).astype(np.float32)
    searcher = search.build_searcher(embeddings[2:], K, NUM_LEAVES)
    index = search.ScannIndex(
        search.ExactIndex(embeddings, K),
        [searcher],
        [NUM_MANY],
        NUM_LEAVES // 4,
        8 * K,
    )
    rows = np.arange(2, NUM_MANY + 2, dtype=np.int32)
    items = [
        np.sort(GENERATOR.choice(rows, int(NUM_MANY * share), replace=False))
        for share in SHARES
    ]
    # One feature whose values overlap, so that one item has several.
    feature = FeatureValues(
        np.concatenate(items),
        np.repeat(np.arange(len(items)), [len(x) for x in items]),
        len(items),
    )
    return _traced(FilteredIndex(index, [feature])), embeddings, items


@pytest.mark.parametrize("value", range(len(SHARES)))
def test_scann_finds_what_passes_however_little_does(
    many: tuple[Ask, np.ndarray, list[np.ndarray]], value: int
) -> None:
    ask, embeddings, items = many
    allowed = np.array([[FIRST_VALUE + value]], np.int32)
    recalls = []
    for query in embeddings[300:340]:
        scores = embeddings[items[value]] @ query
        best = items[value][np.argsort(-scores)]
        # The very best are hidden, so that they must be refilled.
        seen, truth = best[:2][None], best[2 : K + 2]
        found = ask(query[None], seen, allowed, np.zeros(1, np.int32))[1]
        answer = found[0].numpy()
        assert np.count_nonzero(answer) == min(K, len(best) - 2)
        assert set(answer) - {0} <= set(best[2:])
        recalls.append(len(set(answer) & set(truth)) / len(truth))
    assert np.mean(recalls) >= 0.95


def test_a_filter_against_the_query_is_refilled(
    many: tuple[Ask, np.ndarray, list[np.ndarray]],
) -> None:
    ask, embeddings, items = many
    # Half of the catalogue passes; nothing of it that the index finds first.
    mine = items[1]
    query = -embeddings[mine].mean(axis=0) * 100
    first = mine[np.argsort(-(embeddings[mine] @ query))]
    seen = first[: len(mine) - 5][None]
    allowed = np.array([[FIRST_VALUE + 1]], np.int32)
    answer = ask(query[None], seen, allowed, np.zeros(1, np.int32))[1][0]
    assert sorted(answer.numpy()[:5]) == sorted(first[-5:])
    assert not answer.numpy()[5:].any()
