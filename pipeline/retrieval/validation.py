"""Validation of retrieval while it trains: exact, over the whole catalogue.

Kept out of Keras metrics, which see only a batch and slow training down
several times. Each user is asked once, with the history in front of the
validation part; items of that history are never recommended, unless the data
set is one of repeat consumption or the split random, where recommending them
is part of the (tutorial) protocol.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from models.retrieval import RetrievalModel
from pipeline.measure import metrics, requests, search
from pipeline.measure.requests import Requests
from pipeline.retrieval import feed
from pipeline.tables import past
from pipeline.tables.prepared import Prepared, require_questions
from pipeline.tables.ragged import Ragged
from pipeline.tables.schema import VALIDATION

_CUTOFFS = (10, 100)


def draw(
    source: feed.Feed, prepared: Prepared, num_users: int, seed: int
) -> Requests:
    """Asks at most `num_users` (0 for all) users, from a log of any size.

    Raises:
        DataError: If nobody has an event in validation.
    """
    asked = []
    for chunk in source.chunks():
        later = chunk.sequences.parts == VALIDATION
        users = np.unique(past.users_of(chunk.sequences)[later])
        asked.append(users + chunk.first_row)
    rows = np.concatenate(asked)
    require_questions(
        prepared.split,
        len(rows),
        len(prepared.users.ids) - 2,
        prepared.items.num_known - 2,
    )
    rows = requests.draw(rows, num_users, seed)
    held = feed.pick(source, rows)
    found = requests.once(
        held, VALIDATION, np.flatnonzero(held.parts == VALIDATION)
    )
    return dataclasses.replace(found, rows=rows[found.rows])


def measure(
    prepared: Prepared,
    asked: Requests,
    history_length: int,
    model: RetrievalModel,
) -> dict[str, float]:
    """NDCG and recall at 10 and 100, averaged over users."""
    candidates = model.candidate_embeddings()
    inputs = asked.inputs(prepared, history_length)

    def score(rows: np.ndarray) -> np.ndarray:
        query = tf.nest.map_structure(tf.constant, inputs.take(rows))
        return model.query_embeddings(query).numpy() @ candidates.T

    hidden = (
        Ragged.empty(len(asked))
        if prepared.split == "random"
        else requests.hidden(prepared, asked.histories)
    )
    scores, items = search.find(
        score, max(_CUTOFFS), hidden, search.rows_at_once(len(candidates))
    )
    hits = metrics.find_hits(items, asked.relevant, scores)
    # Items outside the catalogue share one index and count once here.
    counts = np.minimum(asked.num_relevant, asked.relevant.lengths + 1)
    return {
        name: round(value, 5)
        for name, value in metrics.means(hits, counts, _CUTOFFS).items()
    }
