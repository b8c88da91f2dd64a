"""Trains the retrieval model twice: once to choose, once to ship.

`base` learns the train part without a held-out share and is validated after
every epoch; the ranking model learns from its lists at the held-out events.
`final` learns train, and validation where `refit` says so, for the epochs
that served `base` best. The test part is touched by neither.

On disk: `base/weights.h5`, `final/weights.h5`, `metrics.json` with the curve,
and TensorBoard `logs/`.
"""

import json
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from models import retrieval
from models.config import RetrievalConfig
from models.features import FIRST_ITEM
from models.retrieval import RetrievalModel
from models.towers import CandidateInputs
from pipeline import batches, progress, trends, validation
from pipeline.config import Config
from pipeline.prepare import Prepared
from pipeline.schema import TRAIN, VALIDATION, DataError
from pipeline.sequences import Sequences

Which = Literal["base", "final"]

_STEPS_PER_EPOCH = 200


def run(config: Config, prepared: Prepared, directory: Path) -> None:
    """Trains both models and writes them with their metrics."""
    sequences = prepared.sequences()
    questions = validation.make(
        sequences,
        prepared,
        config.retrieval.history_length,
        config.retrieval.validation_users,
        np.random.default_rng(seed(config, "validation")),
    )
    options = config.retrieval
    base = _train(config, prepared, sequences, "base", directory, questions, 0)
    epochs = base["best_epoch"] if questions.count else options.epochs
    final = _train(
        config, prepared, sequences, "final", directory, None, epochs
    )
    metrics = {"base": base, "final": final}
    (directory / "metrics.json").write_text(json.dumps(metrics, indent=2))


def load(
    config: Config, prepared: Prepared, directory: Path, which: Which = "final"
) -> RetrievalModel:
    """Builds the model and loads what `run` wrote."""
    sequences = prepared.sequences()
    weights = target_weights(config, prepared, sequences, which)
    model, _ = _build(config, prepared, sequences, weights)
    model.load_weights(str(Path(directory) / which / "weights.h5"))
    return model


def seed(config: Config, step: str) -> int:
    """The seed of a step: of the config's seed and the step's name."""
    return zlib.crc32(f"{config.seed}/{step}".encode())


def holdout(
    config: Config, prepared: Prepared, sequences: Sequences | None = None
) -> np.ndarray:
    """Train events that `base` never had as targets, bool `[E]`.

    The last share of each user's train events for leave_last_out, the last
    share by time for temporal, a random share for random.
    """
    sequences = sequences or prepared.sequences()
    share = config.retrieval.ranking_holdout
    train = sequences.parts == TRAIN
    if share == 0 or not train.any():
        return np.zeros(len(train), bool)
    if prepared.split == "temporal":
        cut = np.quantile(sequences.timestamps[train], 1 - share)
        return train & (sequences.timestamps >= cut)
    if prepared.split == "random":
        rng = np.random.default_rng(seed(config, "ranking_holdout"))
        return train & (rng.random(len(train)) < share)
    ends = batches.part_stops(sequences, VALIDATION)
    counts = ends - sequences.offsets[:-1]
    held = np.where(counts >= 3, np.ceil(counts * share), 0)
    last = (ends - held)[batches.users_of(sequences)]
    return train & (np.arange(len(train)) >= last)


def target_weights(
    config: Config, prepared: Prepared, sequences: Sequences, which: Which
) -> np.ndarray:
    """How much each event counts as a training target, float32 `[E]`."""
    used = sequences.parts == TRAIN
    if which == "base":
        used &= ~holdout(config, prepared, sequences)
    elif config.retrieval.refit:
        used |= sequences.parts == VALIDATION
    used &= sequences.item_indices >= FIRST_ITEM
    weights = used.astype(np.float32)
    if sequences.weights is not None:
        weights *= np.maximum(sequences.weights, 0)
    half_life = config.retrieval.recency_half_life
    if half_life and prepared.split == "temporal" and used.any():
        times = sequences.timestamps
        span = max(1, times[used].max() - times[used].min())
        age = (times[used].max() - times) / span
        weights *= np.exp2(-np.maximum(age, 0) / half_life).astype(np.float32)
    return weights


def batch_positions(options: RetrievalConfig, num_targets: int) -> int:
    """Targets in a step; resolves 0.

    On ML-100K 512 gave NDCG@10 .126 where 2048 gave .121 in as much time: on
    small data the number of steps counts, on large data the time of each.
    """
    if options.batch_positions:
        return options.batch_positions
    wanted = np.log2(max(num_targets, 1) / _STEPS_PER_EPOCH)
    return int(2 ** np.clip(np.round(wanted), 8, 12))


