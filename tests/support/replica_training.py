"""Trains a tiny model alone, on two devices or as one of two workers.

Run as a script, because TensorFlow takes devices and workers at its start:

    python -m tests.support.replica_training alone|devices|HOST:PORT,... OUT [I]

The two halves of every batch go to the two copies; alone, a step has both.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np  # noqa: E402, I001
import tensorflow as tf  # noqa: E402

from models import retrieval  # noqa: E402  selects Keras 2
from models.config import RetrievalConfig  # noqa: E402
from models.towers import CandidateInputs  # noqa: E402
from pipeline.retrieval import fit, task, team as teams
from pipeline.run import workers  # noqa: E402

NUM_ITEMS, LENGTH, STEPS = 30, 5, 3
# All is drawn alike on one device and on two.
retrieval.NUM_UNIFORM = 0
fit.AVERAGING = 0.5


def half(rng, histories, targets):
    """A batch of some histories with uneven targets and weights."""
    history = rng.integers(2, NUM_ITEMS + 2, (histories, LENGTH))
    return {
        "history": history.astype(np.int32),
        "user_index": np.ones(histories, np.int32),
        "user_features": {},
        "row": rng.integers(0, histories, targets).astype(np.int32),
        "state": rng.integers(0, LENGTH + 1, targets).astype(np.int32),
        "target": rng.integers(2, NUM_ITEMS + 2, targets).astype(np.int32),
        "moment": np.zeros(targets, np.int32),
        "weight": rng.random(targets).astype(np.float32),
        "context": {},
    }


def both(first, second):
    """Two halves as one batch."""
    found = {
        name: np.concatenate([first[name], second[name]])
        for name in first
        if name not in ("user_features", "context")
    }
    found["row"][len(first["row"]) :] += len(first["history"])
    return found | {"user_features": {}, "context": {}}


def dataset(batches):
    """The batches, again and again."""
    specs = tf.nest.map_structure(
        lambda value: tf.TensorSpec([None, *value.shape[1:]], value.dtype),
        batches[0],
    )
    return tf.data.Dataset.from_generator(
        lambda: iter(batches), output_signature=specs
    ).repeat()


def halves():
    """Batches for two copies in turn."""
    rng = np.random.default_rng(0)
    return [
        half(rng, *sizes) for _ in range(STEPS) for sizes in ((6, 20), (9, 33))
    ]


def together():
    """The same batches for one copy."""
    found = halves()
    return [both(*pair) for pair in zip(found[::2], found[1::2], strict=True)]


def train(team, batches, directory, name):
    """Trains and writes losses and weights."""
    options = RetrievalConfig(
        encoder="bow",
        num_heads=2,
        embedding_dim=8,
        history_length=LENGTH,
        dropout=0.0,
        id_dropout=0.0,
        loss="in_batch",
        epochs=2,
        learning_rate=0.01,
    )
    tf.keras.utils.set_random_seed(3)
    counts = np.concatenate([[0, 0], np.arange(NUM_ITEMS) + 1.0])
    with team.strategy.scope():
        model = retrieval.build(
            options, CandidateInputs({}, (), NUM_ITEMS + 2, counts), (), (), 2
        )
    told = {"replicas": team.num_replicas}
    if team.num_replicas == 1:
        # What two copies would have that did not hear of each other.
        told["joint"], told["apart"] = (
            float(np.mean([model.compute_loss(batch) for batch in found]))
            for found in (together(), halves())
        )
    watch = fit.fit(
        task.Task(model, dataset(batches), STEPS, seed=3),
        options.epochs,
        team,
        None,
        directory,
        print,
    )
    weights = [weight.numpy() for weight in model.trainable_weights]
    np.savez(directory / f"weights-{name}.npz", *weights)
    told["curve"] = watch.curve
    (directory / f"curve-{name}.json").write_text(json.dumps(told))


def main(kind, out, index="0"):
    """Trains alone; or alone and on two devices; or as one of two workers."""
    directory = Path(out)
    if ":" in kind:
        team = teams.Team(workers.find(kind, int(index)))
        train(team, halves()[int(index) :: 2], directory, index)
        return
    if kind == "devices":
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2
        )
    team = teams.Team(workers.Workers())
    train(team, together(), directory, "alone")
    if kind == "devices":
        team.strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        train(team, halves(), directory, "both")


if __name__ == "__main__":
    main(*sys.argv[1:])
