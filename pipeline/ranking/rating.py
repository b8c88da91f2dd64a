"""Trains the rating head on the ratings of the train part.

Squared error with L2 on everything a prediction uses, stopped by the error on
the validation part; with `retrieval.refit` the head that ships is trained
once more on train and validation for as many epochs. A rating is predicted
from the user's other items: its own item is taken out of the history.

On disk: `rating.npz` and `rating.json` (sizes and range, to rebuild it).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from models.features import FIRST_ITEM
from models.rating import RatingHead
from pipeline.retrieval import batches
from pipeline.retrieval import train as train_retrieval
from pipeline.run import weights
from pipeline.run.config import Config
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import TRAIN, VALIDATION
from pipeline.tables.sequences import Sequences, keep

_WEIGHTS = "rating.npz"
_SHAPE = "rating.json"
_BATCH = 2048
_EPOCHS = 40
_PATIENCE = 2
_LEARNING_RATE = 0.004
# L2 of factors and of biases, against a squared error a rating.
_L2 = (0.12, 0.02)


def run(config: Config, prepared: Prepared, directory: Path) -> dict[str, Any]:
    """Trains and writes the head.

    Returns:
        Validation error by epoch and the epochs trained.
    """
    sequences = prepared.sequences()
    ratings = sequences.ratings
    if ratings is None:
        return {}
    rated = np.isfinite(ratings)
    train = rated & (sequences.parts == TRAIN)
    if not train.any():
        return {}
    held = rated & (sequences.parts == VALIDATION)
    head, curve = _fit(config, prepared, sequences, train, held, _EPOCHS)
    epochs = 1 + int(np.argmin(curve)) if curve else _EPOCHS
    if config.retrieval.refit and held.any():
        head, _ = _fit(
            config,
            prepared,
            sequences,
            train | held,
            np.zeros_like(held),
            epochs,
        )
    weights.save(head, directory / _WEIGHTS)
    (directory / _SHAPE).write_text(json.dumps(head.shape()))
    return {"epochs": epochs, "validation_rmse": curve}


def load(
    config: Config, prepared: Prepared, directory: Path
) -> RatingHead | None:
    """The trained head, None where there is none."""
    if not (directory / _SHAPE).exists():
        return None
    head = RatingHead(**json.loads((directory / _SHAPE).read_text()))
    blank = tf.zeros([1, 1], tf.int32)
    head(blank, tf.ones([1], tf.int32), blank)
    weights.load(head, directory / _WEIGHTS)
    return head


def _fit(
    config: Config,
    prepared: Prepared,
    sequences: Sequences,
    used: np.ndarray,
    held: np.ndarray,
    epochs: int,
) -> tuple[RatingHead, list[float]]:
    """Trains on `used`, stops by the error on `held` where there is any."""
    seed = train_retrieval.seed(config, "train-rating")
    tf.keras.utils.set_random_seed(seed)
    ratings = sequences.ratings
    if ratings is None:
        return RatingHead(2, 2, 0.0, 0.0, 0.0), []
    rows = batches.users_of(sequences)
    users = rows[used]
    items = sequences.item_indices[used]
    # A request finds the users of the train part; validation's others are
    # rated by users as unknown as they.
    found = int(users.max(initial=0)) + batches.FIRST_USER + 1
    head = RatingHead(
        min(found, prepared.users.num_known),
        int(items.max(initial=1)) + 1,
        float(ratings[used].mean()),
        float(ratings[used].min()),
        float(ratings[used].max()),
    )
    known = keep(sequences, used)
    histories = batches.histories(
        known,
        np.arange(len(known.offsets) - 1),
        known.offsets[1:],
        config.retrieval.history_length,
    )
    optimizer = tf.keras.optimizers.Adam(_LEARNING_RATE)

    @tf.function(reduce_retracing=True)
    def step(history, user, item, rating):  # type: ignore
        with tf.GradientTape() as tape:
            loss = head.loss(history, user, item, rating, *_L2)
        variables = head.trainable_variables
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    def inputs(events: np.ndarray) -> tuple:
        return tuple(
            map(
                tf.constant,
                (
                    histories[rows[events]],
                    (rows[events] + batches.FIRST_USER).astype(np.int32),
                    sequences.item_indices[events],
                    ratings[events],
                ),
            )
        )

    raters = np.unique(users) + batches.FIRST_USER
    raters = raters[raters < head.num_users]
    rated = np.unique(items[items >= FIRST_ITEM])
    random = np.random.default_rng(seed)
    events, asked = np.flatnonzero(used), np.flatnonzero(held)
    curve: list[float] = []
    weights = head.get_weights()
    for epoch in range(epochs):
        order = random.permutation(events)
        for block in np.array_split(order, max(1, len(order) // _BATCH)):
            step(*inputs(block))
        head.complete(raters, rated)
        if not len(asked):
            continue
        errors = []
        for block in np.array_split(asked, max(1, len(asked) // _BATCH)):
            history, user, item, rating = inputs(block)
            found = head(history, user, item[:, tf.newaxis])[:, 0]
            errors.append((found - rating).numpy())
        curve.append(
            round(float(np.sqrt(np.mean(np.concatenate(errors) ** 2))), 5)
        )
        if curve[-1] == min(curve):
            weights = head.get_weights()
        if epoch - int(np.argmin(curve)) >= _PATIENCE:
            break
    if curve:
        head.set_weights(weights)
    return head, curve
