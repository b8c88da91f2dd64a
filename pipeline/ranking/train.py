"""Trains the ranking model on lists the retrieval model cannot know.

The `base` retrieval model and item tables without the held-out train events
give the lists at exactly those events; training stops by NDCG@10 of whole
lists on the validation part. What ships carries the `final` retrieval model
and tables of everything before the test part: signals keep their meaning, so
the learned weights stay.

On disk: `scorer.npz`, `seen.parquet` (how far it has learned), `tables.npz`,
`retrieval/final/`, `rating.npz` where ratings exist, `metrics.json`.
"""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from models.config import FIRST_ITEM
from models.query import Query
from models.ranking import RankingModel, Scorer, Specs, listwise_loss
from models.retrieval import RetrievalModel
from models.signals import ItemTables, Signals
from pipeline.measure import metrics, requests, search
from pipeline.measure.requests import Requests
from pipeline.ranking import item_tables, lists
from pipeline.ranking import rating as train_rating
from pipeline.ranking.cooccurrence import Log
from pipeline.ranking.lists import Lists
from pipeline.ranking.rating import Report
from pipeline.retrieval import feed, targets
from pipeline.retrieval import train as train_retrieval
from pipeline.run import auto, seeds, weights
from pipeline.run.auto import Choice
from pipeline.run.config import Config
from pipeline.run.pace import Pace
from pipeline.tables import past
from pipeline.tables.prepared import Prepared, with_rows
from pipeline.tables.ragged import Ragged
from pipeline.tables.schema import TRAIN, VALIDATION
from pipeline.warm import carried, start
from pipeline.warm.carried import Carried
from pipeline.warm.seen import Block, Seen
from pipeline.warm.start import Start

logger = logging.getLogger(__name__)

_VALIDATION_LISTS = 3_000
# Candidates in a training list, the target among them; lists in a step;
# validations without a better NDCG@10 to stop after.
_LIST_SIZE = 200
_BATCH_SIZE = 128
_PATIENCE = 3
_LEARNING_RATE = 0.005
_WEIGHT_DECAY = 0.05


def run(
    config: Config,
    prepared: Prepared,
    retrieval: Path,
    directory: Path,
    progress: Callable[[str], None] = logger.info,
    begin: Start | None = None,
) -> Report:
    """Trains and writes the ranking model; what `metrics.json` says.

    Lists are made by exact search, so that they do not change with the
    index's settings.

    Args:
        retrieval: Directory of the train-retrieval step.
        progress: Receives a line an epoch.
        begin: What the scorer starts from.
    """
    started = time.monotonic()
    base = train_retrieval.load(config, prepared, retrieval, "base")
    scorer, report = learn(config, prepared, base, progress, begin)
    weights.save(scorer, directory / "scorer.npz")
    Seen.of(prepared, _learned(prepared)).write(directory / carried.SEEN)
    log = _shipped(config, prepared)
    tables = item_tables.build(log)
    report["left_out"] = item_tables.left_out(log)
    for table, reason in report["left_out"].items():
        progress(f"  without the {table} item table: {reason}")
    # Not `asdict`, which copies.
    np.savez(directory / "tables.npz", **vars(tables))
    del tables
    shutil.copytree(
        Path(retrieval) / "final", directory / "retrieval" / "final"
    )
    if prepared.sequences().ratings is not None:
        progress("  training on ratings")
        report["rating"] = train_rating.run(config, prepared, directory)
    report["seconds"] = round(time.monotonic() - started, 1)
    (directory / "metrics.json").write_text(json.dumps(report, indent=2))
    return report


def found(
    config: Config, prepared: Prepared, live: Carried | str | None
) -> Start:
    """What the scorer starts from.

    Args:
        live: What the live version carries, or why it carries nothing; None
            where nobody asked.
    """
    return start.find(live, config, prepared, {"scorer": _learned(prepared)})


def _learned(prepared: Prepared) -> Iterator[Block]:
    """The train part, the last of which lists are made for."""
    sequences = prepared.sequences()
    yield Block(0, sequences, sequences.parts == TRAIN)


def choices(config: Config, prepared: Prepared) -> list[Choice[int]]:
    """What the size of the catalogue decides."""
    log = _shipped(config, prepared)
    return [*item_tables.choices(log), auto.lists(len(prepared.items.ids))]


def _shipped(config: Config, prepared: Prepared) -> Log:
    """The interactions behind the tables that ship."""
    sequences = prepared.sequences()
    last = VALIDATION if config.retrieval.refit else TRAIN
    return Log.of(sequences, sequences.parts <= last, len(prepared.items.ids))


