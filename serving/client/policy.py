"""How a recommendation is put together, and what is left when a part fails.

One fused call where `recommender` is deployed; else retrieval, then ranking
pinned to the version that retrieval answered with; else the best list still
to be had, always flagged:

| retrieval | ranking | answer | `degraded` |
|---|---|---|---|
| up | up | ranked | "" |
| up | down | retrieval's order | "ranking unavailable" |
| down | up | popular items, ranked | "retrieval unavailable" |
| down | down | popular items | "retrieval and ranking unavailable" |

Filters hold in every answer: popular items are left out where a query has
some, and an answer that none pass says so.

A mistake of the caller (wrong dtype, unknown feature) is raised, never hidden
behind a degraded answer.
"""

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from serving import signatures
from serving.client import fallback
from serving.client.query import Degraded, Items, Query, Recommendations
from serving.client.stages import Stages
from serving.client.transport import calls, channel, retry
from serving.errors import InvalidRequest, ServingError

# What is asked first, where another may follow, may use this share of the
# deadline; what retrieval leaves is ranking's.
_FIRST_SHARE = 0.6
_FUSED_RETRY_SECONDS = 30.0


@dataclass
class Policy:
    """Answers recommendations from both stages."""

    stages: Stages
    fused: str = "auto"
    popular: tuple[str, ...] = ()
    # By label: what a release on trial lacks, the live one may have.
    _no_fused_until: dict[str, float] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.fused not in ("auto", "off"):
            raise InvalidRequest(
                '`fused` must be "auto" or "off". Received: '
                f'{self.fused!r}. "auto" uses `recommender` where it is '
                "deployed."
            )

    async def recommend(
        self, queries: Sequence[Query], k: int, trace: calls.Trace
    ) -> list[Recommendations]:
        """Answers the whole question; `Recommendations` a query."""
        found = await self._answers(queries, k, trace)
        return [
            _explained(query, answer)
            for query, answer in zip(queries, found, strict=True)
        ]

    async def _answers(
        self, queries: Sequence[Query], k: int, trace: calls.Trace
    ) -> list[Recommendations]:
        is_due = time.monotonic() >= self._no_fused_until.get(trace.label, 0.0)
        if self.fused == "auto" and is_due:
            is_shared = self._shared(signatures.RECOMMENDER)
            try:
                with trace.part(1.0 if is_shared else _FIRST_SHARE):
                    return await self._fused(queries, k, trace)
            except ServingError as error:
                _raise_mistake(error)
                if error.code == "NOT_FOUND":
                    self._no_fused_until[trace.label] = (
                        time.monotonic() + _FUSED_RETRY_SECONDS
                    )
                elif error.code in retry.SILENT and is_shared:
                    # The same servers would not answer for two stages either,
                    # and of the time there is nothing left.
                    return self._popular(queries, k, trace, error)
        return await self._two_stages(queries, k, trace)

    async def _fused(
        self, queries: Sequence[Query], k: int, trace: calls.Trace
    ) -> list[Recommendations]:
        found, width = await self.stages.recommend(queries, trace)
        if k > width:
            # The fused model's length is fixed at export; two calls have more.
            return await self._two_stages(queries, k, trace)
        return [
            replace(_answer(items, k, trace, (items.latency_ms, 0)), fused=True)
            for items in found
        ]

    async def _two_stages(
        self, queries: Sequence[Query], k: int, trace: calls.Trace
    ) -> list[Recommendations]:
        retrieved: list[Items] = []
        began = time.monotonic()
        for attempt in itertools.count(1):
            try:
                with trace.part(_FIRST_SHARE):
                    retrieved = await self.stages.retrieve(queries, None, trace)
            except ServingError as error:
                _raise_mistake(error)
                if not retrieved:
                    return await self._without_retrieval(
                        queries, k, trace, error
                    )
                return _unranked(retrieved, k, trace, error)
            retrieval_ms = (time.monotonic() - began) * 1e3
            first = trace.replica
            try:
                ranked = await self.stages.rank(
                    [
                        (query, items.item_ids)
                        for query, items in zip(queries, retrieved, strict=True)
                    ],
                    retrieved[0].version,
                    trace,
                )
                break
            except ServingError as error:
                _raise_mistake(error)
                policy = self.stages.caller.policy
                pause = policy.backoff(attempt)
                if (
                    error.code != "NOT_FOUND"
                    or time.monotonic() - began + pause
                    >= policy.swap_wait_seconds
                    or not await self._has_ranking(trace)
                ):
                    return _unranked(retrieved, k, trace, error)
            # A swap: ranking may not be there yet, or retrieval may have
            # moved on meanwhile, so both are asked again. At another replica,
            # which may have the other version.
            trace.retries += 1
            trace.avoid, trace.replica = first, ""
            await self.stages.caller.connections.pause(pause)
        return [
            _answer(
                items,
                k,
                trace,
                (retrieval_ms, items.latency_ms),
                Degraded.DIVERSITY_UNAVAILABLE
                if query.diversity
                else Degraded.NOTHING,
            )
            for query, items in zip(queries, ranked, strict=True)
        ]

    async def _has_ranking(self, trace: calls.Trace) -> bool:
        """Whether any version of `ranking` is, or will be, served."""
        try:
            found = await self.stages.status([signatures.RANKING], trace)
        except ServingError:
            # Whatever is wrong there, waiting for a version does not help.
            return False
        return any(row.state != "END" for row in found)

    async def _without_retrieval(
        self,
        queries: Sequence[Query],
        k: int,
        trace: calls.Trace,
        reason: ServingError,
    ) -> list[Recommendations]:
        """Ranks the popular items, if ranking answers; else gives them."""
        is_gone = reason.code in retry.GONE
        if not self.popular or is_gone and self._shared(signatures.RANKING):
            return self._popular(queries, k, trace, reason)
        began = time.monotonic()
        everything = len(self.popular)
        rows = [
            (query, fallback.choose(self.popular, query, everything))
            for query in queries
        ]
        try:
            ranked = await self.stages.rank(rows, None, trace)
        except ServingError as error:
            _raise_mistake(error)
            return self._popular(queries, k, trace, reason)
        took = 0.0, (time.monotonic() - began) * 1e3
        lacks = Degraded.RETRIEVAL_UNAVAILABLE
        return [
            _answer(items, k, trace, took, lacks, reason) for items in ranked
        ]

    def _shared(self, model: str) -> bool:
        """Whether a model sits on the very servers that retrieval sits on."""
        known = self.stages.caller.targets
        return channel.replicas(known, model) == channel.replicas(
            known, self.stages.retrieval_model
        )

    def _popular(
        self,
        queries: Sequence[Query],
        k: int,
        trace: calls.Trace,
        reason: ServingError,
    ) -> list[Recommendations]:
        if not self.popular:
            raise reason
        chosen = [fallback.choose(self.popular, query, k) for query in queries]
        lacks = Degraded.BOTH_UNAVAILABLE
        return [
            _answer(
                Items(item_ids, (math.nan,) * len(item_ids), 0, 0.0),
                *(k, trace, (0.0, 0.0), lacks, reason),
            )
            for item_ids in chosen
        ]


