import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.layers import rerank


def oracle(scores, valid, vectors, diversity, n):
    """One list, one pick after the other."""
    unit = vectors / np.maximum(
        np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12
    )
    there = scores[valid]
    low, high = (there.min(), there.max()) if len(there) else (0.0, 0.0)
    relevance = (scores - low) / (high - low) if high > low else 0 * scores
    picked = []
    while len(picked) < n:
        values = []
        for place in range(len(scores)):
            if place in picked:
                values.append(-np.inf)
                continue
            similar = max((unit[place] @ unit[p] for p in picked), default=0)
            value = (1 - diversity) * relevance[place] - diversity * similar
            values.append(value if valid[place] else -1e6)
        picked.append(int(np.argmax(values)))
    return picked


def call(scores, valid, vectors, diversity, n):
    return rerank.diversify(
        tf.constant(scores, tf.float32),
        tf.constant(valid),
        tf.constant(vectors, tf.float32),
        tf.constant(diversity, tf.float32),
        n,
    ).numpy()


@pytest.mark.parametrize("diversity", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_picks_are_those_of_the_definition(diversity):
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(4, 12))
    vectors = rng.normal(size=(4, 12, 5))
    valid = np.arange(12) < np.array([[12], [9], [6], [12]])
    found = call(scores, valid, vectors, [diversity] * 4, 6)
    for row in range(4):
        assert found[row].tolist() == oracle(
            scores[row], valid[row], vectors[row], diversity, 6
        )


def test_near_copies_wait_until_something_else_was_shown():
    # Three versions of one item lead, one other item follows.
    scores = np.array([[4.0, 3.9, 3.8, 3.0, 0.0]])
    vectors = np.array([[[1, 0], [1, 0.01], [1, 0.02], [0, 1], [0.5, 0.5]]])
    valid = np.ones((1, 5), bool)
    assert call(scores, valid, vectors, [0.0], 3).tolist() == [[0, 1, 2]]
    assert call(scores, valid, vectors, [0.4], 2).tolist() == [[0, 3]]


@settings(max_examples=30)
@example(np.zeros((2, 6), np.float32), 1.0)
@given(
    arrays.arrays(np.float32, (2, 6), elements=st.floats(-5, 5, width=32)),
    st.floats(0, 1, width=32),
)
def test_every_list_is_a_choice_without_repetition(scores, diversity):
    vectors = np.random.default_rng(0).normal(size=(2, 6, 3))
    valid = np.array([[True] * 6, [True] * 3 + [False] * 3])
    found = call(scores, valid, vectors, [diversity, diversity], 6)
    assert sorted(found[0].tolist()) == list(range(6))
    # Padding comes last.
    assert set(found[1, :3].tolist()) == {0, 1, 2}


def test_each_row_has_its_own_diversity():
    rng = np.random.default_rng(1)
    scores = np.repeat(rng.normal(size=(1, 10)), 2, axis=0)
    vectors = np.repeat(rng.normal(size=(1, 10, 3)), 2, axis=0)
    valid = np.ones((2, 10), bool)
    found = call(scores, valid, vectors, [0.0, 1.0], 10)
    assert found[0].tolist() == np.argsort(-scores[0]).tolist()
    assert found[1].tolist() != found[0].tolist()
