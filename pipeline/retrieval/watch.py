"""What happens between the epochs of a training: validate, stop, keep.

A checkpoint, one file a model, is what a killed training needs to go on: the
weights, the optimizer's state, the averaged weights, the place in the epoch
and what the epochs so far have shown. The chief writes it after every epoch
and every ten minutes within one; all workers read it when they start.
"""

import functools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from models import lazy_adam
from models.lazy_adam import LazyAdamW
from models.retrieval import RetrievalModel
from pipeline.retrieval.team import Team
from serving.releases import files

# Retrieval hands on hundreds, and where few users are asked NDCG@10 is mostly
# chance: on a temporal split of ML-100K it chose untrained models.
CHOSEN_BY = "ndcg@100"
# After which a training that is killed inside an epoch has lost at most this.
EVERY_SECONDS = 600.0
# What measures the model after every epoch, or how many epochs to train.
Goal = Callable[[RetrievalModel], dict[str, float]] | int


class Averages:
    """Exponential moving average of the trained weights.

    Averaged weights rank better than the last ones and cost one pass over
    the weights a step. The rows of tables that are updated alone cost
    nothing while a step does not read them: when one is caught up, its average
    is moved as if the row had stood for all of the steps where it stands now.

    Args:
        momentum: Share kept a step, less in the first steps.
        optimizer: What trains, where it updates rows alone; None where it
            updates everything.

    Attributes:
        variables: What a checkpoint keeps.
    """

    def __init__(
        self,
        trained: RetrievalModel,
        momentum: float,
        optimizer: LazyAdamW | None = None,
    ) -> None:
        self.trained = trained
        self.momentum = momentum
        # Every copy of a distributed training has all gradients and keeps
        # its own averages, which are the same.
        own: dict[str, Any] = {
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
        }
        self._steps = tf.Variable(0.0, **own)
        self._means = [
            tf.Variable(weight, **own) for weight in trained.trainable_weights
        ]
        self.variables = [self._steps, *self._means]
        trained.after_step = self._move
        self._optimizer = optimizer
        # Of rows that are averaged alone: when they last were.
        self._last: dict[object, tf.Variable] = {}
        if optimizer is not None:
            steps = np.arange(1, optimizer.steps + 1)
            kept = np.minimum(momentum, (1 + steps) / (10 + steps))
            self._kept = tf.constant(np.append(0.0, np.cumsum(np.log(kept))))
            self._last = {
                table.ref(): tf.Variable(tf.zeros(table.shape[0], tf.int32))
                for table in optimizer.tables
            }
            self.variables += self._last.values()
            trained.before_read = functools.partial(self._catch_up, optimizer)

    def _move(self) -> None:
        """Moves the averages after a step, as a part of it."""
        self._steps.assign_add(1.0)
        early = (1.0 + self._steps) / (10.0 + self._steps)
        rate = 1.0 - tf.minimum(self.momentum, early)
        for mean, weight in self._pairs():
            if weight.ref() not in self._last:
                mean.assign_add(rate * (weight - mean))

    def _catch_up(
        self, optimizer: LazyAdamW, table: tf.Variable, rows: tf.Tensor
    ) -> None:
        """Brings rows and their averages to the step that training is at."""
        optimizer.catch_up(table, rows)
        (mean,) = (mean for mean, weight in self._pairs() if weight is table)
        now = tf.cast(optimizer.iterations, tf.int32)
        last = tf.gather(self._last[table.ref()], rows)
        kept = tf.gather(self._kept, now) - tf.gather(self._kept, last)
        kept = tf.cast(tf.exp(kept), table.dtype)
        if table.shape.rank == 2:
            kept = kept[:, tf.newaxis]
        weights = tf.gather(table, rows)
        moved = weights + kept * (tf.gather(mean, rows) - weights)
        mean.scatter_update(tf.IndexedSlices(moved, rows))
        steps = tf.fill(tf.shape(rows), now)
        self._last[table.ref()].scatter_update(tf.IndexedSlices(steps, rows))

    def _pairs(self) -> Iterator[tuple[tf.Variable, tf.Variable]]:
        return zip(self._means, self.trained.trainable_weights, strict=True)

    def settle(self) -> None:
        """Catches up what was left alone, to be read by others."""
        if self._optimizer is not None:
            for table in self._optimizer.tables:
                for rows in lazy_adam.blocks(table):
                    self._catch_up(self._optimizer, table, rows)

    def take(self) -> None:
        """Makes the averages the model's weights."""
        self.settle()
        assign(self.trained, self._means)

    @contextmanager
    def used(self) -> Iterator[None]:
        """The model with averaged weights; training goes on without."""
        self.settle()
        last = values(self.trained)
        self.take()
        try:
            yield
        finally:
            assign(self.trained, last)


def values(model: RetrievalModel) -> list[np.ndarray]:
    """What training changes; metrics and tables stay out.

    Reading a metric of a distributed training is a meeting of all workers.
    """
    return [weight.numpy() for weight in model.trainable_weights]


def assign(model: RetrievalModel, found: list[np.ndarray]) -> None:
    """Puts back what `values` gave."""
    for weight, value in zip(model.trainable_weights, found, strict=True):
        weight.assign(value)


