"""Measures the exported .tflite files and picks the precision to publish.

The bytes that ship are asked, one history at a time as on a device; items of
the history older than the model reads are taken out of the answer, as
`serving.ondevice` does, unless the data set is one of repeat consumption.

Shape letters: Q queries, K places.
"""

import functools
from pathlib import Path

import numpy as np

from pipeline.evaluate.evaluation import HEADLINE, Precision, Student
from pipeline.evaluate.scoreboard import LISTED, Board, figure
from pipeline.measure import metrics, timing
from pipeline.measure.search import Answer
from pipeline.ondevice import distill
from pipeline.ondevice.convert import PRECISIONS
from pipeline.run import auto
from pipeline.tables.ragged import Ragged
from serving.ondevice.bundle import OnDevice

ROW, UNDISTILLED_ROW = "student", "student_undistilled"
_TIMED = 300


def run(
    directory: Path,
    wanted: str,
    histories: Ragged,
    board: Board,
    teacher: Answer,
) -> tuple[Student, dict[str, Answer]]:
    """Measures every precision.

    Args:
        directory: Of the ondevice-export step.
        wanted: The precision to publish, or "auto".
        board: Measures the answers to the histories' queries.

    Returns:
        What was measured, and the answers of the published file and of the
        student without a teacher.
    """
    bundles: dict[str, OnDevice] = {
        name: OnDevice(directory / name) for name in PRECISIONS
    }
    answers = {name: answer(bundles[name], histories) for name in bundles}
    full = np.full(bundles["float32"].config["history_length"], 2, np.int32)
    taken = timing.medians(
        {name: functools.partial(bundles[name].run, full) for name in bundles},
        _TIMED,
    )
    found = {
        name: Precision(
            bundles[name].config["model_bytes"],
            figure(taken[name], 1),
            figure(board.values(answers[name])[HEADLINE].mean()),
            agreement(answers[name], answers["float32"]),
            agreement(answers[name], teacher),
        )
        for name in bundles
    }
    precision = auto.precision(wanted, found).value
    rows = {ROW: answers[precision]}
    plain = directory / distill.UNDISTILLED
    if plain.exists():
        rows[UNDISTILLED_ROW] = answer(OnDevice(plain), histories)
    config = bundles[precision].config
    return (
        Student(
            precision, config["bundle_id"], config["server_bundle_id"], found
        ),
        rows,
    )


def answer(bundle: OnDevice, histories: Ragged) -> Answer:
    """Scores and items `[Q, K]` of one file."""
    padded = histories.last(bundle.config["history_length"])
    k = bundle.config["num_recommendations"]
    items = np.zeros((len(padded), k), np.int32)
    scores = np.full((len(padded), k), -np.inf, np.float32)
    for row, history in enumerate(padded):
        best, values = bundle.run(history)
        first, last = histories.offsets[row : row + 2]
        new = best > 1
        if not bundle.repeats:
            new &= ~np.isin(best, histories.items[first:last])
        items[row, : new.sum()] = best[new]
        scores[row, : new.sum()] = values[new]
    return scores, items


def agreement(one: Answer, other: Answer) -> float:
    """Mean share of the top 10 that two answers have in common."""
    mine, theirs = one[1][:, :LISTED], other[1][:, :LISTED]
    shared = metrics.find_hits(mine, Ragged.unpadded(theirs)).sum(axis=1)
    shorter = np.minimum((mine > 0).sum(axis=1), (theirs > 0).sum(axis=1))
    found = shared / np.maximum(shorter, 1)
    return figure(found.mean(), 4) if len(found) else 0.0
