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
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from models.config import FIRST_ITEM
from models.student import Student
from models.student_config import StudentConfig
from pipeline.bench.toolkit import Toolkit
from pipeline.measure import metrics, search, timing
from pipeline.measure.requests import Requests
from pipeline.ondevice import distill, teacher
from pipeline.ondevice.convert import PRECISIONS, convert
from pipeline.run import manifest, seeds
from pipeline.run.config import Config
from pipeline.tables import past
from pipeline.tables.prepared import Prepared
from pipeline.tables.ragged import Ragged

RESULT = "bench-ondevice.json"
_SIZES = (3_953, 100_000)
_LENGTH, _K = 10, 10
_MIN_RATING, _MIN_HISTORY, _TEST_SHARE = 2.0, 2, 0.1
Row: TypeAlias = dict[str, float | str]
# Histories int32 `[B, L]` to scores `[B, V]`.
Scorer: TypeAlias = Callable[[tf.Tensor], tf.Tensor]


def run(
    config: Config,
    prepared: Prepared,
    path: Path,
    rounds: int,
    progress: Callable[[str], None],
) -> None:
    """Measures and writes both tables.

    Args:
        path: Of the JSON file.
        rounds: Timed calls of each file.
    """
    found: dict[str, list[Row]] = {"latency": [], "quality": []}
    for name, rows in zip(
        found,
        (latency(config.student, rounds), quality(config, prepared)),
        strict=True,
    ):
        for row in rows:
            found[name].append(row)
            progress(_line(row))
    manifest.write_json(path, found)


def latency(options: StudentConfig, rounds: int) -> Iterator[Row]:
    """Bytes and median microseconds of a call, by file and setting."""
    for size in _SIZES:
        files = {f"toolkit D{d}": Toolkit(size, d).convert() for d in (16, 32)}
        for name, length in (("", options.history_length), (" L10", _LENGTH)):
            chosen = dataclasses.replace(
                options, history_length=length, item_id=True
            )
            student = Student(chosen, size)
            student(np.zeros([1, length], np.int32))
            for precision in PRECISIONS:
                files[f"student {precision}{name}"] = convert(
                    student, precision
                )
        for threads, delegate in itertools.product((1, 2), (True, False)):
            medians = timing.medians(
                {
                    name: _interpreter(content, threads, delegate).invoke
                    for name, content in files.items()
                },
                rounds,
            )
            for name, value in medians.items():
                yield {
                    "items": size,
                    "file": name,
                    "bytes": len(files[name]),
                    "threads": threads,
                    "xnnpack": delegate,
                    "microseconds": round(value, 1),
                    **{
                        f"of_toolkit_d{width}": round(
                            value / medians[f"toolkit D{width}"], 2
                        )
                        for width in (16, 32)
                    },
                }


def _interpreter(content: bytes, threads: int, delegate: bool) -> Interpreter:
    """A file that has been asked once, and holds its question."""
    made = Interpreter(
        model_content=content,
        num_threads=threads,
        experimental_op_resolver_type=(
            OpResolverType.AUTO
            if delegate
            else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        ),
    )
    made.allocate_tensors()
    entry = made.get_input_details()[0]
    history = np.arange(2, 2 + entry["shape"][0], dtype=np.int32)
    made.set_tensor(entry["index"], history)
    made.invoke()
    return made


def quality(config: Config, prepared: Prepared) -> Iterator[Row]:
    """Both models by both protocols."""
    seed = seeds.of(config, "bench-ondevice")
    # Trained on the train part alone: validation asks.
    refit = dataclasses.replace(config.retrieval, refit=False)
    ours = teacher.moments(
        dataclasses.replace(config, retrieval=refit),
        prepared,
        np.random.default_rng(seed),
    )
    train, test = windows(prepared, np.random.default_rng(seed))
    short = dataclasses.replace(config.student, history_length=_LENGTH)

    def fitted(name: str, options: StudentConfig, asked: Requests) -> Student:
        tf.keras.utils.set_random_seed(1)
        if name == "student":
            model = distill.make(options, prepared)
        else:
            width = int(name.rpartition("D")[2])
            model = Toolkit(len(prepared.items.ids), width, options.epochs)
        shape = len(asked), 1
        none = np.zeros(shape, np.float32), np.zeros(shape, np.int32)
        distill.fit(model, asked, none, seed, 0.0)
        return model

    for name in ("toolkit D16", "toolkit D32", "student"):
        model = fitted(name, config.student, ours)
        found = distill.validate(model, prepared, seed)
        yield {"model": name, "protocol": "ours", **found}
        model = fitted(name, short, train)
        hides = name == "student" and not prepared.repeat_consumption
        recall = windows_recall(model, test, hides)
        yield {"model": name, "protocol": "theirs", "recall@10": recall}


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
    targets = rng.permutation(np.flatnonzero(place >= _MIN_HISTORY))
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


def windows_recall(model: Scorer, test: Requests, excludes: bool) -> float:
    """Share of windows whose target is among the best 10.

    Args:
        excludes: Whether the model hides what is in the history, as the
            student's file does and the toolkit's does not.
    """
    histories = test.histories.last(_LENGTH)
    scores, items = search.find(
        lambda rows: model(tf.constant(histories[rows])).numpy(),
        _K,
        test.histories if excludes else Ragged.empty(len(test)),
    )
    hits = metrics.find_hits(items, test.relevant, scores)
    return round(float(hits.sum()) / max(len(test), 1), 5)


def _line(row: Row) -> str:
    return "  " + ", ".join(
        f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in row.items()
    )
