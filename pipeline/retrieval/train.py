"""Trains the retrieval model twice: once to choose, once to ship.

`base` learns the train part without a held-out share and is validated after
every epoch; the ranking model learns from its lists at the held-out events.
Where the config leaves the encoder open, `base` is trained with each that may
be best. `final` learns train, and validation where `refit` says so, with the
encoder and for the epochs that served `base` best. The test part is touched
by neither.

On disk: `base/` and `final/` with `weights.npz` and `targets.npz` (what builds
the model they belong to), `metrics.json` with the curves, and TensorBoard
`logs/`.
"""

import contextlib
import functools
import json
import logging
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from models import ids, retrieval
from models.config import Encoder
from models.features import FIRST_ITEM
from models.retrieval import RetrievalModel
from models.towers import CandidateInputs
from pipeline.retrieval import batches, feed, fit, targets, validation
from pipeline.retrieval import popularity as trends
from pipeline.retrieval.examples import Part
from pipeline.retrieval.targets import Which
from pipeline.retrieval.team import Team
from pipeline.retrieval.watch import CHOSEN_BY, Watch
from pipeline.run import auto, weights
from pipeline.run.config import Config
from pipeline.run.workers import Workers
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import TRAIN, DataError
from pipeline.tables.sequences import Sequences, keep

logger = logging.getLogger(__name__)


def run(
    config: Config,
    prepared: Prepared,
    directory: Path,
    workers: Workers | None = None,
    checkpoints: Path | None = None,
    progress: Callable[[str], None] = logger.info,
    only_base: bool = False,
) -> None:
    """Trains both models and writes them with their metrics.

    Args:
        config: The `retrieval` section decides.
        prepared: The prepared tables.
        directory: Where to write; left empty by workers behind the chief.
        workers: The processes that train together; None for this one alone.
        checkpoints: Folder from which a killed training goes on, None for
            none. Used by several workers and where the log is streamed.
        progress: Receives lines to show.
        only_base: Whether to leave `final` out, where nothing will ship.

    Raises:
        DataError: If there is nothing to learn from, or a worker was lost.
    """
    # Before anything else of TensorFlow, as several workers need.
    team = Team(workers or Workers())
    options = config.retrieval
    # One size for both models: an epoch of one is then worth one of the other.
    targeted = prepared.items.counts[TRAIN].sum() * (
        1 - options.ranking_holdout
    )
    options = replace(
        options, batch_positions=auto.batch_positions(options, targeted)
    )
    config = replace(config, retrieval=options)
    source = feed.open_feed(prepared, options)
    if team.workers.count == 1 and not feed.is_streamed(prepared, options):
        checkpoints = None
    questions = validation.draw(
        source,
        prepared,
        options.history_length,
        options.validation_users,
        np.random.default_rng(seed(config, "validation")),
    )

    metrics: dict[str, Any] = {}

    def train(
        which: Which,
        encoder: Encoder,
        name: str,
        asked: validation.Questions | None = None,
        stop_epoch: int = 0,
    ) -> tuple[Task, Watch]:
        settings = replace(options, encoder=encoder)
        started = time.monotonic()
        with _explained(team):
            made = task(
                replace(config, retrieval=settings),
                prepared,
                source,
                which,
                team,
                progress,
            )
            watch = fit.fit(
                made.model,
                made.dataset,
                made.steps,
                settings,
                asked,
                stop_epoch,
                team,
                checkpoints / f"{name}.npz" if checkpoints else None,
                directory / "logs" / name,
                progress,
                seed(config, f"train-retrieval/{which}"),
            )
        metrics[name] = {
            "encoder": encoder,
            "best_epoch": watch.best_epoch,
            "curve": watch.curve,
            "targets": made.num_targets,
            "seconds": round(time.monotonic() - started, 1),
        }
        return made, watch

    tried = auto.encoders(options, targeted if questions.count else np.inf)
    best = -1.0
    for encoder in tried:
        name = "base" if len(tried) == 1 else f"base-{encoder}"
        made, watch = train("base", encoder, name, questions)
        if questions.count:
            progress(f"  {name}: validation {CHOSEN_BY} {watch.best:.4f}")
        if watch.best > best or encoder == tried[0]:
            best, metrics["base"] = watch.best, metrics[name]
            if team.is_chief:
                made.save(directory / "base")
    if not only_base:
        base = metrics["base"]
        epochs = base["best_epoch"] if questions.count else options.epochs
        made, _ = train("final", base["encoder"], "final", stop_epoch=epochs)
        if team.is_chief:
            made.save(directory / "final")
    if team.is_chief:
        text = json.dumps(metrics, indent=2)
        (directory / "metrics.json").write_text(text)


