from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from models import retrieval
from models.config import RetrievalConfig
from models.layers import draws
from models.lazy_adam import LazyAdamW
from models.towers import CandidateInputs
from pipeline.retrieval import fit, task
from pipeline.retrieval import watch as watching
from pipeline.retrieval.team import Team
from pipeline.retrieval.watch import Averages
from pipeline.run.auto import Choice
from pipeline.run.workers import Workers

BATCH = {
    "history": np.array([[0, 2, 3], [4, 5, 2]], np.int32),
    "user_index": np.array([1, 1], np.int32),
    "user_features": {},
    "row": np.array([0, 0, 1, 1], np.int32),
    "state": np.array([0, 3, 1, 2], np.int32),
    "target": np.array([2, 4, 5, 6], np.int32),
    "moment": np.zeros(4, np.int32),
    "weight": np.ones(4, np.float32),
    "context": {},
}


def batch(number):
    """A batch that no other is like."""
    targets = 2 + (tf.constant(BATCH["target"]) + tf.cast(number, tf.int32)) % 5
    return BATCH | {"target": targets, "weight": tf.cast(targets, tf.float32)}


def fitted(epochs, directory, saved=None, is_lazy=False, chance=0.0, stop=99):
    """Fits fixed batches, without chance unless given: no dropout.

    Batch number `stop` is one that nobody can read.
    """
    tf.keras.utils.set_random_seed(0)
    options = RetrievalConfig(
        encoder="bow",
        num_heads=1,
        embedding_dim=4,
        history_length=3,
        dropout=chance,
        id_dropout=chance,
        loss=("mined" if chance else "in_batch") if is_lazy else "full",
        epochs=4,
    )
    counts = np.array([0, 0, 3, 2, 1, 1, 1])
    model = retrieval.build(
        options, CandidateInputs({}, (), 7, counts), (), (), 2
    )
    said = []
    data = tf.data.Dataset.range(100)
    data = data.map(
        lambda n: batch(
            tf.debugging.check_numerics(
                tf.where(n == stop, np.nan, tf.cast(n, tf.float32)), "killed"
            )
        )
    )
    watch = fit.fit(
        task.Task(model, data, 4, 7, lazy_rows=Choice("", is_lazy)),
        epochs,
        Team(Workers()),
        saved,
        directory,
        said.append,
    )
    weights = [weight.numpy() for weight in model.trainable_weights]
    return watch, weights, said


