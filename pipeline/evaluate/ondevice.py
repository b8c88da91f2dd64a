"""Measures the exported .tflite files and picks the precision to publish.

The bytes that ship are asked, one history at a time as on a device; items of
the history older than the model reads are taken out of the answer, as
`serving.ondevice` does, unless the data set is one of repeat consumption.

Shape letters: Q queries, K places.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluate.scoreboard import HEADLINE, Answer, Board
from pipeline.measure.metrics import Ragged
from pipeline.measure.queries import Queries
from pipeline.ondevice import distill
from pipeline.ondevice.convert import PRECISIONS
from pipeline.run.config import Config
from serving.ondevice.bundle import OnDevice

ROW, UNDISTILLED_ROW = "student", "student_undistilled"
_LISTED = 10
_TIMED = 300
# Share of float32's NDCG@10 that a smaller file may lose.
_LOSS = 0.01


def run(
    config: Config,
    directory: Path,
    asked: Queries,
    board: Board,
    teacher: Answer,
) -> tuple[dict[str, Any], dict[str, Answer]]:
    """Measures every precision.

    Args:
        config: `student.precision` decides what is published.
        directory: Of the ondevice-export step.
        asked: The queries of the evaluation.
        board: Measures their answers.
        teacher: The two-stage answer.

    Returns:
        The `ondevice` section of evaluation.json, and the answers of the
        published file and of the student without a teacher.
    """
    bundles: dict[str, OnDevice] = {
        name: OnDevice(directory / name) for name in PRECISIONS
    }
    answers = {
        name: answer(bundle, asked.histories)
        for name, bundle in bundles.items()
    }
    latencies = _latencies(list(bundles.values()))
    found: dict[str, dict[str, Any]] = {}
    for place, (name, bundle) in enumerate(bundles.items()):
        found[name] = {
            "bytes": bundle.config["model_bytes"],
            "latency_us": latencies[place],
            HEADLINE: round(
                float(board.values(answers[name])[HEADLINE].mean()), 5
            ),
            "agreement@10_float32": agreement(
                answers[name], answers["float32"]
            ),
            "agreement@10_teacher": agreement(answers[name], teacher),
        }
    precision = choose(found, config.student.precision)
    rows = {ROW: answers[precision]}
    plain = directory / distill.UNDISTILLED
    if plain.exists():
        rows[UNDISTILLED_ROW] = answer(OnDevice(plain), asked.histories)
    facts = {
        name: bundles[precision].config[name]
        for name in ("bundle_id", "server_bundle_id")
    }
    return {"precision": precision, **facts, "precisions": found}, rows


def choose(found: dict[str, dict[str, Any]], wanted: str) -> str:
    """The smallest precision within 1 % of float32's NDCG@10."""
    if wanted != "auto":
        return wanted
    least = found["float32"][HEADLINE] * (1 - _LOSS)
    good = [name for name in found if found[name][HEADLINE] >= least]
    return min(good, key=lambda name: found[name]["bytes"])


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
    shared = [
        len(np.intersect1d(mine[mine > 0], theirs[theirs > 0]))
        / max(min((mine > 0).sum(), (theirs > 0).sum()), 1)
        for mine, theirs in zip(
            one[1][:, :_LISTED], other[1][:, :_LISTED], strict=True
        )
    ]
    return round(float(np.mean(shared)), 4) if shared else 0.0


def _latencies(bundles: list[OnDevice]) -> list[float]:
    """Median microseconds of a call, one thread, calls interleaved."""
    history = np.zeros(bundles[0].config["history_length"], np.int32)
    history[:] = 2
    taken = np.zeros((_TIMED, len(bundles)))
    for row in range(_TIMED):
        for place, bundle in enumerate(bundles):
            started = time.perf_counter()
            bundle.run(history)
            taken[row, place] = time.perf_counter() - started
    return [round(float(value) * 1e6, 1) for value in np.median(taken, axis=0)]
