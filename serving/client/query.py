"""What callers hand over and what they get back.

Plain frozen dataclasses of Python values, no arrays: they print well, compare,
pickle and turn into JSON. `item_ids` and `scores` always have equal lengths
and go from best to worst unless a method says otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

RANKING_UNAVAILABLE = "ranking unavailable"
RETRIEVAL_UNAVAILABLE = "retrieval unavailable"
BOTH_UNAVAILABLE = "retrieval and ranking unavailable"
DIVERSITY_UNAVAILABLE = "diversity unavailable"


@dataclass(frozen=True)
class Query:
    """Who asks: everything known at request time, all of it optional.

    Attributes:
        user_id: "" for an anonymous user; unknown ids are answered.
        history: Item ids the user interacted with, most recent **last**, any
            length; the model keeps the last it can use and recommends none
            of them.
        features: User and context features by the model's input names; those
            left out are sent as missing ("", NaN or 0).
        excluded_ids: Items that must not be answered.
        diversity: 0 to 1, how much the items of a recommendation shall differ
            from each other; 0 orders by relevance alone. Needs `recommender`.
    """

    user_id: str = ""
    history: Sequence[str] = ()
    features: Mapping[str, Any] = field(default_factory=dict)
    excluded_ids: Sequence[str] = ()
    diversity: float = 0.0


@dataclass(frozen=True)
class Items:
    """A scored list from one call of one model.

    Attributes:
        item_ids: Best first.
        scores: Of `item_ids`; comparable within one answer only.
        version: Of the model that answered.
        latency_ms: Of the call as the caller saw it, retries included.
        predicted_ratings: Of `item_ids`, from `score` alone and only where
            the model was trained on ratings.
    """

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]
    version: int
    latency_ms: float
    predicted_ratings: tuple[float, ...] = ()


@dataclass(frozen=True)
class Recommendations:
    """The answer of both stages, or the best that could be had.

    Attributes:
        item_ids: Best first.
        scores: Of the ranking model; of retrieval, or NaN for popular items,
            when `degraded` says so.
        version: That answered in both stages; 0 when none did.
        degraded: "" for a whole answer, else what was missing: "ranking
            unavailable" (retrieval's order), "retrieval unavailable" (popular
            items, ranked), "retrieval and ranking unavailable" (popular items
            as given), "diversity unavailable" (ordered by relevance alone).
        retrieval_ms: Latency of the first stage, retries included.
        ranking_ms: Latency of the second stage, retries included.
        fused: Whether one call to `recommender` gave the answer; its latency
            is then all in `retrieval_ms`.
        retries: Calls made beyond the necessary ones.
        reason: Why the answer is degraded, for logs.
    """

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]
    version: int
    degraded: str = ""
    retrieval_ms: float = 0.0
    ranking_ms: float = 0.0
    fused: bool = False
    retries: int = 0
    reason: str = ""

    @property
    def latency_ms(self) -> float:
        """Both stages together."""
        return self.retrieval_ms + self.ranking_ms


@dataclass(frozen=True)
class VersionStatus:
    """One version of one model as the server reports it.

    Attributes:
        model: Its name.
        version: Its number.
        state: "START", "LOADING", "AVAILABLE", "UNLOADING" or "END".
        error: Why it could not be loaded; "" otherwise.
    """

    model: str
    version: int
    state: str
    error: str = ""
