"""What stands behind the figures, for people who look closer.

Leaves `details.json` beside the evaluation: recall at every place, users by
the length of their history, what kind of items lists hold, whether predicted
probabilities and ratings come true, how long single requests take.

Shape letters: Q queries, K places.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.evaluate import evaluation
from pipeline.evaluate.calibration import Bin
from pipeline.evaluate.evaluation import HEADLINE, Interval
from pipeline.evaluate.scoreboard import Board, figure
from pipeline.evaluate.variety import Variety
from pipeline.measure import metrics
from pipeline.measure.requests import Requests
from pipeline.measure.search import Answer
from pipeline.run import manifest

FILE = "details.json"
_PLACES = 100
# First lengths of histories that are told apart.
_LENGTHS = (0, 1, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Mean:
    """A mean over users with its 95 % interval."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class Length:
    """Users whose histories are of similar lengths.

    Attributes:
        first: The shortest of them may be so long.
        last: The longest; None where nothing bounds it.
        users: How many.
        ndcg_at_10: Their mean, by model.
    """

    first: int
    last: int | None
    users: int
    ndcg_at_10: dict[str, Mean]


@dataclass(frozen=True)
class OnSlice:
    """How two_stage differs from the live version on some of the queries.

    Attributes:
        slice: Who they are, or what they look for.
        users: How many.
        live: NDCG@10 of the live version.
        difference: Paired, with its 95 % interval.
    """

    slice: str
    users: int
    live: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Details:
    """Everything beside the evaluation.

    Attributes:
        recall: At 1, 2, and so on, by model.
        lengths: From new users to those with the longest histories.
        variety: Of the first ten of every model.
        taken: The same of the ten items that users took last.
        probabilities: Predicted by ranking that an item is the next, where
            the next is among its candidates; see `calibration`.
        ratings: Predicted by ranking; none without ratings.
        latency_us: Microseconds of single requests, by exported model.
        live_slices: two_stage against the live version.
        live_without: Inputs that the live version takes and this run no
            longer has.
    """

    recall: dict[str, tuple[float, ...]]
    lengths: tuple[Length, ...]
    variety: dict[str, Variety]
    taken: Variety
    probabilities: tuple[Bin, ...]
    ratings: tuple[Bin, ...]
    latency_us: dict[str, tuple[float, ...]]
    live_slices: tuple[OnSlice, ...] = ()
    live_without: tuple[str, ...] = ()

    def write(self, directory: Path) -> None:
        """Writes `details.json`."""
        manifest.write_json(directory / FILE, evaluation.plain(self))

    @classmethod
    def read(cls, directory: Path) -> Details | None:
        """Reads what `write` wrote, None where nothing is."""
        path = directory / FILE
        if not path.exists():
            return None
        return evaluation.restored(cls, json.loads(path.read_text("utf-8")))


def recall(
    asked: Requests, answers: Mapping[str, Answer]
) -> dict[str, tuple[float, ...]]:
    """Mean recall at 1 to 100 of every model."""
    found = {}
    for name, (scores, items) in answers.items():
        hits = metrics.find_hits(items, asked.relevant, scores)[:, :_PLACES]
        shares = (
            hits.cumsum(axis=1) / np.maximum(asked.num_relevant, 1)[:, None]
        )
        found[name] = tuple(figure(value) for value in shares.mean(axis=0))
    return found


def lengths(
    asked: Requests, answers: Mapping[str, Answer], board: Board
) -> Iterator[Length]:
    """NDCG@10 of users by the length of their history."""
    values = {name: board.values(answers[name])[HEADLINE] for name in answers}
    theirs = np.searchsorted(_LENGTHS, asked.histories.lengths, side="right")
    bounds = zip(_LENGTHS, (*_LENGTHS[1:], None), strict=True)
    for place, (first, after) in enumerate(bounds, 1):
        chosen = theirs == place
        if chosen.any():
            yield Length(
                first,
                after - 1 if after is not None else None,
                int(chosen.sum()),
                {
                    name: Mean(
                        figure(value[chosen].mean()),
                        board.interval(value[chosen]),
                    )
                    for name, value in values.items()
                },
            )