@pytest.mark.parametrize("is_lazy", [False, True])
@pytest.mark.slow
def test_a_stopped_training_ends_as_one_that_was_not(
    tmp_path, is_lazy, monkeypatch
):
    monkeypatch.setattr(retrieval, "NUM_UNIFORM", 0)
    saved = tmp_path / "kept" / "base.npz"
    whole, expected, _ = fitted(4, tmp_path, None, is_lazy)
    # Stopped after two of four epochs; what it knew is in the file alone.
    fitted(2, tmp_path, saved, is_lazy)
    assert saved.exists()
    watch, weights, said = fitted(4, tmp_path, saved, is_lazy)
    begun, *epochs = said
    assert begun == "train-retrieval: going on after epoch 2"
    assert [line.split(":")[0] for line in epochs] == [
        "  epoch 3 of 4",
        "  epoch 4 of 4",
    ]
    assert watch.best_epoch == whole.best_epoch == 4
    losses = [row["loss"] for row in watch.curve]
    assert losses == pytest.approx([row["loss"] for row in whole.curve])
    for one, two in zip(weights, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
    # Once more there is nothing left to do.
    again, weights, said = fitted(4, tmp_path, saved, is_lazy)
    assert again.curve == watch.curve
    for one, two in zip(weights, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize(("is_lazy", "stop"), [(False, 3), (True, 10)])
@pytest.mark.slow
def test_one_killed_inside_an_epoch_ends_as_one_that_was_not(
    tmp_path, is_lazy, stop, monkeypatch
):
    monkeypatch.setattr(watching, "EVERY_SECONDS", 0.0)
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    whole, expected, _ = fitted(4, tmp_path, one, is_lazy, 0.3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="killed"):
        fitted(4, tmp_path, two, is_lazy, 0.3, stop)
    watch, weights, said = fitted(4, tmp_path, two, is_lazy, 0.3)
    place = f"going on after epoch {stop // 4}, step {stop % 4} of 4"
    assert said[0] == f"train-retrieval: {place}"
    assert watch.curve == whole.curve
    for found, wanted in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
def test_one_killed_after_the_last_step_of_an_epoch_goes_on(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(watching, "EVERY_SECONDS", 0.0)
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    whole, expected, _ = fitted(2, tmp_path, one, True, 0.3)

    def killed(*_given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(watching.Watch, "on_epoch_end", killed)
        fitted(2, tmp_path, two, True, 0.3)
    watch, weights, said = fitted(2, tmp_path, two, True, 0.3)
    assert said[0] == "train-retrieval: going on after epoch 0, step 3 of 4"
    assert watch.curve == whole.curve
    for found, wanted in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_what_steps_draw_is_not_one_thing(tmp_path, monkeypatch):
    """The negative control: the same start, other draws, other weights."""
    _, one, _ = fitted(1, tmp_path, tmp_path / "one.npz", True, 0.3)
    drawn = draws.zlib.crc32
    monkeypatch.setattr(draws.zlib, "crc32", lambda text: drawn(text) // 2)
    _, two, _ = fitted(1, tmp_path, tmp_path / "two.npz", True, 0.3)
    assert any(
        np.abs(a - b).max() > 1e-4 for a, b in zip(one, two, strict=True)
    )


def test_averages_of_rows_that_are_left_alone():
    steps, rows = 30, 8
    rng = np.random.default_rng(3)
    table = tf.Variable(rng.normal(size=(rows, 2)).astype(np.float32))
    start = table.numpy()
    model = SimpleNamespace(trainable_weights=[table])
    rate = tf.keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    optimizer = LazyAdamW([table], steps, rate, weight_decay=0.1)
    optimizer.build([table])
    averages = Averages(model, 0.7, optimizer)
    # The first half is read by every step, the others by one in four.
    expected, last, moments = start.astype(float), np.zeros(rows, int), []
    kept = np.minimum(0.7, (1 + np.arange(steps + 1)) / (10 + np.arange(31)))

    def settled(read, step):
        now = table.numpy()[read]
        share = [np.prod(kept[last[row] + 1 : step + 1]) for row in read]
        expected[read] = now + np.array(share)[:, None] * (expected[read] - now)
        last[read] = step

    for step in range(steps):
        read = np.r_[0:4, 4:rows] if step % 4 == 0 else np.arange(4)
        before = table.numpy().copy()
        model.before_read(table, tf.constant(read, tf.int32))
        settled(read, step)
        moments.append(np.abs(table.numpy() - before).max())
        slopes = tf.constant(rng.normal(size=(len(read), 2)), tf.float32)
        gradient = tf.IndexedSlices(slopes, tf.constant(read, tf.int32))
        optimizer.apply_gradients([(gradient, table)])
        model.after_step()
    # Rows that waited were moved when they were caught up, others never.
    assert max(moments[1:]) > 0 and moments[1] == 0
    averages.settle()
    settled(np.arange(rows), steps)
    with averages.used():
        np.testing.assert_allclose(table.numpy(), expected, atol=1e-5)
    trained = table.numpy()
    averages.take()
    assert np.abs(table.numpy() - trained).max() > 0.01


def test_averages_read_every_step_are_the_dense_ones():
    table = tf.Variable(np.ones((4, 2), np.float32))
    model = SimpleNamespace(trainable_weights=[table])
    rate = tf.keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    optimizer = LazyAdamW([table], 20, rate)
    optimizer.build([table])
    averages = Averages(model, 0.9, optimizer)
    mean, rng = np.ones((4, 2)), np.random.default_rng(0)
    for step in range(1, 21):
        model.before_read(table, tf.range(4))
        slopes = tf.constant(rng.normal(size=(4, 2)), tf.float32)
        optimizer.apply_gradients(
            [(tf.IndexedSlices(slopes, tf.range(4)), table)]
        )
        model.after_step()
        share = min(0.9, (1 + step) / (10 + step))
        mean = share * mean + (1 - share) * table.numpy()
    averages.take()
    np.testing.assert_allclose(table.numpy(), mean, atol=1e-6)
