"""Measures the student against TensorFlow's toolkit: `make bench-ondevice`.

Size and latency: files of both for catalogues of 3,953 and 100,000 items,
calls interleaved in one process, so that what else runs on the machine slows
all of them alike. Quality: both trained on the run's data with as many passes
over as many histories, without a teacher for either, by

    our protocol      the run's split, whole catalogue, seen items excluded
    their protocol    a tenth of the shuffled windows, ratings from 2, ten
                      items of history; it leaks the future and is used for
                      nothing else

The student with its teacher is measured by the evaluate step.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from models.config import FIRST_ITEM
from models.student import Student
from models.student_config import StudentConfig
from pipeline.bench.toolkit import Toolkit
from pipeline.measure.requests import Requests
from pipeline.ondevice import distill, teacher
from pipeline.ondevice.convert import PRECISIONS, convert
from pipeline.ondevice.teacher import Opinions
from pipeline.run import manifest, seeds
from pipeline.run.config import Config
from pipeline.tables import past
from pipeline.tables.prepared import Prepared
from pipeline.tables.ragged import Ragged

RESULT = "bench-ondevice.json"
_SIZES = (3_953, 100_000)
_LENGTH, _K = 10, 10
_MIN_RATING, _MIN_HISTORY, _TEST_SHARE = 2.0, 2, 0.1
Row = dict[str, Any]


def run(
    config: Config,
    prepared: Prepared,
    path: Path,
    rounds: int = 2_000,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, list[Row]]:
    """Measures and writes both tables.

    Args:
        config: The `student` section is what is measured.
        prepared: The data both are trained on.
        path: Of the JSON file.
        rounds: Timed calls of each file.
        progress: Receives one line a figure.
    """
    found = {
        "latency": latency(config.student, rounds, progress),
        "quality": quality(config, prepared, progress),
    }
    manifest.write_json(path, found)
    return found


def latency(
    options: StudentConfig, rounds: int, progress: Callable[[str], None]
) -> list[Row]:
    """Bytes and median microseconds of a call, by file and setting."""
    rows = []
    for size in _SIZES:
        files = {f"toolkit D{d}": Toolkit(size, d).convert() for d in (16, 32)}
        for name, length in (("", options.history_length), (" L10", _LENGTH)):
            chosen = dataclasses.replace(options, history_length=length)
            student = Student(chosen, size, item_id=True)
            student(np.zeros([1, length], np.int32))
            for precision in PRECISIONS:
                files[f"student {precision}{name}"] = convert(
                    student, precision
                )
        for threads in (1, 2):
            for delegate in (True, False):
                medians = interleaved(files, threads, delegate, rounds)
                base = medians["toolkit D16"]
                for name, value in medians.items():
                    rows.append(
                        {
                            "items": size,
                            "file": name,
                            "bytes": len(files[name]),
                            "threads": threads,
                            "xnnpack": delegate,
                            "microseconds": round(value, 1),
                            "of_toolkit_d16": round(value / base, 2),
                            "of_toolkit_d32": round(
                                value / medians["toolkit D32"], 2
                            ),
                        }
                    )
                    progress(_line(rows[-1]))
    return rows


def interleaved(
    files: Mapping[str, bytes], threads: int, delegate: bool, rounds: int
) -> dict[str, float]:
    """Median microseconds of an invocation, one file after another in turn."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = (
        OpResolverType.AUTO
        if delegate
        else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    made = []
    for content in files.values():
        interpreter = Interpreter(
            model_content=content,
            num_threads=threads,
            experimental_op_resolver_type=resolver,
        )
        interpreter.allocate_tensors()
        entry = interpreter.get_input_details()[0]
        history = np.arange(2, 2 + entry["shape"][0], dtype=np.int32)
        interpreter.set_tensor(entry["index"], history)
        interpreter.invoke()
        made.append(interpreter)
    taken = np.zeros((rounds, len(made)))
    for row in range(rounds):
        for place, interpreter in enumerate(made):
            started = time.perf_counter()
            interpreter.invoke()
            taken[row, place] = time.perf_counter() - started
    return dict(zip(files, np.median(taken, axis=0) * 1e6, strict=True))


