"""What happens between the epochs of a training: average, validate, stop."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from models.retrieval import RetrievalModel
from pipeline import validation


class Averages:
    """Exponential moving average of the trained weights.

    Averaged weights rank better than the last ones and cost one pass over
    the weights a step.

    Args:
        trained: Built model, not yet compiled.
        momentum: Share kept a step, less in the first steps; 0 averages
            nothing.
    """

    def __init__(self, trained: RetrievalModel, momentum: float) -> None:
        self.trained = trained
        self.momentum = momentum
        self._steps = tf.Variable(0.0, trainable=False)
        self._means = [
            tf.Variable(weight, trainable=False)
            for weight in trained.trainable_weights
        ]
        if momentum:
            trained.after_step = self._move

    def _move(self) -> None:
        """Moves the averages after a step, as a part of it."""
        self._steps.assign_add(1.0)
        early = (1.0 + self._steps) / (10.0 + self._steps)
        rate = 1.0 - tf.minimum(self.momentum, early)
        for mean, weight in zip(
            self._means, self.trained.trainable_weights, strict=True
        ):
            mean.assign_add(rate * (weight - mean))

    def take(self) -> None:
        """Makes the averages the model's weights."""
        if self.momentum:
            for mean, weight in zip(
                self._means, self.trained.trainable_weights, strict=True
            ):
                weight.assign(mean)

    @contextmanager
    def used(self) -> Iterator[None]:
        """The model with averaged weights; training goes on without."""
        last = self.trained.get_weights()
        self.take()
        try:
            yield
        finally:
            self.trained.set_weights(last)


class Watch(tf.keras.callbacks.Callback):
    """Validates after each epoch, keeps the best weights, stops in time.

    Args:
        averages: Weights that are validated and kept.
        questions: What to ask; None trains a fixed number of epochs.
        patience: Epochs without a better NDCG@10 before stopping.
        stop_epoch: Epochs to train where nothing is asked, 0 for all.
    """

    def __init__(
        self,
        averages: Averages,
        questions: validation.Questions | None,
        patience: int,
        stop_epoch: int,
    ) -> None:
        super().__init__()
        self.averages = averages
        self.questions = questions if questions and questions.count else None
        self.patience = patience
        self.stop_epoch = stop_epoch
        self.best_epoch = 0
        self.curve: list[dict[str, float]] = []
        self._best = -1.0
        self._weights: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Validates and decides; adds the figures to Keras' line."""
        logs = {} if logs is None else logs
        loss = round(float(logs.get("loss", 0.0)), 5)
        if self.questions is None:
            self.best_epoch = epoch + 1
            self.curve.append({"loss": loss})
            if self.stop_epoch and epoch + 1 >= self.stop_epoch:
                self.model.stop_training = True
            return
        trained = self.averages.trained
        with self.averages.used():
            figures = validation.measure(trained, self.questions)
            if figures["ndcg@10"] > self._best:
                self._best = figures["ndcg@10"]
                self.best_epoch = epoch + 1
                self._weights = trained.get_weights()
        for name, value in figures.items():
            logs[f"validation_{name}"] = value
        self.curve.append({"loss": loss, **figures})
        if epoch + 1 - self.best_epoch >= self.patience:
            self.model.stop_training = True

    def restore(self) -> None:
        """Puts the best weights in place, or the last averages."""
        if self._weights:
            self.averages.trained.set_weights(self._weights)
        else:
            self.averages.take()
