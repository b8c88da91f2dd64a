"""Whether what the ranking model predicts comes true.

Its loss is a softmax over what was retrieved, so the softmax of its scores is
the probability it gives each candidate of being the next item, on condition
that the next is one of them. Predictions are binned and set against what
happened, as in Naeini et al. 2015 and Guo et al. 2017; bins are halvings, since
most of some hundred candidates are all but impossible.

Shape letters: Q queries, K candidates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.config import FIRST_ITEM
from pipeline.evaluate.scoreboard import figure
from pipeline.measure.search import Answer

# Halvings of 1; all below the last stand together.
_HALVINGS = 12
_TENTHS = 10
_DIGITS = 6


@dataclass(frozen=True)
class Bin:
    """Predictions that are close to each other.

    Attributes:
        count: How many.
        predicted: Their mean.
        observed: Mean of what happened.
    """

    count: int
    predicted: float
    observed: float


def probabilities(answer: Answer, following: np.ndarray) -> Iterator[Bin]:
    """Probabilities of candidates, from high to low.

    Args:
        answer: Scores and items `[Q, K]` of the ranking model.
        following: The item that came next, int `[Q]`.
    """
    scores, items = answer
    hits = (items == following[:, None]) & (items >= FIRST_ITEM)
    asked = hits.any(axis=1)
    there = items[asked] >= FIRST_ITEM
    logits = np.where(there, scores[asked].astype(np.float64), -np.inf)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-1e9))
    shares = weights / weights.sum(axis=1, keepdims=True)
    predicted, observed = shares[there], hits[asked][there]
    halvings = -np.log2(np.maximum(predicted, 2.0**-_HALVINGS))
    places = np.minimum(np.ceil(halvings).astype(int), _HALVINGS)
    for place in range(_HALVINGS + 1):
        chosen = places == place
        if chosen.any():
            yield _bin(predicted[chosen], observed[chosen])


def ratings(predicted: np.ndarray, observed: np.ndarray) -> Iterator[Bin]:
    """Ratings by tenths of the predictions, from low to high."""
    order = np.argsort(predicted, kind="stable")
    for chosen in np.array_split(order, _TENTHS):
        if len(chosen):
            yield _bin(predicted[chosen], observed[chosen])


def _bin(predicted: np.ndarray, observed: np.ndarray) -> Bin:
    return Bin(
        len(predicted),
        figure(predicted.mean(), _DIGITS),
        figure(observed.mean(), _DIGITS),
    )
