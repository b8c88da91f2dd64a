"""Baselines that every model of the project has to beat.

Classical recommenders without a network, each tuned on the validation part
and then fitted to everything before the part that is evaluated: `random`,
`popularity`, `recent_popularity`, `item_knn`, `ease`, `window_markov`. The
last three weigh the history by age, which moves them more than anything else.
Where users take the same item again there is `personal_frequency` too: what a
user took most, lately above all. Popularity decides among items of which a
baseline knows nothing.

Shape letters: B histories, N items with padding and out of vocabulary, K of
them up to the last with interactions.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from pipeline.measure import metrics, requests, search
from pipeline.measure.requests import Requests
from pipeline.ranking import cooccurrence
from pipeline.ranking.cooccurrence import Log
from pipeline.run import auto
from pipeline.tables.prepared import Prepared
from pipeline.tables.ragged import Ragged
from pipeline.tables.schema import PARTS, VALIDATION

NAMES = (
    "random",
    "popularity",
    "recent_popularity",
    "item_knn",
    "ease",
    "window_markov",
)
# Only where items of the history may be recommended.
PERSONAL = "personal_frequency"
# EASE inverts a dense matrix over the catalogue: 12,000 items take a minute
# and 2.5 GB, and both grow fast from there.
EASE_MAX_ITEMS = 12_500
# Beyond this the middle of its grid is taken: a solve a setting is too long.
_EASE_TUNED_ITEMS = 6_000
_SECONDS_A_DAY = 86_400
_DECAYS = (0.7, 0.8, 0.9, 1.0)
# What is tuned, and over what. Those under "fit" change the table, those under
# "decay" only how the history is weighed.
_GRIDS: dict[str, dict[str, tuple[float, ...]]] = {
    "random": {},
    "popularity": {},
    "recent_popularity": {"half_life_days": (1, 3, 7, 14, 30, 90, 365)},
    "item_knn": {"shrinkage": (5, 20), "decay": _DECAYS},
    "ease": {"regularisation": (100, 500, 1500), "decay": _DECAYS},
    "window_markov": {
        "window": (5, 10),
        "backward": (0.0, 0.5, 1.0),
        "decay": (0.6, 0.7, 0.8, 0.9),
    },
    PERSONAL: {"decay": (0.0, 0.7, 0.9, 0.95, 0.98, 0.99, 0.995, 1.0)},
}
# What makes the table of those that have one, of the settings under "fit".
_TABLES: dict[str, Callable[..., Any]] = {
    "item_knn": cooccurrence.item_knn,
    "ease": cooccurrence.ease,
    "window_markov": cooccurrence.window_markov,
}


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline.

    Attributes:
        name: One of `NAMES`, or `PERSONAL`.
        settings: Chosen on the validation part.
        items: Scores that do not depend on the history, `[N]`.
        table: Item-item weights `[K, K]`, None where only `items` counts.
    """

    name: str
    settings: dict[str, float]
    items: np.ndarray
    table: Any = field(default=None, repr=False)

    def score(self, histories: Ragged) -> np.ndarray:
        """Scores the catalogue for a block of histories, `[B, N]`."""
        scores = np.tile(self.items, (len(histories), 1))
        if self.name == PERSONAL:
            scores += cooccurrence.decayed(
                histories, len(self.items), self.settings["decay"], length=0
            ).toarray()
        elif self.table is not None:
            known = self.table.shape[0]
            weighed = cooccurrence.decayed(
                histories, len(self.items), self.settings["decay"]
            )
            found = weighed[:, :known] @ self.table
            scores[:, :known] += (
                found if isinstance(found, np.ndarray) else found.toarray()
            )
        return scores


def fit_all(
    prepared: Prepared,
    part: str = "test",
    seed: int = 0,
    seen: str = "excluded",
) -> Iterator[Baseline]:
    """Tunes on validation, fits to all before `part`, one after another.

    Args:
        seed: Of `random` and of the users drawn for tuning.
        seen: Whether items of the history are "excluded" from the lists.
    """
    users = auto.tuning_users(len(prepared.items.ids)).value
    asked = requests.make(prepared, "validation", "split", users, seed)
    tuning, log = (
        _before(prepared, end) for end in (VALIDATION, PARTS.index(part))
    )
    missing = left_out(prepared, part)
    for name in (*NAMES, *[PERSONAL] * prepared.repeat_consumption):
        if name in missing:
            continue
        settings = tune(name, tuning, asked, seed, seen)
        yield next(fit(name, log, [settings]))