def horizon(
    options: RetrievalConfig, prepared: Prepared, sequences: Sequences
) -> int:
    """How far ahead states learn to predict; resolves 0."""
    if options.horizon:
        return options.horizon
    later = sequences.parts == VALIDATION
    if prepared.split != "temporal" or not later.any():
        return 1
    users = np.unique(batches.users_of(sequences)[later])
    return max(1, round(int(later.sum()) / len(users)))


def _build(
    config: Config,
    prepared: Prepared,
    sequences: Sequences,
    weights: np.ndarray,
) -> tuple[RetrievalModel, np.ndarray]:
    """A model whose vocabulary ends at the last item it trains on.

    Returns:
        The model, and which popularity table each event may read, int32 `[E]`.
    """
    items = prepared.items
    counts = np.bincount(
        sequences.item_indices, weights, minlength=len(items.ids)
    )
    counts[:FIRST_ITEM] = 0
    known = np.flatnonzero(counts)
    popular = None
    if prepared.split == "temporal" and config.retrieval.recent_popularity:
        popular = trends.make(
            sequences.item_indices,
            sequences.timestamps,
            weights,
            len(items.ids),
        )
    model = retrieval.build(
        config.retrieval,
        CandidateInputs(
            items.features,
            items.specs,
            int(known[-1]) + 1 if len(known) else FIRST_ITEM,
            counts,
            None if popular is None else popular.now,
        ),
        prepared.users.specs,
        prepared.context_specs,
        prepared.users.num_known,
        None if popular is None else popular.tables,
    )
    if popular is None:
        return model, np.zeros(len(weights), np.int32)
    return model, popular.moments


def _train(
    config: Config,
    prepared: Prepared,
    sequences: Sequences,
    which: Which,
    directory: Path,
    questions: validation.Questions | None,
    stop_epoch: int,
) -> dict[str, Any]:
    """Trains one model, writes its weights and returns its metrics."""
    options = config.retrieval
    step_seed = seed(config, f"train-retrieval/{which}")
    tf.keras.utils.set_random_seed(step_seed)
    weights = target_weights(config, prepared, sequences, which)
    model, moments = _build(config, prepared, sequences, weights)
    visible = sequences
    if prepared.split == "random":
        # Later parts lie between train events there: they leave altogether.
        visible = batches.keep(sequences, weights > 0)
        moments, weights = moments[weights > 0], weights[weights > 0]

    def read(rng: np.random.Generator) -> Iterable[batches.Part]:
        events = visible
        if prepared.split == "random":
            # A random split asks for any other item, not for the next one.
            users = batches.users_of(visible)
            order = np.lexsort([rng.random(len(users)), users])
            events = batches.reorder(visible, order)
        stops = batches.stops(events, prepared.split)
        yield batches.Part(events, 0, stops, weights, moments, reach)

    reach = horizon(options, prepared, sequences)
    positions = batch_positions(options, int((weights > 0).sum()))
    dataset = batches.training(
        read,
        prepared.users,
        prepared.context_specs,
        options.history_length,
        positions,
        step_seed,
    )
    rng = np.random.default_rng(step_seed)
    steps = batches.steps(read(rng), options.history_length, positions, rng)
    if not steps:
        raise DataError(
            "The train part must have interactions to learn from. Received: "
            f"none for the {which} model (from {prepared.directory}). Lower "
            "retrieval.ranking_holdout or prepare a longer log."
        )
    model.compile(optimizer=_optimizer(options, steps * options.epochs))
    averages = progress.Averages(model, options.averaging)
    watch = progress.Watch(averages, questions, options.patience, stop_epoch)
    started = time.monotonic()
    model.fit(
        dataset,
        epochs=options.epochs,
        steps_per_epoch=steps,
        verbose=2,
        callbacks=[
            watch,
            tf.keras.callbacks.TensorBoard(
                str(directory / "logs" / which), write_graph=False
            ),
        ],
    )
    watch.restore()
    target = directory / which
    target.mkdir(parents=True, exist_ok=True)
    model.save_weights(str(target / "weights.h5"))
    return {
        "best_epoch": watch.best_epoch,
        "curve": watch.curve,
        "targets": int((weights > 0).sum()),
        "seconds": round(time.monotonic() - started, 1),
    }


def _optimizer(
    options: RetrievalConfig, steps: int
) -> tf.keras.optimizers.Optimizer:
    """AdamW with a linear rise and a cosine fall to a tenth."""
    warmup = max(1, round(steps * options.warmup_share))
    rate = tf.keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, steps - warmup),
        alpha=0.1,
        warmup_target=options.learning_rate,
        warmup_steps=warmup,
    )
    optimizer = tf.keras.optimizers.AdamW(
        learning_rate=rate,
        weight_decay=options.weight_decay,
        beta_2=0.98,
        global_clipnorm=options.clip_norm,
    )
    optimizer.exclude_from_weight_decay(
        var_names=["bias", "gamma", "beta", "start", "log_rates"]
    )
    return optimizer
