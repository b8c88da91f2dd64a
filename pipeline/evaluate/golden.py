"""A few requests with the answers that were evaluated.

Leaves `golden.json`: whoever serves the bundle elsewhere, in another process
or on another server, asks the same and must be answered the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from pipeline.evaluate.scoreboard import LISTED
from pipeline.measure.requests import Requests
from pipeline.run import manifest
from serving import signatures

if TYPE_CHECKING:
    # TensorFlow is in it; a release is shown without.
    from pipeline.evaluate.artefacts import Artefacts

FILE = "golden.json"
_COUNT = 8
Values: TypeAlias = Sequence[object]


@dataclass(frozen=True)
class Case:
    """Requests to one model in one call.

    Attributes:
        model: Its name.
        inputs: Of the signature, one row a request.
        item_ids: The first places of each answer; "" pads.
        scores: Likewise.
    """

    model: str
    inputs: Mapping[str, Values]
    item_ids: Sequence[Sequence[str]]
    scores: Sequence[Sequence[float]]


def write(directory: Path, bundle: Artefacts, asked: Requests) -> None:
    """Keeps requests to both stages with the first places of their answers."""
    few = asked.take(np.arange(min(_COUNT, len(asked))))
    inputs = {
        name: _plain(np.asarray(values))
        for name, values in bundle.request(few).items()
    }
    retrieved = bundle.retrieve(few)
    candidates = {"candidate_ids": _plain(bundle.names(retrieved[1]))}
    manifest.write_json(
        directory / FILE,
        [
            {
                "model": model,
                "inputs": given,
                "item_ids": _plain(bundle.names(items)[:, :LISTED]),
                "scores": _plain(scores[:, :LISTED]),
            }
            for model, given, (scores, items) in (
                (signatures.RETRIEVAL, inputs, retrieved),
                (
                    signatures.RANKING,
                    inputs | candidates,
                    bundle.rank(few, retrieved[1]),
                ),
            )
        ],
    )


def read(directory: Path) -> list[Case]:
    """What `write` kept; none where nothing is."""
    path = directory / FILE
    if not path.exists():
        return []
    return [Case(**values) for values in json.loads(path.read_text("utf-8"))]


def _plain(values: np.ndarray) -> Values:
    """Arrays as JSON writes them; what is no number as null."""
    if values.dtype.kind == "f":
        kept = values.astype(object)
        kept[~np.isfinite(values)] = None
        return kept.tolist()
    text = [
        value.decode() if isinstance(value, bytes) else str(value)
        for value in values.ravel()
    ]
    return np.array(text, object).reshape(values.shape).tolist()
