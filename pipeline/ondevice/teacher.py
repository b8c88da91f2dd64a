"""What the two-stage teacher would answer at moments of the log.

The final models are asked, those that ship: the student is to imitate what
they say, not to repeat what they learned from.

Shape letters: N moments, L history, K candidates.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from models.features import FIRST_ITEM
from pipeline.measure import metrics, queries
from pipeline.measure.metrics import Ragged
from pipeline.ranking import lists
from pipeline.ranking import train as train_ranking
from pipeline.retrieval import batches
from pipeline.retrieval import train as train_retrieval
from pipeline.run.config import Config
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import TRAIN, VALIDATION

_BLOCK = 256
_CHUNK = 8_192


@dataclass(frozen=True)
class Moments:
    """Histories with the item that came next.

    Attributes:
        rows: Sequences row of each one's user, int64 `[N]`.
        events: The event to come, int64 `[N]`.
        histories: All that was before it.
        targets: Its item, int32 `[N]`.
    """

    rows: np.ndarray
    events: np.ndarray
    histories: Ragged
    targets: np.ndarray

    def __len__(self) -> int:
        """Number of moments."""
        return len(self.rows)


@dataclass(frozen=True)
class Opinions:
    """The teacher's scores.

    Attributes:
        candidates: int32 `[N, K]`, 0 where there are fewer.
        scores: float32 `[N, K]`, two-stage scores.
    """

    candidates: np.ndarray
    scores: np.ndarray


def moments(
    config: Config, prepared: Prepared, rng: np.random.Generator
) -> Moments:
    """Moments of the train part, and of validation where models refit.

    Targets that may not be recommended, as they were in the history, are
    left out, and so are those outside the catalogue.

    Args:
        config: `student.max_histories` of them are drawn.
        prepared: The prepared tables.
        rng: Draws them.
    """
    sequences = prepared.sequences()
    last = VALIDATION if config.retrieval.refit else TRAIN
    events = np.flatnonzero(
        (sequences.parts <= last) & (sequences.item_indices >= FIRST_ITEM)
    )
    limit = config.student.max_histories
    if limit and len(events) > limit:
        events = np.sort(rng.choice(events, limit, replace=False))
    rows = batches.users_of(sequences)[events]
    stops = batches.stops(sequences, prepared.split)[events]
    past = queries.past(sequences, rows, stops, last)
    targets = sequences.item_indices[events]
    barred = queries.hidden(prepared, past)
    new = ~metrics.find_hits(targets[:, None], barred)[:, 0]
    return Moments(
        rows[new], events[new], past.take(np.flatnonzero(new)), targets[new]
    )


def ask(
    config: Config,
    prepared: Prepared,
    ranking: Path,
    rows: np.ndarray,
    events: np.ndarray,
    histories: Ragged,
) -> Opinions:
    """Asks both stages, as the exported recommender does.

    Args:
        config: `index.num_candidates` are retrieved, by exact search.
        prepared: The prepared tables.
        ranking: Directory of the train-ranking step; it holds both models.
        rows: Whose moments, sequences rows `[N]`.
        events: Whose context the requests carry `[N]`.
        histories: What was seen, N rows.
    """
    model = train_ranking.load(config, prepared, ranking)
    towers = train_retrieval.load(config, prepared, ranking / "retrieval")

    @tf.function(reduce_retracing=True)
    def rank(history, user, features, context, items):  # type: ignore
        return model(history, user, features, context, items)["scores"]

    k = min(config.index.num_candidates, len(prepared.items.ids) - FIRST_ITEM)
    candidates = np.zeros((len(rows), k), np.int32)
    scores = np.zeros((len(rows), k), np.float32)
    for start in range(0, len(rows), _CHUNK):
        chunk = np.arange(start, min(start + _CHUNK, len(rows)))
        asked = lists.requests(
            prepared,
            rows[chunk],
            events[chunk],
            histories.take(chunk),
            config.retrieval.history_length,
        )
        candidates[chunk] = lists.retrieve(towers, asked, k)[1]
        for first in range(0, len(chunk), _BLOCK):
            block = np.arange(first, min(first + _BLOCK, len(chunk)))
            # One shape, one trace.
            padded = np.resize(block, _BLOCK)
            inputs = tf.nest.map_structure(tf.constant, asked.slice(padded))
            found = rank(*inputs, tf.constant(candidates[chunk][padded]))
            scores[chunk[block]] = found.numpy()[: len(block)]
    return Opinions(candidates, scores)