def learn(
    config: Config,
    prepared: Prepared,
    base: RetrievalModel,
    progress: Callable[[str], None] = logger.info,
    begin: Start | None = None,
) -> tuple[Scorer, Report]:
    """Trains the scorer on lists of `base` and reports how it went."""
    started = time.monotonic()
    step_seed = seeds.of(config, "train-ranking")
    tf.keras.utils.set_random_seed(step_seed)
    sequences = prepared.sequences()
    held = train_retrieval.holdout(config, prepared)
    train = sequences.parts == TRAIN
    # The tables behind the training lists are gone before the next are made.
    training = training_lists(
        config,
        prepared,
        base,
        signals_of(config, prepared, base, train & ~held),
        held,
    )
    signals = signals_of(config, prepared, base, train)
    asked = requests.make(
        prepared, "validation", num_users=_VALIDATION_LISTS, seed=step_seed
    )
    inputs, _, found = _retrieved(config, prepared, base, asked)
    validation = lists.describe(signals, inputs, found)
    scorer = make_scorer(config, prepared, signals)
    begin = begin or Start()
    begin.fill(scorer, "scorer", prepared)
    epochs = begin.epochs(config.ranking.epochs)
    config = replace(config, ranking=replace(config.ranking, epochs=epochs))
    return scorer, {
        **begin.plain(),
        "lists": len(training),
        "list_seconds": round(time.monotonic() - started, 1),
        **fit(config, scorer, training, validation, asked, progress),
    }


def load(
    config: Config,
    prepared: Prepared,
    directory: Path,
    vectors: tf.Variable | None = None,
) -> RankingModel:
    """Builds the model to serve and loads what `run` wrote.

    Args:
        vectors: The index's, so that one table serves both stages; computed
            again if None.
    """
    directory = Path(directory)
    towers = train_retrieval.load(config, prepared, directory / "retrieval")
    with np.load(directory / "tables.npz") as saved:
        tables = ItemTables(**{name: saved[name] for name in saved.files})
    more = len(prepared.items.ids) - len(tables.popularity)
    tables = replace(tables, popularity=with_rows(tables.popularity, more))
    signals = Signals(
        config.ranking, towers, tables, prepared.repeat_consumption, vectors
    )
    scorer = make_scorer(config, prepared, signals)
    weights.load(scorer, directory / "scorer.npz", scorer.table.values())
    rating = train_rating.load(config, prepared, directory)
    return RankingModel(signals, scorer, rating)


def make_scorer(config: Config, prepared: Prepared, signals: Signals) -> Scorer:
    """An untrained scorer for the data's features, with all its weights."""
    blank = Requests.before(
        prepared.sequences(), np.zeros(1, np.int64), Ragged.empty(1)
    ).inputs(prepared, config.retrieval.history_length)
    lines = lists.describe(signals, blank, np.array([[FIRST_ITEM]], np.int32))
    scorer = Scorer(
        config.ranking,
        lines.signals.shape[-1],
        prepared.items.features,
        Specs(
            # Words name single items: with thousands of lists they are learned
            # by heart (ML-1M: NDCG@10 .194 with titles, .209 without).
            tuple(spec for spec in prepared.items.specs if spec.kind != "text"),
            prepared.users.specs,
            prepared.context_specs,
        ),
        signals.num_taken,
        name="scorer",
    )
    scorer(*_inputs(lines, np.zeros(1, int)))
    return scorer


def training_lists(
    config: Config,
    prepared: Prepared,
    base: RetrievalModel,
    signals: Signals,
    held: np.ndarray,
) -> Lists:
    """A list for each held-out event whose target can be recommended.

    For a temporal split all requests are made when the held-out time begins,
    as those of an evaluation are when its part does.
    """
    sequences = prepared.sequences()
    random = np.random.default_rng(seeds.of(config, "lists"))
    events = np.flatnonzero(held & (sequences.item_indices >= FIRST_ITEM))
    stops = past.stops(sequences, prepared.split)[events]
    reach = targets.reach(prepared.split, feed.Memory(sequences))
    if reach.seconds and len(events):
        cut = sequences.timestamps[events].min()
        asked_at = np.minimum(sequences.timestamps, cut)
        stops = past.first_at(sequences, asked_at)[events]
        is_next = events - stops < reach.events
        events, stops = events[is_next], stops[is_next]
    rows = past.users_of(sequences)[events]
    asked = requests.recommendable(
        prepared,
        Requests.before(
            sequences, events, past.histories(sequences, rows, stops, TRAIN)
        ),
    )
    limit = auto.lists(len(prepared.items.ids)).value
    if len(asked) > limit:
        chosen = random.choice(len(asked), limit, replace=False)
        asked = asked.take(np.sort(chosen))
    inputs, hidden, found = _retrieved(config, prepared, base, asked)
    # Lists that lack their target would teach that what retrieval misses is
    # good.
    is_there = (found == asked.relevant.items[:, None]).any(axis=1)
    kept = np.flatnonzero(is_there)
    candidates, offsets = lists.compose(
        found[kept],
        asked.relevant.items[kept],
        hidden.take(kept),
        _LIST_SIZE,
        random,
    )
    return lists.describe(signals, inputs.take(kept), candidates, offsets)