def _raise_mistake(error: ServingError) -> None:
    if error.code not in retry.ABSENT:
        raise error


def _explained(query: Query, answer: Recommendations) -> Recommendations:
    """Says why an answer to a query with filters is empty."""
    if not query.filters or answer.item_ids:
        return answer
    named = "; ".join(
        f"{name} {', '.join(values)}" for name, values in query.filters.items()
    )
    if answer.degraded:
        return replace(
            answer,
            reason=f"{answer.reason} Popular items are left out: which of them "
            f"pass the filters ({named}) is not known.",
        )
    return replace(
        answer,
        degraded=Degraded.NOTHING_PASSES,
        reason="No item that is neither seen nor excluded passes the filters "
        f"({named}).",
    )


def _unranked(
    retrieved: Sequence[Items], k: int, trace: calls.Trace, reason: ServingError
) -> list[Recommendations]:
    lacks = Degraded.RANKING_UNAVAILABLE
    return [
        _answer(items, k, trace, (items.latency_ms, 0.0), lacks, reason)
        for items in retrieved
    ]


def _answer(
    items: Items,
    k: int,
    trace: calls.Trace,
    took: tuple[float, float],
    degraded: Degraded = Degraded.NOTHING,
    reason: ServingError | None = None,
) -> Recommendations:
    """Makes an answer of a list; `took` is each stage's milliseconds."""
    return Recommendations(
        items.item_ids[:k],
        items.scores[:k],
        items.version,
        degraded,
        *took,
        retries=trace.retries,
        reason=str(reason or ""),
    )
