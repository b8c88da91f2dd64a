"""What callers hand over and what they get back.

Plain frozen dataclasses of Python values, no arrays: they print well, compare,
pickle and turn into JSON. `item_ids` and `scores` always have equal lengths
and go from best to worst unless a method says otherwise.
"""

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from serving import ids
from serving.errors import InvalidRequest


class Degraded(str, enum.Enum):
    """What an answer lacks; false when it lacks nothing.

    Members are strings as well, so they print, compare and turn into JSON as
    their text.

    Attributes:
        NOTHING: Both stages answered.
        RANKING_UNAVAILABLE: The items are in retrieval's order.
        RETRIEVAL_UNAVAILABLE: They are popular items, ranked.
        BOTH_UNAVAILABLE: They are popular items as given.
        DIVERSITY_UNAVAILABLE: They are ordered by relevance alone.
        NOTHING_PASSES: There are none: no item that may be answered passes
            the query's filters.
    """

    NOTHING = ""
    RANKING_UNAVAILABLE = "ranking unavailable"
    RETRIEVAL_UNAVAILABLE = "retrieval unavailable"
    BOTH_UNAVAILABLE = "retrieval and ranking unavailable"
    DIVERSITY_UNAVAILABLE = "diversity unavailable"
    NOTHING_PASSES = "no item passes the filters"

    __str__ = str.__str__

    def __format__(self, format_spec: str) -> str:
        """Formats the text, on every Python."""
        return str.__format__(self, format_spec)


RANKING_UNAVAILABLE = Degraded.RANKING_UNAVAILABLE
RETRIEVAL_UNAVAILABLE = Degraded.RETRIEVAL_UNAVAILABLE
BOTH_UNAVAILABLE = Degraded.BOTH_UNAVAILABLE


@dataclass(frozen=True)
class Query:
    """Who asks: everything known at request time, all of it optional.

    Attributes:
        user_id: "" for an anonymous user; unknown ids are answered.
        history: Item ids the user interacted with, most recent **last**, any
            length; the model keeps the last it can use and recommends none
            of them. Kept as a tuple, whatever it came in.
        features: User and context features by the model's input names; those
            left out are sent as missing ("", NaN or 0).
        excluded_ids: Items that must not be answered, in any order.
        diversity: 0 to 1, how much the items of a recommendation shall differ
            from each other; 0 orders by relevance alone. Needs `recommender`.
        filters: Values by item feature, such as `{"genres": ["Drama"]}`: an
            item is answered if it has any of them, of each feature.

    Raises:
        ServingError: If a value is not what it must be; see `serving.ids` for
            what an id and a list of ids are.
    """

    user_id: str = ""
    history: Sequence[str] = ()
    features: Mapping[str, Any] = field(default_factory=dict)
    excluded_ids: Collection[str] = ()
    diversity: float = 0.0
    filters: Mapping[str, Collection[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        read: dict[str, object] = {
            "user_id": ids.one(self.user_id, "user_id"),
            "history": ids.several(self.history, "history"),
            "excluded_ids": ids.several(
                self.excluded_ids, "excluded_ids", ordered=False
            ),
            "filters": _filters(self.filters),
        }
        for name, value in read.items():
            object.__setattr__(self, name, value)
        if not isinstance(self.features, Mapping):
            raise InvalidRequest(
                "`features` must map input names of the model to values. "
                f"Received: {self.features!r} (from Query.features). Write "
                '{"user_age": 30}, or leave it out.',
            )
        if (
            isinstance(self.diversity, bool)
            or not isinstance(self.diversity, Real)
            or not 0.0 <= self.diversity <= 1.0
        ):
            raise InvalidRequest(
                "`diversity` must be a number between 0 and 1. Received: "
                f"{self.diversity!r} (from Query.diversity). 0 orders by "
                "relevance alone."
            )


def _filters(given: object) -> dict[str, tuple[str, ...]]:
    """Reads filters; one without values would let nothing pass."""
    if not isinstance(given, Mapping):
        raise InvalidRequest(
            "`filters` must map item features to lists of values. Received: "
            f'{given!r} (from Query.filters). Write {{"genres": ["Drama"]}}, '
            "or leave it out."
        )
    found = {
        ids.one(name, "filters"): ids.several(
            values, f"filters[{name!r}]", ordered=False
        )
        for name, values in given.items()
    }
    for name, values in found.items():
        if not any(values):
            raise InvalidRequest(
                "A filter must name a value. Received: none for "
                f"{name!r} (from Query.filters). Leave {name!r} out to "
                "filter nothing."
            )
    return found


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
        label: That was asked for, "stable" or "canary" while a release is on
            trial; "" without one, and for a version that was pinned.
    """

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]
    version: int
    latency_ms: float
    predicted_ratings: tuple[float, ...] = ()
    label: str = ""


@dataclass(frozen=True)
class Recommendations:
    """The answer of both stages, or the best that could be had.

    Attributes:
        item_ids: Best first.
        scores: Of the ranking model; of retrieval, or NaN for popular items,
            when `degraded` says so.
        version: That answered in both stages; 0 when none did.
        degraded: What was missing; false for a whole answer.
        retrieval_ms: Latency of the first stage, retries included.
        ranking_ms: Latency of the second stage, retries included.
        fused: Whether one call to `recommender` gave the answer; its latency
            is then all in `retrieval_ms`.
        retries: Calls made beyond the necessary ones.
        reason: Why the answer is degraded, for logs.
        label: As for `Items`; "" when no model answered.
    """

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]
    version: int
    degraded: Degraded = Degraded.NOTHING
    retrieval_ms: float = 0.0
    ranking_ms: float = 0.0
    fused: bool = False
    retries: int = 0
    reason: str = ""
    label: str = ""

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
