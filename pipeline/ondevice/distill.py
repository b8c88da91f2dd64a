"""Trains the on-device student on what the two-stage teacher answers.

Each training history has the item that came next (hard) and the teacher's
scores of its candidates (soft). `student` learns from both; `undistilled`, of
the same make, with the same histories, epochs and seed, from the hard targets
alone: the difference is what the teacher is worth.

On disk: `student.npz`, `undistilled.npz` (weights in order), `seen.parquet`
(how far they have learned) and `metrics.json`.

Shape letters: B histories, L positions, K candidates, V rows, D width.
"""

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models import losses
from models.config import FIRST_ITEM, PADDING, UNKNOWN, at_most
from models.layers import features
from models.student import Student
from models.student_config import StudentConfig
from pipeline.measure import metrics, requests, search
from pipeline.measure.requests import Requests
from pipeline.ondevice import teacher
from pipeline.run import auto, seeds, weights
from pipeline.run.auto import Choice
from pipeline.run.config import Config
from pipeline.run.pace import Pace
from pipeline.tables.prepared import Prepared
from pipeline.warm import carried, start
from pipeline.warm.carried import Carried, Model
from pipeline.warm.seen import Block, Seen
from pipeline.warm.start import Start

logger = logging.getLogger(__name__)

STUDENT: Model = "student"
UNDISTILLED: Model = "undistilled"
# Weight of the teacher's scores in the loss, the rest is that of what came
# next. Chosen on validation, NDCG@10 on ML-100K after 8 epochs over the last
# 50 items: .133 at 0, .143 at .5, .141 at 1, and over the last 100 items .134
# at 0, .149 at .7 (the teacher: .147). Both sides' scores divided by 2 gave
# .131 in place of .143.
MIX = 0.7
# Rows up to which a target competes with all items; beyond, with the teacher's
# candidates and so many drawn uniformly.
FULL_SOFTMAX_BELOW = 20_000
NUM_UNIFORM = 4096
_LEARNING_RATE = 0.005
_WEIGHT_DECAY = 0.01
_AVERAGING = 0.99


def run(
    config: Config,
    prepared: Prepared,
    ranking: Path,
    directory: Path,
    progress: Callable[[str], None],
    begin: Start | None = None,
) -> list[Choice]:
    """Trains and writes the students; what the config left open.

    Args:
        ranking: Directory of the train-ranking step: the teacher.
        begin: What the students start from.
    """
    options, begin = config.student, begin or Start()
    seed = seeds.of(config, "distill")
    rows = num_rows(options, prepared)
    found = teacher.moments(config, prepared, np.random.default_rng(seed))
    if rows < len(prepared.items.ids):
        progress(
            f"  the student knows the {rows - FIRST_ITEM:,} most wanted of "
            f"{len(prepared.items.ids) - FIRST_ITEM:,} items: student.max_items"
        )
    started = time.monotonic()
    progress(f"  asking both stages for {len(found):,} histories")
    opinions = teacher.ask(config, prepared, ranking, found)
    report: dict[str, object] = {
        "histories": len(found),
        "teacher_seconds": round(time.monotonic() - started, 1),
    }
    for name, mix in ((STUDENT, MIX), (UNDISTILLED, 0.0)):
        started = time.monotonic()
        tf.keras.utils.set_random_seed(seed)
        student = make(options, prepared)
        begin.fill(student, name, prepared)
        epochs = begin.epochs(options.epochs)
        student.config = dataclasses.replace(student.config, epochs=epochs)
        losses_ = fit(
            student, found, opinions, seed, mix, _named(name, progress)
        )
        weights.save(student, directory / f"{name}.npz")
        told: dict[str, object] = {
            **begin.plain(),
            "mix": mix,
            "loss": losses_,
            "seconds": round(time.monotonic() - started, 1),
        }
        said = ""
        if not config.retrieval.refit:
            # Otherwise the validation part was trained on.
            told["validation"] = figures = validate(student, prepared, seed)
            said = f", validation NDCG@10 {figures['ndcg@10']:.4f}"
        report[name] = told
        progress(
            f"  {name}: {len(found)} histories, loss {losses_[-1]:.3f}{said}"
        )
    Seen.of(prepared, _learned(config, prepared)).write(
        directory / carried.SEEN
    )
    (directory / "metrics.json").write_text(json.dumps(report, indent=2))
    return [auto.student_batch(len(found)), *begin.choices("student")]


