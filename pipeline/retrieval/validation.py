"""Validation of retrieval while it trains: exact, over the whole catalogue.

Kept out of Keras metrics, which see only a batch and slow training down
several times. Each user is asked once, with the history in front of the
validation part; items of that history are never recommended, unless the data
set is one of repeat consumption or the split random, where recommending them
is part of the (tutorial) protocol.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from models.features import FIRST_ITEM
from models.retrieval import RetrievalModel
from pipeline.measure import metrics
from pipeline.measure.metrics import Ragged
from pipeline.retrieval import batches, feed
from pipeline.tables.prepared import Prepared, require_questions
from pipeline.tables.schema import VALIDATION
from pipeline.tables.sequences import Sequences, keep, reorder

_BLOCK = 512


@dataclass(frozen=True)
class Questions:
    """Users asked in validation.

    Attributes:
        histories: int32 `[Q, L]`.
        user_index: int32 `[Q]`.
        user_features: Encoded columns `[Q, ...]`.
        context: Encoded columns `[Q]` of each first target.
        seen: Item indices not to recommend, one array a user.
        targets: Item indices to find, one array a user.
    """

    histories: np.ndarray
    user_index: np.ndarray
    user_features: dict[str, np.ndarray]
    context: dict[str, np.ndarray]
    seen: list[np.ndarray]
    targets: list[np.ndarray]

    @property
    def count(self) -> int:
        """Users asked, Q."""
        return len(self.user_index)


def make(
    sequences: Sequences,
    prepared: Prepared,
    history_length: int,
    num_users: int,
    rng: np.random.Generator,
    part: int = VALIDATION,
    user_rows: np.ndarray | None = None,
) -> Questions:
    """Draws at most `num_users` (0 for all) users with events in `part`.

    Args:
        sequences: Of the users to draw from.
        prepared: The tables of all users.
        history_length: L.
        num_users: See above.
        rng: Draws them.
        part: See above.
        user_rows: Their rows among all users; None where they are all.
    """
    events = keep(sequences, sequences.parts <= part)
    if prepared.split == "random":
        # Parts mix in time: put the history in front.
        users = batches.users_of(events)
        events = reorder(events, np.lexsort([events.parts, users]))
    ends = batches.part_stops(events, part)
    rows = np.flatnonzero(ends < events.offsets[1:])
    if num_users and len(rows) > num_users:
        rows = np.sort(rng.choice(rows, num_users, replace=False))
    ends = ends[rows]
    stops = events.offsets[rows + 1]
    hide = prepared.split != "random" and not prepared.repeat_consumption
    owners = rows if user_rows is None else user_rows[rows]
    return Questions(
        batches.histories(events, rows, ends, history_length),
        (owners + batches.FIRST_USER).astype(np.int32),
        batches.user_features(prepared.users, owners),
        {
            spec.name: events.context[spec.name][ends]
            for spec in prepared.context_specs
        },
        [
            events.item_indices[start:end] if hide else np.zeros(0, np.int32)
            for start, end in zip(events.offsets[rows], ends, strict=True)
        ],
        [
            np.unique(events.item_indices[end:stop])
            for end, stop in zip(ends, stops, strict=True)
        ],
    )


def draw(
    source: feed.Feed,
    prepared: Prepared,
    history_length: int,
    num_users: int,
    rng: np.random.Generator,
) -> Questions:
    """Draws the users that `make` would, from a log of any size.

    Raises:
        DataError: If nobody has an event in validation.
    """
    asked = []
    for chunk in source.chunks():
        later = chunk.sequences.parts == VALIDATION
        users = np.unique(batches.users_of(chunk.sequences)[later])
        asked.append(users + chunk.first_row)
    rows = np.concatenate(asked)
    require_questions(
        prepared.split,
        len(rows),
        len(prepared.users.ids) - 2,
        prepared.items.num_known - 2,
    )
    if num_users and len(rows) > num_users:
        rows = np.sort(rng.choice(rows, num_users, replace=False))
    held = feed.pick(source, rows)
    return make(held, prepared, history_length, 0, rng, VALIDATION, rows)


def queries(model: RetrievalModel, questions: Questions) -> np.ndarray:
    """Query vectors `[Q, D]`."""

    blocks = []
    for start in range(0, questions.count, _BLOCK):
        rows = slice(start, start + _BLOCK)
        blocks.append(
            model.query_embeddings(
                tf.constant(questions.histories[rows]),
                tf.constant(questions.user_index[rows]),
                {
                    name: tf.constant(values[rows])
                    for name, values in questions.user_features.items()
                },
                {
                    name: tf.constant(values[rows])
                    for name, values in questions.context.items()
                },
            ).numpy()
        )
    return np.concatenate(blocks)


def measure(
    model: RetrievalModel, questions: Questions, ks: tuple[int, ...] = (10, 100)
) -> dict[str, float]:
    """NDCG and recall at each cut-off, averaged over users."""
    candidates = model.candidate_embeddings()
    asked = queries(model, questions)
    hits = [np.zeros((0, max(ks)), bool)]
    for start in range(0, questions.count, _BLOCK):
        scores = asked[start : start + _BLOCK] @ candidates.T
        scores[:, :FIRST_ITEM] = -np.inf
        for row, seen in enumerate(questions.seen[start : start + _BLOCK]):
            scores[row, seen] = -np.inf
        values, items = metrics.top_k(scores, max(ks))
        targets = Ragged.of(questions.targets[start : start + _BLOCK])
        hits.append(metrics.find_hits(items, targets, values))
    found = np.concatenate(hits)
    counts = np.array([len(row) for row in questions.targets])
    return {
        f"{name}@{k}": round(
            float(per_user(found, counts, k).sum() / max(questions.count, 1)), 5
        )
        for k in ks
        for name, per_user in (
            ("ndcg", metrics.ndcg_at_k),
            ("recall", metrics.recall_at_k),
        )
    }
