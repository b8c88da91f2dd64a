import numpy as np
import pytest
import tensorflow as tf

from models import losses


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    top = logits.max(-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))


def test_logq_divides_by_the_chance_of_being_drawn():
    # Weights exp(s) / q: 2 / .5 = 4 for the target, 6 / .25 = 24 and
    # 3 / .25 = 12 for the negatives: -log(4 / 40).
    loss = losses.sampled_softmax(
        tf.constant([np.log(2)], tf.float32),
        tf.constant([[np.log(6), np.log(3)]], tf.float32),
        tf.constant([2]),
        tf.constant([3, 4]),
        tf.constant([0.5]),
        tf.constant([0.25, 0.25]),
    )
    np.testing.assert_allclose(loss, [np.log(10)], rtol=1e-6)


def test_logq_tells_probabilities_below_one_in_a_million_apart():
    # A clip at 1e-6 would make the two negatives weigh the same.
    def loss(chance):
        return losses.sampled_softmax(
            tf.constant([0.0]),
            tf.constant([[0.0]]),
            tf.constant([2]),
            tf.constant([3]),
            tf.constant([1e-7]),
            tf.constant([chance]),
        ).numpy()[0]

    # 1 / 1e-7 against 1 / 1e-9: one in 101.
    assert loss(1e-9) == pytest.approx(np.log(101), rel=1e-5)
    assert loss(1e-8) == pytest.approx(np.log(11), rel=1e-5)


def test_accidental_hits_do_not_count():
    arguments = (
        tf.constant([1.0, 1.0]),
        tf.constant([[1.0, 0.0, 1.0], [1.0, 0.0, 1.0]]),
        tf.constant([7, 8]),
        tf.constant([7, 8, 7]),
        tf.ones([2]),
        tf.ones([3]),
    )
    e = np.e
    masked = losses.sampled_softmax(*arguments)
    np.testing.assert_allclose(
        masked, [np.log((e + 1) / e), np.log(3 * e / e)], rtol=1e-5
    )


def test_mixture_counts_both_ways_to_be_drawn():
    # 30 slots of targets where the item has a tenth, 10 uniform over 5.
    chance = losses.mixture_probabilities(tf.constant([0.1, 0.0]), 30, 10, 5)
    np.testing.assert_allclose(
        chance, [(30 * 0.1 + 10 / 5) / 40, (10 / 5) / 40], rtol=1e-6
    )


def test_sampled_softmax_estimates_the_full_one():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=50).astype(np.float32)
    chance = rng.dirichlet(np.ones(50)).astype(np.float32)
    target = 3
    # The sample stands for the others; the target is not among its own
    # negatives, so it is drawn from the other items only.
    others = chance.copy()
    others[target] = 0
    others /= others.sum()
    drawn = rng.choice(
        50, 20000, p=others.astype(float) / others.sum(dtype=float)
    )
    # With q of one draw, K draws count K times: log K is added back.
    sampled = losses.sampled_softmax(
        tf.constant([scores[target]]),
        tf.constant(scores[drawn][None]) - np.log(len(drawn)),
        tf.constant([target]),
        tf.constant(drawn, tf.int32),
        tf.ones([1]),
        tf.constant(others[drawn]),
    )
    full = np.log(np.exp(scores).sum()) - scores[target]
    np.testing.assert_allclose(sampled, full, rtol=0.02)
