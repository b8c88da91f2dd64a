"""Lists of items from everybody who can be asked without a server."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.config import FIRST_ITEM
from pipeline.evaluate.baselines import Baseline
from pipeline.explore.catalogue import Catalogue
from pipeline.measure import search
from pipeline.tables.ragged import Ragged
from serving.ondevice.bundle import OnDevice

# What a list holds: more than is shown, so that a place can be told.
LENGTH = 200
STUDENT = "student"


@dataclass(frozen=True)
class Column:
    """One list, or why there is none.

    Attributes:
        name: Who was asked.
        ids: Best first.
        scores: Of `ids`; comparable within one list only.
        latency_ms: Of the answer, as it was seen here.
        version: Of the model, 0 where it has none.
        error: "" unless nobody answered.
    """

    name: str
    ids: Sequence[str] = ()
    scores: Sequence[float] = ()
    latency_ms: float = 0.0
    version: int = 0
    error: str = ""


def of_student(
    bundle: OnDevice,
    catalogue: Catalogue,
    history: Sequence[str],
    excluded: Sequence[str],
    passes: np.ndarray,
) -> Column:
    """Asks the on-device model.

    It takes no filter: what passes of its list is left, as an application
    would do it.

    Args:
        excluded: Ids that stay out of the list.
        passes: The rows that may be in it, bool `[N]`.
    """
    started = time.perf_counter()
    found = bundle.recommend(history, excluded)
    took = _milliseconds(started)
    found = [
        (item, score) for item, score in found if passes[catalogue.row(item)]
    ]
    return Column(
        STUDENT,
        [item for item, _ in found],
        [score for _, score in found],
        took,
        int(bundle.config.get("version", 0)),
    )


def of_baseline(
    baseline: Baseline,
    catalogue: Catalogue,
    history: Sequence[str],
    hidden: Sequence[str],
    passes: np.ndarray,
) -> Column:
    """Asks a baseline, as the evaluation does.

    Args:
        hidden: Ids that stay out of the list.
        passes: The rows that may be in it, bool `[N]`.
    """
    rows = Ragged.of([[catalogue.row(item) for item in history]])
    without = Ragged.of(
        [[catalogue.row(item) for item in hidden if catalogue.knows(item)]]
    )
    started = time.perf_counter()
    scores, items = search.find(
        lambda _: np.where(passes, baseline.score(rows), -np.inf),
        LENGTH,
        without,
    )
    took = _milliseconds(started)
    kept = (items[0] >= FIRST_ITEM) & np.isfinite(scores[0])
    return Column(
        baseline.name,
        [str(catalogue.ids[row]) for row in items[0][kept]],
        scores[0][kept].tolist(),
        took,
    )


def _milliseconds(started: float) -> float:
    return (time.perf_counter() - started) * 1e3
