"""Which events the retrieval models train on, and how much each counts.

A rule is settled by a pass over the whole log (a cut in time) and then weighs
any chunk of it, so that training from memory and from a stream of row groups
trains on the same events.

Shape letters: E events, N + 2 item indices.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from models.config import FIRST_ITEM, RetrievalConfig
from pipeline.retrieval import popularity, quantiles
from pipeline.retrieval.feed import Chunk, Feed
from pipeline.tables import past
from pipeline.tables.schema import TRAIN, VALIDATION
from pipeline.warm.seen import Block

Which = Literal["base", "final"]


@dataclass(frozen=True)
class Rule:
    """What a model trains on.

    Attributes:
        which: "base" leaves the held-out events and validation out, "final"
            takes validation where `refit` says so.
        split: Name of the split.
        refit: See there.
        share: Of the train events, held out from "base".
        seed: Of what a random split holds out.
        cut: Time from which a temporal split's train events are held out.
    """

    which: Which
    split: str
    refit: bool
    share: float
    seed: int
    cut: int = np.iinfo(np.int64).max

    def held_out(self, chunk: Chunk) -> np.ndarray:
        """Train events that "base" never has as targets, bool `[E]`.

        The last share of each user's train events for leave_last_out, the
        last share by time for temporal, a random share for random.
        """
        sequences = chunk.sequences
        train = sequences.parts == TRAIN
        if self.share == 0:
            return np.zeros(len(train), bool)
        if self.split == "temporal":
            return train & (sequences.timestamps >= self.cut)
        if self.split == "random":
            # One draw an event of the whole log, wherever the chunk starts.
            bits = np.random.PCG64(self.seed)
            bits.advance(chunk.first_event)
            draws = np.random.Generator(bits).random(len(train))
            return train & (draws < self.share)
        ends = past.part_stops(sequences, VALIDATION)
        counts = ends - sequences.offsets[:-1]
        held = np.where(counts >= 3, np.ceil(counts * self.share), 0)
        last = (ends - held)[past.users_of(sequences)]
        return train & (np.arange(len(train)) >= last)

    def learns(self, chunk: Chunk) -> np.ndarray:
        """Events that are learned from, and not kept from it, bool `[E]`."""
        parts = chunk.sequences.parts
        if self.which == "base":
            return (parts == TRAIN) & ~self.held_out(chunk)
        return parts <= (VALIDATION if self.refit else TRAIN)

    def weights(self, chunk: Chunk) -> np.ndarray:
        """How much each event counts as a training target, float32 `[E]`."""
        sequences = chunk.sequences
        used = self.learns(chunk) & (sequences.item_indices >= FIRST_ITEM)
        weights = used.astype(np.float32)
        if sequences.weights is not None:
            weights *= np.maximum(sequences.weights, 0)
        return weights


def rule(
    options: RetrievalConfig, split: str, which: Which, seed: int, feed: Feed
) -> Rule:
    """Settles the rule of a model for a log."""
    made = Rule(which, split, options.refit, options.ranking_holdout, seed)
    if split != "temporal" or which != "base" or not made.share:
        return made

    def times() -> Iterator[np.ndarray]:
        for chunk in feed.chunks():
            yield chunk.sequences.timestamps[chunk.sequences.parts == TRAIN]

    # The smallest time with at most the share at it or later; rounded,
    # because 0.9 times a count is seldom the whole number it should be.
    kept = 1 - made.share
    found = quantiles.select(
        times, lambda n: np.array([np.ceil(np.round(kept * (n - 1), 6))], int)
    )
    return replace(made, cut=int(found[0])) if len(found) else made


def count(feed: Feed, made: Rule, num_rows: int) -> tuple[np.ndarray, int]:
    """Weight of each item among the targets `[N + 2]`, and their number."""
    counts, total = np.zeros(num_rows), 0
    for chunk in feed.chunks():
        weights = made.weights(chunk)
        counts += np.bincount(
            chunk.sequences.item_indices, weights, minlength=num_rows
        )
        total += int((weights > 0).sum())
    counts[:FIRST_ITEM] = 0
    return counts, total


def recent(feed: Feed, made: Rule, num_rows: int) -> popularity.Trends:
    """How popular each item was among the targets, moment by moment."""

    def read() -> Iterator[popularity.Events]:
        for chunk in feed.chunks():
            events = chunk.sequences
            yield events.item_indices, events.timestamps, made.weights(chunk)

    return popularity.make(read, num_rows)


def blocks(feed: Feed, made: Rule) -> Iterator[Block]:
    """The whole log with what a model learns of it."""
    for chunk in feed.chunks():
        yield Block(chunk.first_row, chunk.sequences, made.learns(chunk))


class Reach(NamedTuple):
    """How far ahead states learn to predict.

    Attributes:
        events: Interactions ahead.
        seconds: How long before a target it may be asked for, 0 for a count
            of events only.
    """

    events: int = 1
    seconds: int = 0


def reach(split: str, feed: Feed) -> Reach:
    """What validation asks is what training learns.

    A temporal split asks once a user, when the part begins, for all that
    follows in it: sessions ago, and for as many as users do.
    """
    if split != "temporal":
        return Reach()
    sizes, ends = [], []
    for chunk in feed.chunks():
        events = chunk.sequences
        later = events.parts == VALIDATION
        if later.any():
            users = past.users_of(events)[later]
            sizes.append(np.unique(users, return_counts=True)[1])
            times = events.timestamps[later]
            ends.append((times.min(), times.max()))
    if not sizes:
        return Reach()
    first, last = min(low for low, _ in ends), max(high for _, high in ends)
    # The median: a few users do most, but each counts once.
    return Reach(round(np.median(np.concatenate(sizes))), int(last - first))