def found(
    config: Config, prepared: Prepared, live: Carried | str | None
) -> Start:
    """What the students start from.

    Args:
        live: What the live version carries, or why it carries nothing; None
            where nobody asked.
    """
    return start.find(
        live, config, prepared, {STUDENT: _learned(config, prepared)}
    )


def _learned(config: Config, prepared: Prepared) -> Iterator[Block]:
    """The parts that histories are drawn of."""
    sequences = prepared.sequences()
    yield Block(0, sequences, sequences.parts <= teacher.last_part(config))


def _named(name: str, progress: Callable[[str], None]) -> Callable[[str], None]:
    """Puts what is trained before each line."""
    return lambda line: progress(f"  {name}: {line.strip()}")


def make(options: StudentConfig, prepared: Prepared) -> Student:
    """An untrained student with all its weights."""
    items = prepared.items
    rows = num_rows(options, prepared)
    # A small catalogue has fewer items to answer with than is asked for.
    answered = min(options.num_recommendations, max(1, rows - 3))
    options = dataclasses.replace(options, num_recommendations=answered)
    student = Student(
        options,
        rows,
        {name: values[:rows] for name, values in items.features.items()},
        features.select(items.specs, options.item_features),
        prepared.repeat_consumption,
    )
    student(np.zeros([1, options.history_length], np.int32))
    return student


def num_rows(options: StudentConfig, prepared: Prepared) -> int:
    """V: vocabularies begin with the items that train has most of."""
    limit = FIRST_ITEM + at_most(options.max_items)
    return min(len(prepared.items.ids), limit)


def load(
    config: Config, prepared: Prepared, directory: Path, name: str = STUDENT
) -> Student:
    """Builds a student and loads what `run` wrote."""
    student = make(config.student, prepared)
    weights.load(student, Path(directory) / f"{name}.npz")
    return student


class Examples(NamedTuple):
    """What is learnt from, arrays or tensors.

    Attributes:
        history: int32 [B, L].
        target: int32 [B], what came next.
        scores: The teacher's [B, K].
        candidates: int32 [B, K] of the teacher, 0 pads.
    """

    history: tf.Tensor
    target: tf.Tensor
    scores: tf.Tensor
    candidates: tf.Tensor


def fit(
    student: Student,
    found: Requests,
    opinions: search.Answer,
    seed: int,
    mix: float,
    progress: Callable[[str], None] = logger.info,
) -> list[float]:
    """Trains and leaves the averaged weights; the mean loss of each epoch."""
    options, count = student.config, len(found)
    if not count:
        return [0.0]
    random = np.random.default_rng(seed)
    # No wider than the longest one: padding takes time and changes nothing.
    longest = int(found.histories.lengths.max())
    history = found.histories.last(max(1, min(options.history_length, longest)))
    scores, candidates = opinions
    examples = Examples(
        known(history, student.num_rows),
        found.relevant.items,
        scores,
        np.where(candidates < student.num_rows, candidates, PADDING),
    )
    steps = max(1, round(count / auto.student_batch(count).value))
    averages = [tf.Variable(value) for value in student.trainable_variables]
    step = _step(student, mix, steps, averages)
    pace = Pace(progress, options.epochs, count)
    curve, done = [], 0
    for epoch in range(1, options.epochs + 1):
        total = []
        for rows in np.array_split(random.permutation(count), steps):
            done += 1
            momentum = min(_AVERAGING, done / (done + 10.0))
            batch = Examples(*(tf.constant(v[rows]) for v in examples))
            total.append(step(batch, tf.constant(momentum, tf.float32)))
        curve.append(round(float(np.mean(total)), 4))
        pace(epoch, f"loss {curve[-1]:.3f}")
    for average, value in zip(
        averages, student.trainable_variables, strict=True
    ):
        value.assign(average)
    return curve


def known(history: np.ndarray, num_rows: int) -> np.ndarray:
    """Histories in which items beyond the student's are unknown ones."""
    return np.where(history < num_rows, history, UNKNOWN)