class Watch(tf.keras.callbacks.Callback):
    """Validates after each epoch, keeps the best weights, stops in time.

    Args:
        patience: Epochs without a better figure before stopping.
        team: Who trains together; the chief validates for all.
    """

    def __init__(
        self,
        averages: Averages,
        goal: Goal,
        patience: int,
        team: Team,
    ) -> None:
        super().__init__()
        self.team = team
        self.averages = averages
        self.goal = goal
        self.patience = patience
        self.best_epoch = 0
        self.curve: list[dict[str, float]] = []
        self.best = -1.0
        self.best_weights: list[np.ndarray] = []

    def on_epoch_end(
        self, epoch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Validates and decides; adds the figures to Keras' line."""
        logs = {} if logs is None else logs
        loss = round(float(logs.get("loss", 0.0)), 5)
        if isinstance(self.goal, int):
            self.best_epoch = epoch + 1
            self.curve.append({"loss": loss})
        else:
            figures = self._validate(self.goal, epoch + 1)
            for name, value in figures.items():
                logs[f"validation_{name}"] = value
            self.curve.append({"loss": loss, **figures})
        if self.is_done:
            self.model.stop_training = True

    def _validate(
        self,
        measure: Callable[[RetrievalModel], dict[str, float]],
        epochs: int,
    ) -> dict[str, float]:
        trained = self.averages.trained
        figures: dict[str, float] = {}
        if self.team.is_chief:
            with self.averages.used():
                figures = measure(trained)
                if figures[CHOSEN_BY] > self.best:
                    self.best_weights = values(trained)
        found = self.team.agree(figures.get(CHOSEN_BY, 0.0))
        if found > self.best:
            self.best, self.best_epoch = found, epochs
        return figures

    @property
    def is_done(self) -> bool:
        """Whether the epochs so far are enough."""
        epochs = len(self.curve)
        if isinstance(self.goal, int):
            return epochs >= self.goal
        return epochs - self.best_epoch >= self.patience

    def restore(self) -> None:
        """Puts the best weights in place, or the last averages."""
        if self.best_weights:
            assign(self.averages.trained, self.best_weights)
        else:
            self.averages.take()


class Checkpoint(tf.keras.callbacks.Callback):
    """Saves after each epoch and now and then within one.

    Comes after `Watch` among the callbacks.

    Attributes:
        epochs: That are done.
        steps: That are done of the epoch after those.
    """

    _TOLD = ("best_epoch", "curve", "best")

    def __init__(self, path: Path, watch: Watch) -> None:
        super().__init__()
        self.path = path
        self.watch = watch
        self.epochs = self.steps = 0
        self._loss: list[float] = []
        self._saved_at = time.monotonic()
        # It reads no logs; else Keras waits for the figures of every step.
        self._supports_tf_logs = True

    def set_model(self, model: RetrievalModel) -> None:
        """Has Keras begin inside an epoch, as its `BackupAndRestore` does."""
        super().set_model(model)
        model._training_state = self

    def maybe_load_initial_counters_from_ckpt(
        self, *_asked: object, **_mode: object
    ) -> tuple[int, int]:
        """Where to begin; Keras asks."""
        return self.epochs, self.steps

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Goes on with the mean loss of an epoch that was begun."""
        self.epochs = epoch
        if self._loss:
            for variable, value in zip(self._sums(), self._loss, strict=True):
                variable.assign(value)
            self._loss = []

    def on_train_batch_end(
        self, batch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Writes the state where the last one is old.

        Not after the last batch: no step would be left to go on with.
        """
        is_old = time.monotonic() - self._saved_at >= EVERY_SECONDS
        if is_old and batch + 1 < self.params["steps"]:
            self._save(self.epochs, batch + 1)

    def on_epoch_end(
        self, epoch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Writes the state after an epoch."""
        self._save(epoch + 1, 0)

    def _save(self, epochs: int, steps: int) -> None:
        """Replaces the file as a whole."""
        if not self.watch.team.is_chief:
            return
        told = {name: getattr(self.watch, name) for name in self._TOLD}
        state = [variable.numpy() for variable in self._variables()]
        with files.staged(self.path) as staged, staged.open("wb") as file:
            arrays: dict[str, Any] = {
                f"{name}_{number}": value
                for name, values in (
                    ("state", state),
                    ("best", self.watch.best_weights),
                )
                for number, value in enumerate(values)
            }
            loss = [float(v.numpy()) for v in self._sums()] if steps else []
            place = {"epochs": epochs, "steps": steps, "loss": loss}
            text = json.dumps(told | place)
            np.savez(
                file, told=np.frombuffer(text.encode(), np.uint8), **arrays
            )
        self._saved_at = time.monotonic()

    def restore(self) -> None:
        """Takes up the last state, if there is one.

        Call when the model is compiled, inside its strategy's scope.
        """
        if not self.path.exists():
            return
        with np.load(self.path) as saved:
            told = json.loads(saved["told"].tobytes())
            for number, variable in enumerate(self._variables()):
                variable.assign(saved[f"state_{number}"])
            best = [name for name in saved.files if name.startswith("best_")]
            self.watch.best_weights = [saved[name] for name in best]
        for name in self._TOLD:
            setattr(self.watch, name, told[name])
        self.epochs, self.steps = told["epochs"], told["steps"]
        self._loss = told["loss"]

    def _sums(self) -> list[tf.Variable]:
        """Behind the mean loss; reading them is a meeting of all workers."""
        if self.watch.team.workers.count > 1:
            return []
        mean = self.watch.averages.trained.loss_mean
        return [mean.total, mean.count]

    def _variables(self) -> list[tf.Variable]:
        model = self.watch.averages.trained
        model.optimizer.build(model.trainable_variables)
        return [
            *model.trainable_weights,
            *model.optimizer.variables,
            *self.watch.averages.variables,
            *model.mined,
        ]
