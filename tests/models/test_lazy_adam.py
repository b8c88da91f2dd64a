"""AdamW that updates only the rows of a step, against dense AdamW."""

import numpy as np
import pytest
import tensorflow as tf

from models.lazy_adam import LazyAdamW

ROWS, WIDTH, STEPS = 12, 3, 40
BETA_1, BETA_2, DECAY = 0.9, 0.98, 0.05


def schedule():
    return tf.keras.optimizers.schedules.CosineDecay(
        0.0, STEPS - 4, alpha=0.1, warmup_target=0.02, warmup_steps=4
    )


def oracle(start, read, slopes, is_decayed=True):
    """Dense AdamW in float64; gradients are 0 where a step reads nothing."""
    weights, m, v = start.astype(float), 0.0, 0.0
    rate_of = schedule()
    for step, (rows, values) in enumerate(zip(read, slopes, strict=True)):
        gradient = np.zeros_like(weights)
        np.add.at(gradient, rows, values)
        rate = float(rate_of(step))
        if is_decayed:
            weights = weights * (1 - DECAY * rate)
        m = BETA_1 * m + (1 - BETA_1) * gradient
        v = BETA_2 * v + (1 - BETA_2) * gradient**2
        high = m / (1 - BETA_1 ** (step + 1))
        wide = np.sqrt(v / (1 - BETA_2 ** (step + 1)))
        weights = weights - rate * np.divide(
            high, wide, out=np.zeros_like(high), where=wide > 0
        )
    return weights


def trained(start, read, slopes, name="table"):
    """What the lazy optimizer makes of it, rows caught up before a step."""
    table = tf.Variable(start, name=name)
    optimizer = LazyAdamW(
        [table],
        STEPS,
        schedule(),
        weight_decay=DECAY,
        beta_1=BETA_1,
        beta_2=BETA_2,
        epsilon=1e-12,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build([table])

    @tf.function
    def step(rows, values):
        optimizer.catch_up(table, rows)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.gather(table, rows) * values)
        gradient = tape.gradient(loss, table)
        assert isinstance(gradient, tf.IndexedSlices)
        optimizer.apply_gradients([(gradient, table)])

    for rows, values in zip(read, slopes, strict=True):
        step(tf.constant(rows), tf.constant(values))
    return optimizer, table


def draws(size, seed=0):
    rng = np.random.default_rng(seed)
    start = rng.normal(size=(ROWS, WIDTH)).astype(np.float32)
    read = [
        rng.choice(ROWS, size, replace=False).astype(np.int32)
        for _ in range(STEPS)
    ]
    slopes = [
        rng.normal(size=(size, WIDTH)).astype(np.float32) for _ in range(STEPS)
    ]
    return start, read, slopes


@pytest.mark.parametrize("size", [ROWS, 5, 1])
def test_it_ends_where_dense_adam_ends(size):
    start, read, slopes = draws(size)
    optimizer, table = trained(start, read, slopes)
    expected = oracle(start, read, slopes)
    left = np.abs(table.numpy() - expected).max()
    # Only where some rows were left alone is there something to catch up.
    assert (left < 1e-5) == (size == ROWS)
    optimizer.settle()
    np.testing.assert_allclose(table.numpy(), expected, atol=2e-5)
    optimizer.settle()
    np.testing.assert_allclose(table.numpy(), expected, atol=2e-5)


def test_a_table_of_numbers_without_decay():
    start, read, slopes = draws(3, seed=1)
    start, slopes = start[:, 0], [values[:, 0] for values in slopes]
    optimizer, table = trained(start, read, slopes, name="bias")
    optimizer.settle()
    np.testing.assert_allclose(
        table.numpy(), oracle(start, read, slopes, False), atol=2e-5
    )


def test_repeated_rows_are_one_row():
    start, read, slopes = draws(4, seed=2)
    twice = [np.concatenate([rows, rows[:2]]) for rows in read]
    values = [np.concatenate([v, v[2:]]) for v in slopes]
    optimizer, table = trained(start, twice, values)
    optimizer.settle()
    np.testing.assert_allclose(
        table.numpy(), oracle(start, twice, values), atol=2e-5
    )


def test_rows_that_are_not_read_stay_untouched():
    start, _, slopes = draws(2)
    read = [np.array([3, 4], np.int32)] * STEPS
    _, table = trained(start, read, slopes)
    others = np.setdiff1d(np.arange(ROWS), [3, 4])
    np.testing.assert_array_equal(table.numpy()[others], start[others])


def test_a_dense_gradient_is_refused():
    table = tf.Variable(tf.ones([ROWS, WIDTH]))
    optimizer = LazyAdamW([table], STEPS, schedule(), weight_decay=DECAY)
    optimizer.build([table])
    with pytest.raises(TypeError, match=r"tf\.gather"):
        optimizer.apply_gradients([(tf.ones([ROWS, WIDTH]), table)])