def refit(
    prepared: Prepared, part: str, chosen: Mapping[str, dict[str, float]]
) -> Iterator[Baseline]:
    """Fits again what `fit_all` fitted, with the settings it chose, by name."""
    log = _before(prepared, PARTS.index(part))
    for name, settings in chosen.items():
        yield next(fit(name, log, [settings]))


def left_out(prepared: Prepared, part: str = "test") -> dict[str, str]:
    """Baselines that `fit_all` cannot fit, with the reason."""
    reason = _before(prepared, PARTS.index(part)).too_large(EASE_MAX_ITEMS)
    return {"ease": reason} if reason else {}


def _before(prepared: Prepared, part: int) -> Log:
    """The interactions of the parts before one."""
    sequences = prepared.sequences()
    return Log.of(sequences, sequences.parts < part, len(prepared.items.ids))


def tune(
    name: str, log: Log, asked: Requests, seed: int, seen: str = "excluded"
) -> dict[str, float]:
    """The settings with the best NDCG@10 on the queries."""
    grid = _GRIDS[name]
    if name == "ease" and log.num_known > _EASE_TUNED_ITEMS:
        grid = grid | {"regularisation": grid["regularisation"][1:2]}
    choices = [
        dict(zip(grid, values, strict=True))
        for values in product(*grid.values())
    ]
    if len(choices) == 1 or not len(asked):
        return choices[0]
    best, best_value = choices[0], -1.0
    for baseline in fit(name, log, choices):
        hits = find(baseline, asked, 10, seed, seen)
        value = metrics.ndcg_at_k(hits, asked.num_relevant, 10).mean()
        if value > best_value:
            best, best_value = baseline.settings, value
    return best


def fit(
    name: str, log: Log, choices: list[dict[str, float]]
) -> Iterator[Baseline]:
    """Fits one baseline with each of several settings, in their order.

    Settings that differ only in `decay` share a table.
    """
    popularity = log.popularity()
    # Small enough to decide only between items that score the same.
    tie_break = (1e-6 * popularity / max(popularity.max(), 1)).astype(
        np.float32
    )
    table, fitted = None, None
    for settings in choices:
        structure = {k: v for k, v in settings.items() if k != "decay"}
        items = tie_break
        if name == "popularity":
            items = popularity.astype(np.float32)
        elif name == "recent_popularity":
            items = log.popularity(
                settings["half_life_days"], _SECONDS_A_DAY
            ).astype(np.float32)
        elif name in _TABLES and structure != fitted:
            make, fitted = _TABLES[name], structure
            table = make(log.histories, log.num_known, **structure)
        yield Baseline(name, settings, items, table)


def find(
    baseline: Baseline,
    asked: Requests,
    k: int,
    seed: int = 0,
    seen: str = "excluded",
) -> np.ndarray:
    """Asks all queries and marks the hits in the lists, bool `[Q, k]`."""
    scores, items = recommend(baseline, asked.histories, k, seed, seen)
    return metrics.find_hits(items, asked.relevant, scores)


def recommend(
    baseline: Baseline,
    histories: Ragged,
    k: int,
    seed: int = 0,
    seen: str = "excluded",
) -> tuple[np.ndarray, np.ndarray]:
    """The best k items for each history: scores and items `[B, k]`."""

    def score(rows: np.ndarray) -> np.ndarray:
        if baseline.name != "random":
            return baseline.score(histories.take(rows))
        random = np.random.default_rng([seed, rows[0]])
        return random.random((len(rows), len(baseline.items)))

    hidden = Ragged.empty(len(histories)) if seen != "excluded" else histories
    block = search.rows_at_once(len(baseline.items))
    return search.find(score, k, hidden, block, seed)