@contextlib.contextmanager
def _explained(team: Team) -> Iterator[None]:
    """Says what to do where a worker is lost."""
    try:
        yield
    except tf.errors.OpError as error:
        if team.workers.count == 1:
            raise
        raise DataError(
            "All workers must stay until training ends. Received: "
            f"{str(error).splitlines()[0]} (at worker {team.workers.index} of "
            f"{team.workers.count}). Start all workers again: training goes "
            "on from the last checkpoint."
        ) from error


def load(
    config: Config, prepared: Prepared, directory: Path, which: Which = "final"
) -> RetrievalModel:
    """Builds the model and loads what `run` wrote."""
    source = Path(directory) / which
    with np.load(source / "targets.npz") as saved:
        options = replace(config.retrieval, encoder=saved["encoder"].item())
        model = _build(
            replace(config, retrieval=options),
            prepared,
            saved["counts"],
            saved["popularity"],
        )
    weights.load(model, source / "weights.npz")
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
    return retrieval.build(
        config.retrieval,
        CandidateInputs(
            items.features,
            items.specs,
            _num_known(counts),
            counts,
            popularity if popularity.shape[1] else None,
        ),
        prepared.users.specs,
        prepared.context_specs,
        prepared.users.num_known,
        tables,
    )


def _num_known(counts: np.ndarray) -> int:
    """First index without an id embedding of its own."""
    known = np.flatnonzero(counts)
    return int(known[-1]) + 1 if len(known) else FIRST_ITEM


@dataclass(frozen=True)
class Task:
    """A model that is ready to be trained, with what trains it.

    Attributes:
        model: With fresh weights.
        dataset: This worker's batches, without end.
        steps: Of an epoch.
        num_targets: Of an epoch.
        counts: Weight of each item among the targets `[N + 2]`.
        popularity: How popular each item is now `[N + 2, H]`.
    """

    model: RetrievalModel
    dataset: tf.data.Dataset
    steps: int
    num_targets: int
    counts: np.ndarray
    popularity: np.ndarray

    def save(self, directory: Path) -> None:
        """Writes the weights and what `load` builds their model from."""
        directory.mkdir(parents=True, exist_ok=True)
        weights.save(self.model, directory / "weights.npz")
        np.savez(
            directory / "targets.npz",
            counts=self.counts,
            popularity=self.popularity,
            encoder=self.model.config.encoder,
        )


def task(
    config: Config,
    prepared: Prepared,
    source: feed.Feed,
    which: Which,
    team: Team,
    progress: Callable[[str], None],
) -> Task:
    """Counts what a model trains on and makes the model.

    Raises:
        DataError: If there is nothing to learn from.
    """
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
    known_users = prepared.users.num_known
    for line in ids.describe(options, _num_known(counts), known_users):
        progress(f"  {which}: {line}")
    with team.strategy.scope():
        model = _build(config, prepared, counts, now, tables)
    reach = targets.reach(options, prepared.split, source)
    positions = options.batch_positions
    # A step has so many targets over all copies of the model.
    positions = max(1, positions // team.num_replicas)
    make = functools.partial(_part, prepared.split, rule, popular, reach)
    read = source.parts(make)
    dataset = batches.training(
        read if team.workers.count == 1 else source.parts(make, team.share),
        prepared.users,
        prepared.context_specs,
        options.history_length,
        positions,
        step_seed,
    )
    steps = batches.steps(read, options.history_length, positions, step_seed)
    steps //= team.num_replicas
    if not steps:
        raise DataError(
            "The train part must have interactions to learn from. Received: "
            f"none for the {which} model (from {prepared.directory}). Lower "
            "retrieval.ranking_holdout or prepare a longer log."
        )
    return Task(model, dataset, steps, num_targets, counts, now)


def _part(
    split: str,
    rule: targets.Rule,
    popular: trends.Trends | None,
    reach: targets.Reach,
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
        reach.events,
        reach.seconds,
        None if popular is None else popular.bounds,
        # A random split asks for any other item, not for the next one.
        is_unordered=split == "random",
    )
