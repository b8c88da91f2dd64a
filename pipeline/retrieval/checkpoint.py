"""What a killed training needs to go on: one file a model, replaced by rename.

Holds the weights, the optimizer's state, the averaged weights and what the
epochs so far have shown. Written by the chief after every epoch; read by all
workers when they start.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.retrieval.watch import Averages, Watch
from serving.releases import files


class Checkpoint(tf.keras.callbacks.Callback):
    """Saves after each epoch; comes after `Watch` among the callbacks."""

    def __init__(self, path: Path, averages: Averages, watch: Watch) -> None:
        super().__init__()
        self.path = path
        self.averages = averages
        self.watch = watch

    def on_epoch_end(
        self, epoch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Writes the state after an epoch."""
        told = self.watch.state() | {"epochs": epoch + 1}
        with files.staged(self.path) as staged, staged.open("wb") as file:
            arrays: dict[str, Any] = {
                "told": np.frombuffer(json.dumps(told).encode(), np.uint8),
                **_named("state", [v.numpy() for v in self._variables()]),
                **_named("best", self.watch.best_weights),
            }
            np.savez(file, **arrays)

    def restore(self) -> int:
        """Takes up the last epoch's state; the epochs done, 0 without any.

        Call when the model is compiled, inside its strategy's scope.
        """
        if not self.path.exists():
            return 0
        with np.load(self.path) as saved:
            told = json.loads(saved["told"].tobytes())
            for number, variable in enumerate(self._variables()):
                variable.assign(saved[f"state_{number}"])
            best = [name for name in saved.files if name.startswith("best_")]
            self.watch.resume(
                told, [saved[f"best_{number}"] for number in range(len(best))]
            )
        return int(told["epochs"])

    def _variables(self) -> list[tf.Variable]:
        model = self.averages.trained
        model.optimizer.build(model.trainable_variables)
        return [
            *model.trainable_weights,
            *model.optimizer.variables,
            *self.averages.variables,
        ]


def _named(name: str, values: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{name}_{number}": value for number, value in enumerate(values)}
