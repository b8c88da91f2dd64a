"""Fits a retrieval model: epochs, validation between them, checkpoints.

On one device or many: see `workers`. Only the chief prints, validates, keeps
checkpoints and writes TensorBoard's files.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf

from models.config import RetrievalConfig
from models.lazy_adam import LazyAdamW
from pipeline.retrieval.task import Task
from pipeline.retrieval.team import Team
from pipeline.retrieval.watch import (
    CHOSEN_BY,
    Averages,
    Checkpoint,
    Goal,
    Watch,
)
from pipeline.run.pace import Pace
from pipeline.tables.schema import DataError

# Momentum of the averaged weights that are kept; validations without a better
# one before training stops; share of all steps with a rising learning rate.
AVERAGING = 0.998
PATIENCE = 3
_WARMUP = 0.05
_WEIGHT_DECAY = 0.01


def fit(
    task: Task,
    goal: Goal,
    team: Team,
    saved: Path | None,
    logs: Path,
    progress: Callable[[str], None],
) -> Watch:
    """Trains, and leaves the best weights in the model.

    Args:
        task: Made in the scope of the team's strategy.
        goal: What decides when to stop.
        saved: Checkpoint to go on from and to keep; None for none.
        progress: Receives a line an epoch.

    Raises:
        DataError: If the workers do not see the same checkpoint.
    """
    model, dataset, options = task.model, task.dataset, task.model.config
    with team.strategy.scope():
        watch = Watch(_averages(task), goal, PATIENCE, team)
        callbacks: list[tf.keras.callbacks.Callback] = [
            watch,
        ]
        done = begun = 0
        if saved is not None:
            model.seed = task.seed
            checkpoint = Checkpoint(saved, watch)
            done, begun = _restored(checkpoint, task.steps, team)
            callbacks.append(checkpoint)
        callbacks.append(_Mining(task.seed, done if begun else -1))
    if done or begun:
        inside = f", step {begun:,} of {task.steps:,}" if begun else ""
        progress(f"train-retrieval: going on after epoch {done}{inside}")
        # The batches that would have come next, and not the first again.
        taken = (done * task.steps + begun) * team.num_replicas
        dataset = dataset.skip(taken // team.workers.count)
    if team.is_chief:
        pace = functools.partial(
            Pace, progress, options.epochs, task.num_targets, done
        )
        tensorboard = tf.keras.callbacks.TensorBoard
        callbacks += [tensorboard(str(logs), write_graph=False), _Epochs(pace)]
    if done < options.epochs and not (done and watch.is_done):
        model.fit(
            team.distribute(dataset),
            initial_epoch=done,
            epochs=options.epochs,
            steps_per_epoch=task.steps,
            verbose=0,
            callbacks=callbacks,
        )
    watch.restore()
    return watch


def _averages(task: Task) -> Averages:
    """Compiles the model, and averages its weights from now on."""
    model, options = task.model, task.model.config
    trainer = optimizer(
        options,
        task.steps * options.epochs,
        model.tables if task.lazy_rows.value else (),
    )
    model.compile(optimizer=trainer)
    # Else its first step makes the variables, and is traced again without.
    model.optimizer.build(model.trainable_variables)
    lazy = trainer if isinstance(trainer, LazyAdamW) else None
    return Averages(model, AVERAGING, lazy)


class _Mining(tf.keras.callbacks.Callback):
    """Finds the hard negatives of each epoch but one that was begun."""

    def __init__(self, seed: int, begun: int) -> None:
        super().__init__()
        self._seed, self._begun = seed, begun

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        """Finds them."""
        if epoch != self._begun:
            self.model.mine([self._seed, epoch])


class _Epochs(tf.keras.callbacks.Callback):
    """Says after every epoch what it brought and how long the rest takes."""

    def __init__(self, start: Callable[[], Pace]) -> None:
        super().__init__()
        self._start = start

    def on_train_begin(self, logs: object = None) -> None:
        """Starts the clock."""
        self._pace = self._start()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Writes the line."""
        shown = [f"loss {logs['loss']:.3f}"]
        if (found := logs.get(f"validation_{CHOSEN_BY}")) is not None:
            shown.append(f"{CHOSEN_BY} {found:.4f} on validation")
        self._pace(epoch + 1, *shown)


def _restored(
    checkpoint: Checkpoint, steps: int, team: Team
) -> tuple[int, int]:
    """Epochs that are done, and steps of the one after them."""
    checkpoint.restore()
    done = checkpoint.epochs * steps + checkpoint.steps
    if team.agree(done) != done:
        raise DataError(
            "All workers must read the same checkpoint. Received: "
            f"{done} steps at worker {team.workers.index}, another number at "
            f"the chief (from {checkpoint.path}). Put the artifacts directory "
            "on storage that all workers share."
        )
    return checkpoint.epochs, checkpoint.steps


def optimizer(
    options: RetrievalConfig, steps: int, tables: Sequence[tf.Variable] = ()
) -> tf.keras.optimizers.Optimizer:
    """AdamW with a linear rise and a cosine fall to a tenth.

    Args:
        steps: Of the whole training.
        tables: Whose rows are updated alone.
    """
    warmup = max(1, round(steps * _WARMUP))
    rate = tf.keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, steps - warmup),
        alpha=0.1,
        warmup_target=options.learning_rate,
        warmup_steps=warmup,
    )
    given = {
        "learning_rate": rate,
        "weight_decay": _WEIGHT_DECAY,
        "beta_2": 0.98,
        "global_clipnorm": 5.0,
    }
    optimizer = (
        LazyAdamW(tables, steps, **given)
        if tables
        else tf.keras.optimizers.AdamW(**given)
    )
    optimizer.exclude_from_weight_decay(
        var_names=["bias", "gamma", "beta", "start", "log_rates"]
    )
    return optimizer