def _retrieved(
    config: Config, prepared: Prepared, base: RetrievalModel, asked: Requests
) -> tuple[Query, Ragged, np.ndarray]:
    """Requests as models take them, what they must not return, and lists."""
    inputs = asked.inputs(prepared, config.retrieval.history_length)
    hidden = requests.hidden(prepared, asked.histories)
    k = config.index.num_candidates
    return inputs, hidden, lists.retrieve(base, inputs, hidden, k)[1]


def fit(
    config: Config,
    scorer: Scorer,
    training: Lists,
    validation: Lists,
    asked: Requests,
    progress: Callable[[str], None],
) -> Report:
    """Trains until validation stops improving; keeps the best weights.

    Returns:
        The validation curve (epoch 0 is retrieval alone) and best epoch.
    """
    options = config.ranking
    random = np.random.default_rng(seeds.of(config, "train-ranking"))
    count = len(training)
    if count:
        rows = training.candidates > 0
        scorer.standardise(training.signals[rows].astype(np.float32))
    curve = [validate(scorer, validation, asked)]
    best, weights = 0, scorer.get_weights()
    steps = max(1, -(-count // _BATCH_SIZE))
    optimizer = tf.keras.optimizers.AdamW(
        tf.keras.optimizers.schedules.CosineDecay(
            _LEARNING_RATE, steps * options.epochs, alpha=0.05
        ),
        weight_decay=_WEIGHT_DECAY,
        global_clipnorm=5.0,
    )
    optimizer.build(scorer.trainable_variables)

    @tf.function(autograph=False, reduce_retracing=True)
    def step(inputs, offsets):  # type: ignore
        with tf.GradientTape() as tape:
            scores = scorer(*inputs, training=True) + offsets
            loss = tf.reduce_mean(listwise_loss(scores, inputs[-1]))
        optimizer.minimize(loss, scorer.trainable_variables, tape)
        return loss

    pace = Pace(progress, options.epochs, count)
    for epoch in range(1, options.epochs + 1 if count else 1):
        order = random.permutation(count)
        losses = [
            step(_inputs(training, rows), tf.constant(training.offsets[rows]))
            for rows in np.array_split(order, steps)
        ]
        figures = validate(scorer, validation, asked)
        loss, ndcg = float(np.mean(losses)), figures["ndcg@10"]
        curve.append({"loss": loss, **figures})
        pace(epoch, f"loss {loss:.3f}", f"ndcg@10 {ndcg:.4f} on validation")
        if figures["ndcg@10"] > curve[best]["ndcg@10"]:
            best, weights = epoch, scorer.get_weights()
        if epoch - best >= _PATIENCE:
            break
    scorer.set_weights(weights)
    return {"best_epoch": best, "curve": curve}


def validate(
    scorer: Scorer, validation: Lists, asked: Requests
) -> dict[str, float]:
    """NDCG@10 and recall@10 of the rescored lists."""
    if not len(asked):
        return metrics.means(np.zeros((0, 10), bool), asked.num_relevant)
    scores = np.concatenate(
        [
            scorer(*_inputs(validation, rows)).numpy()
            for rows in search.blocks(len(asked), lists.BLOCK)
        ]
    )
    scores = np.where(validation.candidates > 0, scores, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")
    hits = metrics.find_hits(
        np.take_along_axis(validation.candidates, order, axis=1),
        asked.relevant,
        np.take_along_axis(scores, order, axis=1),
    )
    return metrics.means(hits, asked.num_relevant)


def signals_of(
    config: Config, prepared: Prepared, towers: RetrievalModel, used: np.ndarray
) -> Signals:
    """Signals of towers, with tables of the events where `used` is true."""
    log = Log.of(prepared.sequences(), used, len(prepared.items.ids))
    tables = item_tables.build(log)
    return Signals(config.ranking, towers, tables, prepared.repeat_consumption)


def _inputs(lines: Lists, rows: np.ndarray) -> tuple:
    """Arguments of the scorer for some lists."""
    return tf.nest.map_structure(
        tf.constant,
        (
            lines.scores[rows],
            lines.signals[rows].astype(np.float32),
            lines.inputs.take(rows)._replace(user_index=()),
            lines.candidates[rows],
        ),
    )
