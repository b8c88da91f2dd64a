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
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from models.config import Encoder
from models.retrieval import RetrievalModel
from pipeline.retrieval import feed, fit, targets, task, validation
from pipeline.retrieval.targets import Which
from pipeline.retrieval.team import Team
from pipeline.retrieval.watch import CHOSEN_BY, Goal, Watch
from pipeline.run import auto, seeds, weights
from pipeline.run.auto import Choice
from pipeline.run.config import Config
from pipeline.run.workers import Workers
from pipeline.tables.prepared import Prepared, with_rows
from pipeline.tables.schema import TRAIN, DataError
from pipeline.warm import start
from pipeline.warm.carried import Carried, Model
from pipeline.warm.seen import Block
from pipeline.warm.start import Start

logger = logging.getLogger(__name__)


class Training:
    """Trains `base` and, if it will ship, `final`.

    Args:
        directory: Where to write; left empty by workers behind the chief.
        workers: The processes that train together; None for this one alone.
        checkpoints: Folder from which a killed training goes on, None for
            none. Used by several workers and where the log is large.
    """

    def __init__(
        self,
        config: Config,
        prepared: Prepared,
        directory: Path,
        workers: Workers | None = None,
        checkpoints: Path | None = None,
        progress: Callable[[str], None] = logger.info,
    ) -> None:
        # Before anything else of TensorFlow, as several workers need.
        self._team = Team(workers or Workers())
        options = config.retrieval
        # One size for both models: an epoch of one is then worth one of the
        # other.
        self._targeted = prepared.items.counts[TRAIN].sum() * (
            1 - options.ranking_holdout
        )
        positions = auto.batch_positions(options, self._targeted)
        streamed = auto.is_streamed(prepared.summary["interactions"])
        self.choices: list[Choice] = [positions, streamed]
        self._options = replace(options, batch_positions=positions.value)
        self._config, self._prepared = config, prepared
        self._directory, self._progress = directory, progress
        self._source = feed.open_feed(prepared)
        interactions = prepared.summary["interactions"]
        is_large = interactions > auto.CHECKPOINTS_ABOVE
        is_kept = self._team.workers.count > 1 or is_large
        self._checkpoints = checkpoints if is_kept else None
        self._metrics: dict[str, dict[str, Any]] = {}
        self._start = Start()

    def run(self, live: Carried | str | None = None) -> list[Choice]:
        """Trains and writes both models; what the config left open.

        Args:
            live: What the live version carries to start from, or why nothing;
                None where nobody asked for a start.

        Raises:
            DataError: If there is nothing to learn from, or a worker was lost.
        """
        if live is not None:
            self._start = self._found(live)
        self.base()
        self.final()
        self.choices += self._start.choices("retrieval")
        return self.choices

    def _found(self, live: Carried | str) -> Start:
        """What both models may start from."""
        seed = seeds.of(self._config, "ranking_holdout")
        asked = self._options, self._prepared.split
        learned: dict[Model, Iterator[Block]] = {}
        for which in ("base", "final"):
            made = targets.rule(*asked, which, seed, self._source)
            learned[which] = targets.blocks(self._source, made)
        found = start.find(live, self._config, self._prepared, learned)
        if found.carried is not None:
            facts = found.carried.facts
            self._options = replace(
                self._options,
                encoder=facts.encoder,
                epochs=found.epochs(facts.cold_epochs),
            )
        return found

    def base(self) -> None:
        """Trains with the encoders in question and keeps the best."""
        users = auto.validation_users(len(self._prepared.items.ids))
        self.choices.append(users)
        asked = validation.draw(
            self._source,
            self._prepared,
            users.value,
            seeds.of(self._config, "validation"),
        )
        measure = functools.partial(
            validation.measure,
            self._prepared,
            asked,
            self._options.history_length,
        )
        tried = auto.encoders(self._options, self._targeted)
        figures: dict[Encoder, float] = {}
        for encoder in tried:
            name = "base" if len(tried) == 1 else f"base-{encoder}"
            made, watch = self._train("base", encoder, name, measure)
            self._progress(f"  {name}: validation {CHOSEN_BY} {watch.best:.4f}")
            figures[encoder] = watch.best
            chosen = auto.encoder(self._options, figures)
            if chosen.value == encoder:
                self._metrics["base"] = self._metrics[name]
                self._save("base", made)
        loss = task.loss(self._config, made.facts["counts"])
        self.choices += [chosen, loss, made.lazy_rows]
        self._save("base")

    def final(self) -> None:
        """Trains what ships, as `base` was best.

        From a start it takes all of the epochs: what `base` began with may
        have been its best, and `final` has the newest yet to learn.
        """
        base = self._metrics["base"]
        is_cold = self._start.carried is None
        epochs = base["best_epoch"] if is_cold else self._options.epochs
        made, _ = self._train("final", base["encoder"], "final", epochs)
        self._save("final", made)

    def _train(
        self, which: Which, encoder: Encoder, name: str, goal: Goal
    ) -> tuple[task.Task, Watch]:
        started = time.monotonic()
        options = replace(self._options, encoder=encoder)
        with _explained(self._team):
            made = task.make(
                replace(self._config, retrieval=options),
                self._prepared,
                self._source,
                task.Aim(which, self._start.seen(which)),
                self._team,
                self._progress,
            )
            self._start.fill(made.model, which, self._prepared)
            watch = fit.fit(
                made,
                goal,
                self._team,
                self._checkpoints and self._checkpoints / f"{name}.npz",
                self._directory / "logs" / name,
                self._progress,
            )
        carried = self._start.carried
        self._metrics[name] = {
            "encoder": encoder,
            "best_epoch": watch.best_epoch,
            "curve": watch.curve,
            "targets": made.num_targets,
            "seconds": round(time.monotonic() - started, 1),
            "cold_epochs": carried.facts.cold_epochs
            if carried
            else watch.best_epoch,
            **self._start.plain(),
        }
        return made, watch

    def _save(self, which: Which, made: task.Task | None = None) -> None:
        if not self._team.is_chief:
            return
        if made is not None:
            made.save(self._directory / which)
        text = json.dumps(self._metrics, indent=2)
        (self._directory / "metrics.json").write_text(text)


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
    """Builds the model and loads what `run` wrote.

    The tables may have more items than it was trained on, behind the others.
    """
    source = Path(directory) / which
    with np.load(source / "targets.npz") as saved:
        options = replace(config.retrieval, encoder=saved["encoder"].item())
        more = len(prepared.items.ids) - len(saved["counts"])
        model = task.build(
            replace(config, retrieval=options),
            prepared,
            with_rows(saved["counts"], more),
            with_rows(saved["popularity"], more),
        )
    given = model.candidate_tower.catalogue
    weights.load(model, source / "weights.npz", given)
    return model


def holdout(config: Config, prepared: Prepared) -> np.ndarray:
    """Train events that `base` never had as targets, bool `[E]`."""
    sequences = prepared.sequences()
    rule = targets.rule(
        config.retrieval,
        prepared.split,
        "base",
        seeds.of(config, "ranking_holdout"),
        feed.Memory(sequences),
    )
    return rule.held_out(feed.Chunk(sequences))
