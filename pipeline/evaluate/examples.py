"""A few requests with every model's list, by title: for people to look at.

Leaves `examples.json` beside the evaluation. The requests are spread over the
lengths of the histories, so that new users stand beside old ones.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.evaluate.scoreboard import LISTED
from pipeline.measure.requests import Requests
from pipeline.measure.search import Answer
from pipeline.run import manifest
from pipeline.tables.prepared import Prepared

FILE = "examples.json"
_COUNT = 10
_UNKNOWN = "(unknown item)"


@dataclass(frozen=True)
class Example:
    """One request.

    Attributes:
        user: The user's id.
        length: Items in the whole history.
        history: Titles of its latest items, the latest first.
        targets: Titles of what was to be found.
        lists: Titles that each model offers, best first.
    """

    user: str
    length: int
    history: Sequence[str]
    targets: Sequence[str]
    lists: dict[str, Sequence[str]]


def write(
    directory: Path,
    prepared: Prepared,
    asked: Requests,
    answers: Mapping[str, Answer],
) -> None:
    """Keeps ten of the requests, with each model's lists."""
    order = np.argsort(asked.histories.lengths, kind="stable")
    places = np.linspace(0, len(order) - 1, min(_COUNT, len(order)))
    chosen = order[places.round().astype(int)]
    users = prepared.sequences().user_ids
    few = asked.take(chosen)
    manifest.write_json(
        directory / FILE,
        [
            dataclasses.asdict(
                Example(
                    str(users[few.rows[row]]),
                    int(few.histories.lengths[row]),
                    _titles(prepared, history[::-1]),
                    _titles(prepared, few.relevant.take(np.array([row])).items),
                    {
                        name: _titles(prepared, items[chosen[row], :LISTED])
                        for name, (_, items) in answers.items()
                    },
                )
            )
            for row, history in enumerate(few.histories.last(LISTED))
        ],
    )


def read(directory: Path) -> list[Example]:
    """The examples of an evaluation; none where it kept none."""
    path = directory / FILE
    if not path.exists():
        return []
    return [Example(**values) for values in json.loads(path.read_text("utf-8"))]


def _titles(prepared: Prepared, items: np.ndarray) -> Sequence[str]:
    """Titles, or ids where there are none; padding is left out."""
    names = prepared.items.titles, prepared.items.ids
    return tuple(
        str(names[0][item] or names[1][item]) or _UNKNOWN
        for item in items
        if item
    )
