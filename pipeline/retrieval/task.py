"""A retrieval model with what trains it: counted, built, fed.

Shape letters: E events, N + 2 item indices, T moments, H half-lives.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from models import retrieval
from models.config import FIRST_ITEM
from models.layers import ids
from models.retrieval import RetrievalModel
from models.towers import CandidateInputs
from pipeline.retrieval import batches, feed, targets
from pipeline.retrieval import popularity as trends
from pipeline.retrieval.batches import Part
from pipeline.retrieval.targets import Which
from pipeline.retrieval.team import Team
from pipeline.run import auto, seeds, weights
from pipeline.run.auto import Choice
from pipeline.run.config import Config
from pipeline.tables import past
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import DataError
from pipeline.tables.sequences import Sequences, keep
from pipeline.warm import carried, start
from pipeline.warm.seen import Seen


class Aim(NamedTuple):
    """Which model is to be trained.

    Attributes:
        which: Of the two.
        known: What the weights that it starts from have learned; the rest
            counts for more. None where it starts from nothing.
    """

    which: Which
    known: Seen | None = None


@dataclass(frozen=True)
class Task:
    """A model that is ready to be trained, with what trains it.

    Attributes:
        model: With fresh weights.
        dataset: This worker's batches, without end.
        steps: Of an epoch.
        seed: Of whatever training draws.
        num_targets: Of an epoch.
        facts: What `build` needs beside the tables, by argument.
        lazy_rows: Whether steps update only the rows of ids that they read.
        seen: How far into the log it learns.
    """

    model: RetrievalModel
    dataset: tf.data.Dataset
    steps: int
    seed: int
    num_targets: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    lazy_rows: Choice[bool] = Choice("", False)
    seen: Seen | None = None

    def save(self, directory: Path) -> None:
        """Writes the weights and what their model is built from."""
        directory.mkdir(parents=True, exist_ok=True)
        weights.save(self.model, directory / "weights.npz")
        np.savez(
            directory / "targets.npz",
            **self.facts,
            encoder=self.model.config.encoder,
        )
        if self.seen is not None:
            self.seen.write(directory / carried.SEEN)


def make(
    config: Config,
    prepared: Prepared,
    source: feed.Feed,
    aim: Aim,
    team: Team,
    progress: Callable[[str], None],
) -> Task:
    """Counts what a model trains on and makes the model.

    Raises:
        DataError: If there is nothing to learn from.
    """
    options, split, which = config.retrieval, prepared.split, aim.which
    seed = seeds.of(config, f"train-retrieval/{which}")
    tf.keras.utils.set_random_seed(seed)
    rule = targets.rule(
        options, split, which, seeds.of(config, "ranking_holdout"), source
    )
    num_rows = len(prepared.items.ids)
    counts, num_targets = targets.count(source, rule, num_rows)
    now, tables, popular = np.zeros([num_rows, 0]), None, None
    if split == "temporal":
        popular = targets.recent(source, rule, num_rows)
        now, tables = popular.now, popular.tables
    for line in ids.describe(
        options, _num_known(counts), prepared.users.num_known
    ):
        progress(f"  {which}: {line}")
    with team.strategy.scope():
        model = build(config, prepared, counts, now, tables)
    reach = targets.reach(split, source)
    # A step has so many targets over all copies of the model.
    positions = auto.batch_positions(options, num_targets).value
    positions = max(1, positions // team.num_replicas)
    has = None if aim.known is None else aim.known.among(prepared)
    chosen = functools.partial(_part, split, rule, popular, reach, has)
    cut = batches.Cut(options.history_length, positions, seed)
    read = source.parts(chosen)
    steps = cut.steps(read) // team.num_replicas
    if not steps:
        raise DataError(
            "The train part must have interactions to learn from. Received: "
            f"none for the {which} model (from {prepared.directory}). Lower "
            "retrieval.ranking_holdout or prepare a longer log."
        )
    if team.workers.count > 1:
        read = source.parts(chosen, team.share)
    facts = {"counts": counts, "popularity": now}
    dataset = cut.training(read, prepared)
    sizes = [table.shape[0] for table in model.tables]
    lazy = auto.lazy_rows(model.config.loss, sizes, team.num_replicas)
    seen = Seen.of(prepared, targets.blocks(source, rule))
    return Task(model, dataset, steps, seed, num_targets, facts, lazy, seen)


def build(
    config: Config,
    prepared: Prepared,
    counts: np.ndarray,
    popularity: np.ndarray,
    tables: np.ndarray | None = None,
) -> RetrievalModel:
    """A model whose vocabulary ends at the last item it trains on.

    Args:
        counts: Weight of each item among the targets `[N + 2]`.
        popularity: How popular each item is now `[N + 2, H]`.
        tables: The same at moments of the log `[T, N + 2, H]`, to train.
    """
    items = prepared.items
    return retrieval.build(
        replace(config.retrieval, loss=loss(config, counts).value),
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


def loss(config: Config, counts: np.ndarray) -> Choice:
    """Of a model with these training targets by item index."""
    num_items = len(counts) - FIRST_ITEM
    return auto.loss(config.retrieval, num_items, float(counts.sum()))


def _num_known(counts: np.ndarray) -> int:
    """First index without an id embedding of its own."""
    known = np.flatnonzero(counts)
    return int(known[-1]) + 1 if len(known) else FIRST_ITEM


def _part(
    split: str,
    rule: targets.Rule,
    popular: trends.Trends | None,
    reach: targets.Reach,
    has: Callable[[int, Sequences], np.ndarray] | None,
    chunk: feed.Chunk,
) -> Part:
    """What of a chunk is trained on."""
    sequences, weights = chunk.sequences, rule.weights(chunk)
    if has is not None:
        known = has(chunk.first_row, sequences)
        weights = np.where(known, weights, weights * start.NEW)
    if split == "random":
        # Later parts lie between train events there: they leave altogether.
        sequences, weights = keep(sequences, weights > 0), weights[weights > 0]
    moments, bounds = np.zeros(len(weights), np.int32), None
    if popular is not None:
        bounds = popular.bounds
        moments = trends.moments(bounds, sequences.timestamps)
    return Part(
        sequences,
        np.arange(len(sequences.user_ids)) + chunk.first_row,
        past.stops(sequences, split),
        weights,
        moments,
        reach.events,
        reach.seconds,
        bounds,
        # A random split asks for any other item, not for the next one.
        is_unordered=split == "random",
    )
