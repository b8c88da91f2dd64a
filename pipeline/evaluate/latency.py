"""How long single requests to the exported models take, in this process.

The models run as a server runs them, one request at a time, without a network
and without the decoding of requests around them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.evaluate.scoreboard import figure
from pipeline.measure import timing
from pipeline.measure.requests import Requests
from serving import signatures

if TYPE_CHECKING:
    # TensorFlow is in it; a release is shown without.
    from pipeline.evaluate.artefacts import Artefacts

LIVE = "live"
_ROUNDS = 300
# In which memory is found and threads are started.
_WARM_UP = 20


def measure(
    bundle: Artefacts,
    asked: Requests,
    retrieved: np.ndarray,
    published: Artefacts | None = None,
) -> dict[str, tuple[float, ...]]:
    """Microseconds of single requests, by model.

    Args:
        bundle: With both stages and the fused model.
        asked: Whose first requests are timed.
        retrieved: Items `[Q, K]` to rank.
        published: Both stages of the live version, which are timed in turn
            with the others as "live retrieval" and "live ranking".
    """
    rows = np.arange(min(len(asked), _ROUNDS))
    beside: dict[str, dict[str, np.ndarray]] = {
        signatures.RETRIEVAL: {},
        signatures.RANKING: {"candidate_ids": bundle.names(retrieved[rows])},
        signatures.RECOMMENDER: {
            "excluded_ids": np.full((len(rows), 1), b"", object)
        },
    }
    asked_of = {name: (bundle, name) for name in beside}
    if published is not None:
        for name in (signatures.RETRIEVAL, signatures.RANKING):
            asked_of[f"{LIVE} {name}"] = (published, name)
    calls = {
        shown: _in_turn(
            [
                models.call(
                    asked.take(rows[row : row + 1]),
                    name,
                    signatures.SERVING_DEFAULT,
                    **{
                        key: value[row : row + 1]
                        for key, value in beside[name].items()
                    },
                )
                for row in rows
            ]
        )
        for shown, (models, name) in asked_of.items()
    }
    taken = timing.samples(calls, _WARM_UP + _ROUNDS)
    return {
        name: tuple(figure(value, 1) for value in found[_WARM_UP:])
        for name, found in taken.items()
    }


def _in_turn(calls: Sequence[Callable[[], object]]) -> Callable[[], object]:
    """One call that makes these one after the other, over and over."""
    turn = itertools.cycle(calls)
    return lambda: next(turn)()
