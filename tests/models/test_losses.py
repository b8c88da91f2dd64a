import numpy as np
import pytest
import tensorflow as tf

from models import losses


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    top = logits.max(-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))


def test_full_softmax_is_the_cross_entropy_of_the_catalogue():
    # exp(0, ln 2, ln 5) = 1, 2, 5: the target has 2 of 8.
    logits = tf.constant([[0.0, np.log(2), np.log(5)]], tf.float32)
    loss = losses.full_softmax(logits, tf.constant([1]))
    np.testing.assert_allclose(loss, [np.log(4)], rtol=1e-6)


def test_sampled_softmax_without_correction():
    # Target 1 against 2, 3 and 4: -log(1 / 10).
    loss = losses.sampled_softmax(
        tf.constant([0.0]),
        tf.constant([[np.log(2), np.log(3), np.log(4)]], tf.float32),
        tf.constant([5]),
        tf.constant([2, 3, 4]),
        tf.ones([1]),
        tf.ones([3]),
    )
    np.testing.assert_allclose(loss, [np.log(10)], rtol=1e-6)


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
    full = losses.full_softmax(tf.constant(scores[None]), tf.constant([target]))
    np.testing.assert_allclose(sampled, full, rtol=0.02)


def test_listwise_softmax_ignores_masked_candidates():
    logits = tf.constant([[0.0, np.log(3), 50.0], [1.0, 2.0, 3.0]], tf.float32)
    labels = tf.constant([[1.0, 0.0, 5.0], [0.0, 0.0, 0.0]])
    mask = tf.constant([[True, True, False], [True, True, True]])
    loss = losses.listwise_softmax(logits, labels, mask)
    np.testing.assert_allclose(loss, [np.log(4), 0.0], rtol=1e-5, atol=1e-6)


def test_listwise_softmax_shares_the_target_between_labels():
    logits = np.array([[0.3, -1.0, 2.0]])
    label = np.array([0.75, 0.0, 0.25])
    loss = losses.listwise_softmax(
        tf.constant(logits, tf.float32),
        tf.constant([[3.0, 0.0, 1.0]]),
        tf.ones([1, 3], tf.bool),
    )
    expected = -(label * log_softmax(logits)).sum(-1)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_distillation_is_the_divergence_from_the_teacher(temperature):
    student = np.array([[0.0, 1.0, 2.0]])
    teacher = np.array([[2.0, 0.5, 0.0]])
    t = log_softmax(teacher / temperature)
    s = log_softmax(student / temperature)
    expected = (np.exp(t) * (t - s)).sum(-1) * temperature**2
    loss = losses.distillation(
        tf.constant(student, tf.float32),
        tf.constant(teacher, tf.float32),
        temperature,
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_distillation_does_not_train_the_teacher():
    teacher = tf.Variable([[1.0, 2.0]])
    with tf.GradientTape() as tape:
        loss = losses.distillation(tf.constant([[2.0, 1.0]]), teacher)
    assert tape.gradient(loss, teacher) is None
