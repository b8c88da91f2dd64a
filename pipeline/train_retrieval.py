"""Trains the retrieval model twice: once to choose, once to ship.

`base` learns the train part without a held-out share and is validated after
every epoch; the ranking model learns from its lists at the held-out events.
`final` learns train, and validation where `refit` says so, for the epochs
that served `base` best. The test part is touched by neither.

On disk: `base/` and `final/` with `weights.h5` and `targets.npz` (what builds
the model they belong to), `metrics.json` with the curve, and TensorBoard
`logs/`.
"""

import functools
import json
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from models import retrieval
from models.config import RetrievalConfig
from models.features import FIRST_ITEM
from models.retrieval import RetrievalModel
from models.towers import CandidateInputs
from pipeline import batches, feed, progress, targets, trends, validation
from pipeline.config import Config
from pipeline.parts import Part
from pipeline.prepare import Prepared
from pipeline.schema import DataError
from pipeline.sequences import Sequences, keep
from pipeline.targets import Which

_STEPS_PER_EPOCH = 200


def run(config: Config, prepared: Prepared, directory: Path) -> None:
    """Trains both models and writes them with their metrics."""
    options = config.retrieval
    source = feed.open_feed(prepared, options)
    questions = validation.draw(
        source,
        prepared,
        options.history_length,
        options.validation_users,
        np.random.default_rng(seed(config, "validation")),
    )
    base = _train(config, prepared, source, "base", directory, questions, 0)
    epochs = base["best_epoch"] if questions.count else options.epochs
    final = _train(config, prepared, source, "final", directory, None, epochs)
    metrics = {"base": base, "final": final}
    (directory / "metrics.json").write_text(json.dumps(metrics, indent=2))


def load(
    config: Config, prepared: Prepared, directory: Path, which: Which = "final"
) -> RetrievalModel:
    """Builds the model and loads what `run` wrote."""
    source = Path(directory) / which
    with np.load(source / "targets.npz") as saved:
        model = _build(config, prepared, saved["counts"], saved["popularity"])
    model.load_weights(str(source / "weights.h5"))
    return model


def seed(config: Config, step: str) -> int:
    """The seed of a step: of the config's seed and the step's name."""
    return zlib.crc32(f"{config.seed}/{step}".encode())


def holdout(
    config: Config, prepared: Prepared, sequences: Sequences | None = None
) -> np.ndarray:
    """Train events that `base` never had as targets, bool `[E]`."""
    chunk = feed.Chunk(sequences or prepared.sequences())
    return _rule(config, prepared, chunk, "base").held_out(chunk)


def target_weights(
    config: Config, prepared: Prepared, sequences: Sequences, which: Which
) -> np.ndarray:
    """How much each event counts as a training target, float32 `[E]`."""
    chunk = feed.Chunk(sequences)
    return _rule(config, prepared, chunk, which).weights(chunk)


def _rule(
    config: Config, prepared: Prepared, chunk: feed.Chunk, which: Which
) -> targets.Rule:
    return targets.rule(
        config.retrieval,
        prepared.split,
        which,
        seed(config, "ranking_holdout"),
        feed.Memory(chunk.sequences),
    )


def batch_positions(options: RetrievalConfig, num_targets: int) -> int:
    """Targets in a step; resolves 0.

    On ML-100K 512 gave NDCG@10 .126 where 2048 gave .121 in as much time: on
    small data the number of steps counts, on large data the time of each.
    """
    if options.batch_positions:
        return options.batch_positions
    wanted = np.log2(max(num_targets, 1) / _STEPS_PER_EPOCH)
    return int(2 ** np.clip(np.round(wanted), 8, 12))


def _build(
    config: Config,
    prepared: Prepared,
    counts: np.ndarray,
    popularity: np.ndarray,
    tables: np.ndarray | None = None,
) -> RetrievalModel:
    """A model whose vocabulary ends at the last item it trains on.

    Args:
        config: Options.
        prepared: The tables.
        counts: Weight of each item among the targets `[N + 2]`.
        popularity: How popular each item is now `[N + 2, H]`.
        tables: The same at moments of the log `[T, N + 2, H]`, to train.
    """
    items = prepared.items
    known = np.flatnonzero(counts)
    return retrieval.build(
        config.retrieval,
        CandidateInputs(
            items.features,
            items.specs,
            int(known[-1]) + 1 if len(known) else FIRST_ITEM,
            counts,
            popularity if popularity.shape[1] else None,
        ),
        prepared.users.specs,
        prepared.context_specs,
        prepared.users.num_known,
        tables,
    )


def _train(
    config: Config,
    prepared: Prepared,
    source: feed.Feed,
    which: Which,
    directory: Path,
    questions: validation.Questions | None,
    stop_epoch: int,
) -> dict[str, Any]:
    """Trains one model, writes its weights and returns its metrics."""
    options = config.retrieval
    step_seed = seed(config, f"train-retrieval/{which}")
    tf.keras.utils.set_random_seed(step_seed)
    rule = targets.rule(
        options, prepared.split, which, seed(config, "ranking_holdout"), source
    )
    num_rows = len(prepared.items.ids)
    counts, num_targets = targets.count(source, rule, num_rows)
    popular = None
    if prepared.split == "temporal" and options.recent_popularity:
        popular = targets.recent(source, rule, num_rows)
    now = np.zeros([num_rows, 0]) if popular is None else popular.now
    tables = None if popular is None else popular.tables
    model = _build(config, prepared, counts, now, tables)
    reach = targets.horizon(options, prepared.split, source)
    positions = batch_positions(options, num_targets)
    read = source.parts(
        functools.partial(_part, prepared.split, rule, popular, reach)
    )
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
    np.savez(target / "targets.npz", counts=counts, popularity=now)
    return {
        "best_epoch": watch.best_epoch,
        "curve": watch.curve,
        "targets": num_targets,
        "seconds": round(time.monotonic() - started, 1),
    }


def _part(
    split: str,
    rule: targets.Rule,
    popular: trends.Trends | None,
    reach: int,
    chunk: feed.Chunk,
) -> Part:
    """What of a chunk is trained on."""
    sequences, weights = chunk.sequences, rule.weights(chunk)
    rows = np.arange(len(sequences.user_ids)) + chunk.first_row
    if split == "random":
        # Later parts lie between train events there: they leave altogether.
        sequences, weights = keep(sequences, weights > 0), weights[weights > 0]
    moments = (
        np.zeros(len(weights), np.int32)
        if popular is None
        else popular.moments(sequences.timestamps)
    )
    return Part(
        sequences,
        rows,
        batches.stops(sequences, split),
        weights,
        moments,
        reach,
        # A random split asks for any other item, not for the next one.
        is_unordered=split == "random",
    )


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
