"""Trains the rating head on the ratings of the train part.

Squared error with L2 on everything a prediction uses, stopped by the error on
the validation part; with `retrieval.refit` the head that ships is trained
once more on train and validation for as many epochs. A rating is predicted
from the user's other items: its own item is taken out of the history.

On disk: `rating.npz` and `rating.json` (sizes and range, to rebuild it).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from models.config import FIRST_ITEM
from models.lazy_adam import LazyAdamW
from models.rating import RatingHead
from pipeline.run import auto, seeds, weights
from pipeline.run.config import Config
from pipeline.tables import past
from pipeline.tables.prepared import Prepared
from pipeline.tables.ragged import Ragged
from pipeline.tables.schema import TRAIN, VALIDATION
from pipeline.tables.sequences import Sequences, keep

# What a step writes into its `metrics.json`.
Report = dict[str, Any]
_WEIGHTS = "rating.npz"
_SHAPE = "rating.json"
_BATCH = 2048
_EPOCHS = 40
_PATIENCE = 2
_LEARNING_RATE = 0.004
# L2 of factors and of biases, against a squared error a rating.
_L2 = (0.12, 0.02)


def run(config: Config, prepared: Prepared, directory: Path) -> Report:
    """Trains and writes the head; validation error by epoch."""
    sequences = prepared.sequences()
    ratings = sequences.ratings
    if ratings is None:
        return {}
    rated = np.isfinite(ratings)
    train = rated & (sequences.parts == TRAIN)
    if not train.any():
        return {}
    held = rated & (sequences.parts == VALIDATION)
    head, curve = fit(config, prepared, ratings, train, held, _EPOCHS)
    epochs = 1 + int(np.argmin(curve)) if curve else _EPOCHS
    if config.retrieval.refit and held.any():
        none = np.zeros_like(held)
        head, _ = fit(config, prepared, ratings, train | held, none, epochs)
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
    weights.load(head, directory / _WEIGHTS)
    return head


def fit(
    config: Config,
    prepared: Prepared,
    ratings: np.ndarray,
    used: np.ndarray,
    held: np.ndarray,
    epochs: int,
) -> tuple[RatingHead, list[float]]:
    """Trains on events `used` `[E]`, stops by the error on `held` if any are.

    Returns:
        The head, and the error on `held` after every epoch.
    """
    seed = seeds.of(config, "train-rating")
    tf.keras.utils.set_random_seed(seed)
    sequences = prepared.sequences()
    users = past.users_of(sequences)[used] + FIRST_ITEM
    items = sequences.item_indices[used]
    head = RatingHead(
        # A request finds the users of the train part; validation's others are
        # rated by users as unknown as they.
        min(int(users.max()) + 1, prepared.users.num_known),
        int(items.max()) + 1,
        float(ratings[used].mean()),
        float(ratings[used].min()),
        float(ratings[used].max()),
    )
    raters = np.unique(users)
    raters = raters[raters < head.num_users]
    rated = np.unique(items[items >= FIRST_ITEM])
    inputs = _inputs(config, sequences, ratings, used)
    random = np.random.default_rng(seed)
    events, asked = np.flatnonzero(used), np.flatnonzero(held)
    optimizer = _optimizer(head, epochs * len(_blocks(events)))
    step = _step(head, optimizer)
    curve: list[float] = []
    best = head.get_weights()
    for epoch in range(epochs):
        for block in _blocks(random.permutation(events)):
            step(*inputs(block))
        if isinstance(optimizer, LazyAdamW):
            optimizer.settle()
        head.complete(raters, rated)
        if not len(asked):
            continue
        errors = []
        for block in _blocks(asked):
            history, user, item, rating = inputs(block)
            found = head(history, user, item[:, tf.newaxis])[:, 0]
            errors.append((found - rating).numpy())
        error = np.sqrt(np.mean(np.concatenate(errors) ** 2))
        curve.append(round(float(error), 5))
        if curve[-1] == min(curve):
            best = head.get_weights()
        if epoch - int(np.argmin(curve)) >= _PATIENCE:
            break
    if curve:
        head.set_weights(best)
    return head, curve


def _inputs(
    config: Config, sequences: Sequences, ratings: np.ndarray, used: np.ndarray
) -> Callable[[np.ndarray], tuple[tf.Tensor, ...]]:
    """Gives histories, users, items and ratings of events."""
    rows, known = past.users_of(sequences), keep(sequences, used)
    histories = Ragged(known.offsets, known.item_indices).last(
        config.retrieval.history_length
    )
    return lambda events: tf.nest.map_structure(
        tf.constant,
        (
            histories[rows[events]],
            (rows[events] + FIRST_ITEM).astype(np.int32),
            sequences.item_indices[events],
            ratings[events],
        ),
    )


def _optimizer(head: RatingHead, steps: int) -> tf.keras.optimizers.Optimizer:
    """Adam, which leaves alone the rows of large tables that none reads."""
    tables = head.trainable_variables
    if max(table.shape[0] for table in tables) <= auto.DENSE_UP_TO:
        return tf.keras.optimizers.Adam(_LEARNING_RATE)
    constant = tf.keras.optimizers.schedules.PolynomialDecay(
        _LEARNING_RATE, steps, _LEARNING_RATE
    )
    return LazyAdamW(tables, steps, constant, weight_decay=0.0)


def _step(
    head: RatingHead, optimizer: tf.keras.optimizers.Optimizer
) -> Callable[..., None]:
    # Else the first step makes its variables, and is traced again without.
    optimizer.build(head.trainable_variables)

    @tf.function(autograph=False, reduce_retracing=True)
    def step(history, user, item, rating):  # type: ignore
        if isinstance(optimizer, LazyAdamW):
            for read in head.reads(history, user, item):
                optimizer.catch_up(*read)
        with tf.GradientTape() as tape:
            loss = head.loss(history, user, item, rating, *_L2)
        optimizer.minimize(loss, head.trainable_variables, tape)

    return step


def _blocks(events: np.ndarray) -> list[np.ndarray]:
    return np.array_split(events, max(1, len(events) // _BATCH))
