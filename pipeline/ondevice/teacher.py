"""What the two-stage teacher would answer at moments of the log.

The final models are asked, those that ship: the student is to imitate what
they say, not to repeat what they learned from.

Shape letters: N moments, L history, K candidates.
"""

from pathlib import Path

import numpy as np

from models.config import FIRST_ITEM, at_most
from pipeline.measure import requests, search
from pipeline.measure.requests import Requests
from pipeline.ranking import lists
from pipeline.ranking import train as train_ranking
from pipeline.retrieval import train as train_retrieval
from pipeline.run.config import Config
from pipeline.tables import past
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import TRAIN, VALIDATION

_CHUNK = 8_192


def moments(
    config: Config, prepared: Prepared, rng: np.random.Generator
) -> Requests:
    """Moments of the train part, and of validation where models refit.

    Targets that may not be recommended, as they were in the history, are
    left out, and so are those outside the catalogue or beyond the items that
    the student knows.

    Args:
        config: `student.max_histories` of them are drawn.
    """
    sequences = prepared.sequences()
    last = last_part(config)
    items = sequences.item_indices
    stop = FIRST_ITEM + at_most(config.student.max_items)
    events = np.flatnonzero(
        (sequences.parts <= last) & (items >= FIRST_ITEM) & (items < stop)
    )
    limit = at_most(config.student.max_histories)
    if len(events) > limit:
        events = np.sort(rng.choice(events, limit, replace=False))
    rows = past.users_of(sequences)[events]
    stops = past.stops(sequences, prepared.split)[events]
    histories = past.histories(sequences, rows, stops, last)
    return requests.recommendable(
        prepared, Requests.before(sequences, events, histories)
    )


def last_part(config: Config) -> int:
    """The last part of the log that histories are drawn of."""
    return VALIDATION if config.retrieval.refit else TRAIN


def ask(
    config: Config, prepared: Prepared, ranking: Path, asked: Requests
) -> search.Answer:
    """Asks both stages, as the exported recommender does.

    Args:
        config: `index.num_candidates` are retrieved, by exact search.
        ranking: Directory of the train-ranking step; it holds both models.
        asked: N moments.

    Returns:
        Two-stage scores `[N, K]` and the items `[N, K]` they are of, in the
        order of retrieval, 0 where there are fewer.
    """
    model = train_ranking.load(config, prepared, ranking)
    towers = train_retrieval.load(config, prepared, ranking / "retrieval")
    rank = lists.by_blocks(lambda *given: model(*given)["scores"])
    k = min(config.index.num_candidates, len(prepared.items.ids) - FIRST_ITEM)
    scores = np.zeros((len(asked), k), np.float32)
    found = np.zeros((len(asked), k), np.int32)
    for chunk in search.blocks(len(asked), _CHUNK):
        part = asked.take(chunk)
        inputs = part.inputs(prepared, config.retrieval.history_length)
        hidden = requests.hidden(prepared, part.histories)
        found[chunk] = items = lists.retrieve(towers, inputs, hidden, k)[1]
        for block in search.blocks(len(chunk), lists.BLOCK):
            scores[chunk[block]] = rank(block, inputs, items)
    return scores, found