def _step(
    student: Student,
    mix: float,
    steps: int,
    averages: list[tf.Variable],
) -> Callable[..., tf.Tensor]:
    """A training step that moves the averages too; steps are of an epoch."""
    optimizer = tf.keras.optimizers.AdamW(
        tf.keras.optimizers.schedules.CosineDecay(
            0.0,
            steps * student.config.epochs,
            alpha=0.02,
            warmup_target=_LEARNING_RATE,
            warmup_steps=max(1, steps // 2),
        ),
        weight_decay=_WEIGHT_DECAY,
        beta_2=0.98,
        global_clipnorm=5.0,
    )
    optimizer.exclude_from_weight_decay(
        var_names=["bias", "start", "prior", "recency"]
    )
    variables = student.trainable_variables
    # Else the first step makes these variables, and is traced again without.
    optimizer.build(variables)
    is_small = student.num_rows <= FULL_SOFTMAX_BELOW

    @tf.function(autograph=False, reduce_retracing=True)
    def step(batch: Examples, momentum: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(loss_of(student, mix, batch, is_small))
        optimizer.minimize(loss, variables, tape)
        for average, value in zip(averages, variables, strict=True):
            average.assign(momentum * average + (1.0 - momentum) * value)
        return loss

    return step


def loss_of(
    student: Student, mix: float, batch: Examples, is_small: bool
) -> tf.Tensor:
    """Cross-entropies with what came next and with the teacher, mixed: [B].

    Over the whole of a small catalogue; a larger one is estimated.
    """
    found, total, hard = (_whole if is_small else _sampled)(student, batch)
    if mix == 0.0:
        return hard
    there = batch.candidates > 0
    taught = tf.nn.softmax(
        tf.where(there, batch.scores, losses.MASKED_LOGIT), axis=1
    )
    logits = tf.where(there, found, 0.0)
    soft = total - tf.reduce_sum(taught * logits, axis=1)
    return mix * soft + (1.0 - mix) * hard


# Logits of the candidates [B, K], their log-sum over the catalogue [B], and
# the cross-entropy with what came next [B].
_Found = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def _whole(student: Student, batch: Examples) -> _Found:
    history = batch.history
    logits = student(history, training=True)
    if not student.repeats:
        # What the graph on the device hides need not be pushed down.
        rows = tf.range(tf.shape(history)[0])[:, None] + tf.zeros_like(history)
        hidden = tf.stack([rows, history], axis=-1)
        logits = tf.tensor_scatter_nd_update(
            logits,
            tf.reshape(hidden, [-1, 2]),
            tf.fill([tf.size(history)], losses.MASKED_LOGIT),
        )
    return (
        tf.gather(logits, batch.candidates, batch_dims=1),
        tf.reduce_logsumexp(logits, axis=1),
        tf.nn.sparse_softmax_cross_entropy_with_logits(batch.target, logits),
    )


def _sampled(student: Student, batch: Examples) -> _Found:
    """The teacher's candidates, where the probability is, count exactly.

    Items drawn uniformly stand for all others.
    """
    table = student.table()
    query = student.query(batch.history, table, training=True)
    drawn = tf.random.uniform(
        [NUM_UNIFORM], FIRST_ITEM, student.num_rows, tf.int32
    )
    others = tf.matmul(query, tf.gather(table, drawn), transpose_b=True)
    found = tf.einsum("bd,bkd->bk", query, tf.gather(table, batch.candidates))
    positive = tf.reduce_sum(query * tf.gather(table, batch.target), axis=1)
    stands_for = float(np.log(student.num_rows / NUM_UNIFORM))
    in_list = tf.reduce_any(batch.candidates == batch.target[:, None], axis=1)
    everything = [
        tf.where(batch.candidates > 0, found, losses.MASKED_LOGIT),
        others + stands_for,
        tf.where(in_list, losses.MASKED_LOGIT, positive)[:, None],
    ]
    total = tf.reduce_logsumexp(tf.concat(everything, axis=1), axis=1)
    return found, total, total - positive


def validate(
    student: Student, prepared: Prepared, seed: int
) -> dict[str, float]:
    """NDCG@10 and recall@10 of 5,000 users on the validation part."""
    asked = requests.make(prepared, "validation", "split", 5_000, seed)
    size = student.num_rows
    histories = known(asked.histories.last(student.config.history_length), size)
    hidden = requests.hidden(prepared, asked.histories)
    scores, items = search.find(
        lambda rows: student(tf.constant(histories[rows])).numpy(),
        10,
        # Hiding an unknown item hides nothing.
        dataclasses.replace(hidden, items=known(hidden.items, size)),
        search.rows_at_once(size),
    )
    hits = metrics.find_hits(items, asked.relevant, scores)
    return metrics.means(hits, asked.num_relevant)
