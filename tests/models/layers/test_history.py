import numpy as np
import pytest
import tensorflow as tf

from models.config import ConfigError, RetrievalConfig
from models.layers import history

ENCODERS = ("bow", "cnn", "rnn", "attention")


def make(encoder, seed=0):
    tf.keras.utils.set_random_seed(seed)
    config = RetrievalConfig(
        encoder=encoder, embedding_dim=8, num_heads=2, history_length=12
    )
    layer = history.make(config)
    layer(*make_input(2, 5))
    # Trained weights are nowhere zero: neither are these.
    rng = np.random.default_rng(seed)
    layer.set_weights(
        [
            weight + rng.normal(0, 0.3, weight.shape).astype(np.float32)
            for weight in layer.get_weights()
        ]
    )
    return layer


def make_input(batch_size, length, padding=0, seed=1):
    rng = np.random.default_rng(seed)
    items = rng.normal(size=[batch_size, length, 8]).astype(np.float32)
    mask = np.broadcast_to(np.arange(length) >= padding, items.shape[:2])
    return tf.constant(items), tf.constant(mask)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_later_item_never_changes_an_earlier_state(encoder):
    layer = make(encoder)
    items, mask = make_input(3, 9)
    before = layer(items, mask).numpy()
    changed = items.numpy()
    changed[:, 6] += 5.0
    after = layer(tf.constant(changed), mask).numpy()
    np.testing.assert_allclose(after[:, :6], before[:, :6], atol=1e-6)
    assert np.abs(after[:, 6:] - before[:, 6:]).max(axis=(1, 2)).min() > 1e-3


@pytest.mark.parametrize("encoder", ENCODERS)
def test_padding_never_changes_a_state(encoder):
    layer = make(encoder)
    items, mask = make_input(2, 5)
    alone = layer(items, mask).numpy()
    # What lies under the padding must not matter either.
    padded, _ = make_input(2, 12, seed=3)
    padded = padded.numpy()
    padded[:, 7:] = items.numpy()
    _, mask = make_input(2, 12, padding=7)
    together = layer(tf.constant(padded), mask).numpy()
    np.testing.assert_allclose(together[:, 7:], alone, atol=1e-5)
    assert np.isfinite(together).all()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_batch_of_one_equals_batch_of_many(encoder):
    layer = make(encoder)
    items, mask = make_input(4, 6)
    many = layer(items, mask).numpy()
    for row in range(4):
        one = layer(items[row : row + 1], mask[row : row + 1]).numpy()
        np.testing.assert_allclose(one[0], many[row], atol=1e-5)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_answers_survive_saving(encoder, tmp_path):
    layer = make(encoder)
    module = tf.Module()
    module.layer = layer
    module.call = tf.function(
        lambda items, mask: layer(items, mask),
        input_signature=[
            tf.TensorSpec([None, None, 8], tf.float32),
            tf.TensorSpec([None, None], tf.bool),
        ],
    )
    tf.saved_model.save(module, str(tmp_path / "encoder"))
    loaded = tf.saved_model.load(str(tmp_path / "encoder"))
    items, mask = make_input(3, 7, padding=2)
    np.testing.assert_allclose(
        loaded.call(items, mask)[:, 2:],
        layer(items, mask)[:, 2:],
        atol=1e-5,
    )


@pytest.mark.parametrize("encoder", ENCODERS)
def test_dropout_acts_in_training_only(encoder):
    layer = make(encoder)
    items, mask = make_input(2, 6)
    still = layer(items, mask).numpy()
    np.testing.assert_array_equal(layer(items, mask).numpy(), still)
    assert np.abs(layer(items, mask, training=True) - still).max() > 1e-3


@pytest.mark.parametrize("encoder", ["cnn", "rnn", "attention"])
def test_order_of_the_history_matters(encoder):
    layer = make(encoder)
    items, mask = make_input(2, 6)
    forward = layer(items, mask).numpy()[:, -1]
    swapped = tf.gather(items, [1, 0, 2, 3, 4, 5], axis=1)
    assert np.abs(layer(swapped, mask).numpy()[:, -1] - forward).max() > 1e-3


def test_bow_weighs_recent_items_more():
    tf.keras.utils.set_random_seed(0)
    layer = history.make(
        RetrievalConfig(encoder="bow", embedding_dim=8, num_heads=2)
    )
    items, mask = make_input(1, 4)
    with tf.GradientTape() as tape:
        tape.watch(items)
        # The second half of the width belongs to the head that decays.
        state = layer(items, mask)[0, -1, 4:]
    slopes = tf.reduce_sum(tf.abs(tape.gradient(state, items)), [0, 2]).numpy()
    assert (np.diff(slopes) > 0).all()


def test_unknown_encoder_is_refused_with_the_permitted_names():
    config = RetrievalConfig()
    object.__setattr__(config, "encoder", "lstm")
    with pytest.raises(ConfigError, match="'bow', 'cnn', 'rnn', 'attention'"):
        history.make(config)
