"""What the scale benchmark times, each phase in a process of its own.

A process of its own has its own peak memory, and TensorFlow's start is not
counted: a phase returns what it measured itself.
"""

import dataclasses
import itertools
import json
import multiprocessing
import os
import re
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from models.config import RetrievalConfig
from pipeline.bench import generate
from pipeline.prepare import step as prepare
from pipeline.run import auto, manifest
from pipeline.run.config import Config
from pipeline.run.data import TabularSource
from pipeline.tables.prepared import load
from pipeline.tables.schema import DataError

if TYPE_CHECKING:
    from pipeline.retrieval.task import Task

# Steps before training is timed: tracing and warming up.
_WARM_UP = 5
_TRAIN_SECONDS = 60.0
_TRAIN_STEPS = 300
# Batches whose examples are counted.
_SAMPLED = 50

Figures: TypeAlias = dict[str, float]
Phase: TypeAlias = Callable[[Path, int], Figures]


def log_path(directory: Path, interactions: int) -> Path:
    """Where the log of one size is."""
    return directory / f"log-{interactions}"


def config(directory: Path, interactions: int) -> Config:
    """The run of one size: a generated log, all settings at their defaults."""
    return Config(
        name=f"scale-{interactions}",
        seed=1,
        artifacts=str(directory),
        source=TabularSource(
            path=str(log_path(directory, interactions)), rating="rating"
        ),
        retrieval=RetrievalConfig(history_length=50),
    )


def keep(
    path: Path, key: str, found: Mapping[str, object] | list[Figures]
) -> None:
    """Writes figures under a key of a file, beside what others wrote there."""
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
    is_list = isinstance(found, list)
    kept[key] = found if is_list else kept.get(key, {}) | found
    manifest.write_json(path, kept)


def measure(phase: Phase, directory: Path, interactions: int) -> Figures:
    """Runs a phase in a new process.

    Returns:
        What the phase returned, with `cpu_seconds` and `peak_gib` of the
        process.

    Raises:
        DataError: If the process ends without an answer.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_work, args=(sender, phase, directory, interactions)
    )
    process.start()
    sender.close()
    try:
        answer: Figures = receiver.recv()
    except EOFError as error:
        process.join()
        raise DataError(
            "A phase of the benchmark must end with figures. Received: exit "
            f"status {process.exitcode} of {phase.__name__} at "
            f"{interactions:,} interactions (out of memory, perhaps). Leave "
            "the size out."
        ) from error
    process.join()
    return answer


def _work(
    sender: Connection, phase: Phase, directory: Path, interactions: int
) -> None:
    # The GPU that TensorFlow does not find is no news.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    figures = phase(directory, interactions)
    beside = {"cpu_seconds": time.process_time(), "peak_gib": peak_gib()}
    sender.send(figures | beside)


def peak_gib() -> float:
    """Most memory that this process had resident so far.

    Of this process alone, unlike what getrusage says after a fork.
    """
    found = re.search(
        r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()
    )
    return int(found[1]) / 2**20 if found else 0.0


def forget_peak() -> None:
    """Makes what is resident now the most so far."""
    Path("/proc/self/clear_refs").write_text("5")


def generated(directory: Path, interactions: int) -> Figures:
    """Writes the log."""
    start = time.monotonic()
    generate.write(log_path(directory, interactions), interactions, 1)
    return {"seconds": time.monotonic() - start}


def prepared(directory: Path, interactions: int) -> Figures:
    """Prepares it."""
    options = config(directory, interactions)
    target = options.run_directory / "prepare"
    target.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    prepare.run(options, target)
    return {"seconds": time.monotonic() - start}


def fed(directory: Path, interactions: int) -> Figures:
    """Streams one epoch of batches, trained by nobody."""
    made, _total = _task(directory, interactions, True)
    batches = made.dataset.take(made.steps + 1).as_numpy_iterator()
    # The first one waits for the first buffer and for TensorFlow's threads.
    next(batches)
    start = time.monotonic()
    examples = sum(len(batch["target"]) for batch in batches)
    return {"seconds": time.monotonic() - start, "examples": examples}


def trained(directory: Path, interactions: int) -> Figures:
    """Trains for a minute at most."""
    from pipeline.retrieval import fit

    made, total = _task(directory, interactions, False)
    options = config(directory, interactions).retrieval
    made.model.compile(
        optimizer=fit.optimizer(options, made.steps * options.epochs)
    )
    step = made.model.make_train_function()
    batches = iter(made.dataset)
    for _ in range(_WARM_UP):
        step(batches)
    start = time.monotonic()
    cpu = time.process_time()
    for number in itertools.count(1):
        step(batches)
        seconds = time.monotonic() - start
        if number >= _TRAIN_STEPS or seconds > _TRAIN_SECONDS:
            break
    # Targets that a state drawn back cannot reach are left out of a batch.
    sample = made.dataset.take(_SAMPLED).as_numpy_iterator()
    size = sum(len(batch["target"]) for batch in sample) / _SAMPLED
    return {
        "seconds": seconds,
        "examples": number * size,
        "epoch_examples": made.steps * size,
        "cores": (time.process_time() - cpu) / seconds,
        "items": total,
    }


def _task(
    directory: Path, interactions: int, is_streamed: bool
) -> "tuple[Task, int]":
    """The base model of the run with its data, and the items there are."""
    from pipeline.retrieval import feed, task
    from pipeline.retrieval.team import Team
    from pipeline.run.workers import Workers

    options = config(directory, interactions)
    tables = load(options.run_directory / "prepare")
    positions = auto.batch_positions(options.retrieval, interactions).value
    retrieval = dataclasses.replace(
        options.retrieval, batch_positions=positions
    )
    options = dataclasses.replace(options, retrieval=retrieval)
    made = task.make(
        options,
        tables,
        feed.Stream(tables.directory, feed.BUFFER)
        if is_streamed
        else feed.open_feed(tables),
        task.Aim("base"),
        Team(Workers()),
        lambda line: None,
    )
    return made, len(tables.items.ids)


PHASES: dict[str, Phase] = {
    "generate": generated,
    "prepare": prepared,
    "feed": fed,
    "train": trained,
}