def quality(
    config: Config, prepared: Prepared, progress: Callable[[str], None]
) -> list[Row]:
    """Both models by both protocols."""
    seed = seeds.of(config, "bench-ondevice")
    rows: list[Row] = []

    def add(model: str, protocol: str, figures: Mapping[str, float]) -> None:
        rows.append({"model": model, "protocol": protocol, **figures})
        progress(_line(rows[-1]))

    # Trained on the train part alone: validation asks.
    refit = dataclasses.replace(config.retrieval, refit=False)
    ours = teacher.moments(
        dataclasses.replace(config, retrieval=refit),
        prepared,
        np.random.default_rng(seed),
    )
    train, test = windows(prepared, np.random.default_rng(seed))
    short = dataclasses.replace(config.student, history_length=_LENGTH, mix=0.0)
    for name in ("toolkit D16", "toolkit D32", "student"):
        model, options = _make(name, config.student, short, prepared, False)
        distill.fit(model, options, ours, Opinions.none(len(ours)), seed)
        add(name, "ours", distill.validate(model, prepared, seed))
        model, options = _make(name, config.student, short, prepared, True)
        distill.fit(model, options, train, Opinions.none(len(train)), seed)
        hides = name == "student" and not prepared.repeat_consumption
        recall = windows_recall(model, test, hides)
        add(name, "theirs", {"recall@10": recall})
    return rows


def _make(
    name: str,
    full: StudentConfig,
    short: StudentConfig,
    prepared: Prepared,
    is_theirs: bool,
) -> tuple[Any, StudentConfig]:
    tf.keras.utils.set_random_seed(1)
    if name == "student":
        options = short if is_theirs else dataclasses.replace(full, mix=0.0)
        return distill.make(options, prepared), options
    width = int(name.rpartition("D")[2])
    return Toolkit(len(prepared.items.ids), width), short


def windows(
    prepared: Prepared, rng: np.random.Generator
) -> tuple[Requests, Requests]:
    """Their examples: train and test windows, shuffled before they part."""
    sequences = prepared.sequences()
    kept = sequences.item_indices >= FIRST_ITEM
    if sequences.ratings is not None:
        kept &= sequences.ratings >= _MIN_RATING
    users = past.users_of(sequences)[kept]
    items = sequences.item_indices[kept]
    starts = np.searchsorted(users, users)
    place = np.arange(len(users)) - starts
    targets = np.flatnonzero(place >= _MIN_HISTORY)
    targets = rng.permutation(targets)
    count = int(len(targets) * _TEST_SHARE)

    def of(chosen: np.ndarray) -> Requests:
        lengths = np.minimum(place[chosen], _LENGTH)
        return Requests(
            users[chosen],
            chosen,
            Ragged.between(items, chosen - lengths, chosen),
            {},
            Ragged.between(items, chosen, chosen + 1),
            np.ones(len(chosen), np.int64),
        )

    return of(targets[count:]), of(targets[:count])


def windows_recall(model: Any, test: Requests, excludes: bool) -> float:
    """Share of windows whose target is among the best 10.

    Args:
        model: Scores histories.
        test: The windows.
        excludes: Whether the model hides what is in the history, as the
            student's file does and the toolkit's does not.
    """
    histories = test.histories.last(_LENGTH)
    hits = 0
    for start in range(0, len(test), 1024):
        rows = slice(start, start + 1024)
        scores = model(tf.constant(histories[rows])).numpy()
        scores[:, :FIRST_ITEM] = -np.inf
        if excludes:
            np.put_along_axis(scores, histories[rows], -np.inf, axis=1)
        wanted = np.take_along_axis(
            scores, test.relevant.items[rows, None], axis=1
        )
        # What scores the same counts as better: a tie is no hit.
        better = (scores >= wanted).sum(axis=1) - 1
        hits += int(((better < _K) & np.isfinite(wanted[:, 0])).sum())
    return round(hits / max(len(test), 1), 5)


def _line(row: Row) -> str:
    return "  " + ", ".join(
        f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in row.items()
    )
