"""The live version, asked the same as the new one.

It answers where it can: inputs that it does not take are left away, inputs
that it takes and this run no longer has are missing for it, as they would be
to callers. Where it cannot answer at all the gate goes by the baselines, so
that no change of a signature keeps a release from being decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.evaluate.artefacts import Artefacts
from pipeline.evaluate.details import OnSlice
from pipeline.evaluate.evaluation import HEADLINE, Live
from pipeline.evaluate.scoreboard import Board, figure
from pipeline.export import bundle as bundles
from pipeline.measure import metrics
from pipeline.measure.requests import Requests
from pipeline.measure.search import Answer
from pipeline.tables.prepared import Prepared
from serving import signatures
from serving.releases import history

# Queries below which a slice says nothing.
_ENOUGH = 30


@dataclass(frozen=True)
class Asked:
    """What came of it.

    Attributes:
        live: The version, and why it was not asked.
        without: Inputs that it takes and this run no longer has.
        answer: Of both stages; None where it was not asked.
        models: Its models; None likewise.
        fair: Queries without a target that it answers no more, since the item
            is gone from its catalogue, bool `[Q]`; None for all.
    """

    live: Live = Live()
    without: tuple[str, ...] = ()
    answer: Answer | None = None
    models: Artefacts | None = None
    fair: np.ndarray | None = None


def ask(
    serving: Path, exports: Path, prepared: Prepared, asked: Requests
) -> Asked:
    """Asks the live version, where it can answer these queries.

    Args:
        serving: Directory of the pointer.
        exports: Of the new version.
        prepared: What the queries are made of.
        asked: The queries.
    """
    released = history.read(serving)
    if not released:
        return Asked()
    version = released[0]
    lost = history.missing(serving, version)
    if lost:
        names = ", ".join(map(str, lost))
        return Asked(Live(version, f"it has no {names} any more"))
    models = {name: serving / name / str(version) for name in signatures.BUNDLE}
    theirs = bundles.read_manifest(models[signatures.RETRIEVAL])
    ours = bundles.read_manifest(exports / signatures.RETRIEVAL)
    if theirs["run"] != ours["run"]:
        other = f"it is of another run, {theirs['run']!r}"
        return Asked(Live(version, other))
    without = set(theirs["query_inputs"]) - set(ours["query_inputs"])
    try:
        published = Artefacts(models, prepared)
        retrieved = published.retrieve(asked)
        answer = published.rank(asked, retrieved[1])
    except (KeyError, TypeError, ValueError, tf.errors.OpError) as error:
        # Of another time, or of ops that are not here: no reason to be stuck.
        said = str(error).partition("\n")[0]
        return Asked(Live(version, f"it cannot be asked: {said}"))
    gone = set(bundles.read_gone(models[signatures.RETRIEVAL]))
    rows = np.array(
        [row for row, id_ in enumerate(prepared.items.ids) if id_ in gone],
        np.int64,
    )
    fair = _fair(asked, rows) if len(rows) else None
    return Asked(Live(version), tuple(sorted(without)), answer, published, fair)


def _fair(asked: Requests, gone: np.ndarray) -> np.ndarray | None:
    """Queries none of whose targets is gone, None where there are none."""
    targets = asked.relevant
    lost = targets.row_of_item[np.isin(targets.items, gone)]
    fair = np.bincount(lost, minlength=len(asked)) == 0
    return fair if fair.any() else None


def slices(
    board: Board,
    answers: Mapping[str, Answer],
    longest: np.ndarray,
    fair: np.ndarray | None = None,
) -> tuple[OnSlice, ...]:
    """Paired differences to the live version where an average may hide them.

    Args:
        board: Of the queries.
        answers: By model; without "live" there are none.
        longest: Lengths of the histories `[num_queries]`.
        fair: See `Asked`.
    """
    if "live" not in answers:
        return ()
    new, old = (
        board.values(answers[name])[HEADLINE] for name in ("two_stage", "live")
    )
    heavy = longest >= max(np.quantile(longest, 0.9), 1)
    chosen = {
        "new users": longest == 0,
        "heavy users": heavy,
        "new items": board.asks_new_items(),
    }
    found = []
    for name, rows in chosen.items():
        rows = rows if fair is None else rows & fair
        if rows.sum() >= _ENOUGH:
            paired = metrics.paired_difference(new[rows], old[rows])
            found.append(
                OnSlice(
                    name,
                    int(rows.sum()),
                    figure(old[rows].mean()),
                    figure(paired["difference"]),
                    figure(paired["low"]),
                    figure(paired["high"]),
                )
            )
    return tuple(found)
