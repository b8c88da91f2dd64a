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

A mistake of the caller (wrong dtype, unknown feature) is raised, never hidden
behind a degraded answer.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from serving import signatures
from serving.client import calls, channel, fallback, messages, plans, retry
from serving.client.query import (
    Degraded,
    Items,
    Query,
    Recommendations,
)
from serving.errors import ServingError

# What is asked first, where another may follow, may use this share of the
# deadline; what retrieval leaves is ranking's.
_FIRST_SHARE = 0.6
_FUSED_RETRY_SECONDS = 30.0


@dataclass
class Policy:
    """Plans recommendations over both stages.

    Attributes:
        plans: Questions to single models.
        fused: "auto" asks `recommender` where it is deployed; "off" never.
        popular: Fallback item ids, most popular first.
    """

    plans: plans.Plans
    fused: str = "auto"
    popular: tuple[str, ...] = ()
    _no_fused_until: float = field(default=0.0, repr=False)

    def __post_init__(self) -> None:
        if self.fused not in ("auto", "off"):
            raise ServingError(
                '`fused` must be "auto" or "off". Received: '
                f'{self.fused!r}. "auto" uses `recommender` where it is '
                "deployed.",
                "INVALID_ARGUMENT",
            )

    def recommend(
        self,
        queries: Sequence[Query],
        k: int,
        deadline: retry.Deadline,
        trace: calls.Trace,
    ) -> calls.Plan:
        """Plans the whole question; returns `Recommendations` a query."""
        if self.fused == "auto" and time.monotonic() >= self._no_fused_until:
            is_shared = self._shared(signatures.RECOMMENDER)
            part = deadline if is_shared else deadline.part(_FIRST_SHARE)
            try:
                return (yield from self._fused(queries, k, part, trace))
            except ServingError as error:
                _raise_mistake(error)
                if error.code == "NOT_FOUND":
                    self._no_fused_until = (
                        time.monotonic() + _FUSED_RETRY_SECONDS
                    )
                elif error.code in retry.SILENT and is_shared:
                    # The same servers would not answer for two stages either,
                    # and of the time there is nothing left.
                    return self._popular(queries, k, trace, error)
        return (yield from self._two_stages(queries, k, deadline, trace))

    def _fused(
        self,
        queries: Sequence[Query],
        k: int,
        deadline: retry.Deadline,
        trace: calls.Trace,
    ) -> calls.Plan:
        began = time.monotonic()
        model, signature = signatures.RECOMMENDER, signatures.SERVING_DEFAULT
        if any(query.diversity for query in queries):
            signature = signatures.WITH_DIVERSITY
        response = yield from self.plans.caller.predict(
            model,
            signature,
            self.plans.version,
            lambda inputs: messages.predict_request(
                model, signature, self.plans.version, inputs, queries
            ),
            deadline,
            trace,
        )
        found = messages.lists(response, "item_ids", len(queries))
        width = messages.array(response, "item_ids").shape[1]
        if k > width:
            # The fused model's length is fixed at export; two calls have more.
            return (yield from self._two_stages(queries, k, deadline, trace))
        latency_ms = (time.monotonic() - began) * 1e3
        return [
            Recommendations(
                item_ids[:k],
                scores[:k],
                response.model_spec.version.value,
                retrieval_ms=latency_ms,
                fused=True,
                retries=trace.retries,
            )
            for item_ids, scores in found
        ]

    def _two_stages(
        self,
        queries: Sequence[Query],
        k: int,
        deadline: retry.Deadline,
        trace: calls.Trace,
    ) -> calls.Plan:
        retrieved: list[Items] = []
        began = time.monotonic()
        attempt = 0
        while True:
            part = deadline.part(_FIRST_SHARE)
            try:
                retrieved = yield from self.plans.retrieve(
                    queries, None, part, trace
                )
            except ServingError as error:
                _raise_mistake(error)
                if retrieved:
                    return _unranked(retrieved, k, trace, error)
                return (
                    yield from self._without_retrieval(
                        queries, k, deadline, trace, error
                    )
                )
            retrieval_ms = (time.monotonic() - began) * 1e3
            first = trace.replica
            try:
                ranked = yield from self.plans.rank(
                    queries,
                    [items.item_ids for items in retrieved],
                    retrieved[0].version,
                    deadline,
                    trace,
                )
            except ServingError as error:
                _raise_mistake(error)
                attempt += 1
                pause = self.plans.caller.policy.backoff(attempt)
                if (
                    error.code == "NOT_FOUND"
                    and time.monotonic() - began + pause < self._patience
                    and (yield from self._has_ranking(deadline))
                ):
                    # A swap: ranking may not be there yet, or retrieval may
                    # have moved on meanwhile, so both are asked again.
                    # At another replica, which may have the other version.
                    trace.retries += 1
                    trace.avoid, trace.replica = first, ""
                    yield calls.Pause(pause)
                    continue
                return _unranked(retrieved, k, trace, error)
            return [
                Recommendations(
                    items.item_ids[:k],
                    items.scores[:k],
                    items.version,
                    degraded=(
                        Degraded.DIVERSITY_UNAVAILABLE
                        if query.diversity
                        else Degraded.NOTHING
                    ),
                    retrieval_ms=retrieval_ms,
                    ranking_ms=items.latency_ms,
                    retries=trace.retries,
                )
                for query, items in zip(queries, ranked, strict=True)
            ]

    @property
    def _patience(self) -> float:
        return self.plans.caller.policy.swap_wait_seconds

    def _has_ranking(self, deadline: retry.Deadline) -> calls.Plan:
        """Whether any version of `ranking` is, or will be, served."""
        try:
            found = yield from self.plans.status([signatures.RANKING], deadline)
        except ServingError:
            # Whatever is wrong there, waiting for a version does not help.
            return False
        return any(row.state != "END" for row in found)

    def _without_retrieval(
        self,
        queries: Sequence[Query],
        k: int,
        deadline: retry.Deadline,
        trace: calls.Trace,
        reason: ServingError,
    ) -> calls.Plan:
        """Ranks the popular items, if ranking answers; else gives them."""
        if not self.popular:
            raise reason
        began = time.monotonic()
        if reason.code in retry.GONE and self._shared(signatures.RANKING):
            return self._popular(queries, k, trace, reason)
        candidates = [
            fallback.choose(self.popular, query, len(self.popular))
            for query in queries
        ]
        try:
            ranked = yield from self.plans.rank(
                queries, candidates, None, deadline, trace
            )
        except ServingError as error:
            _raise_mistake(error)
            return self._popular(queries, k, trace, reason)
        return [
            Recommendations(
                items.item_ids[:k],
                items.scores[:k],
                items.version,
                degraded=Degraded.RETRIEVAL_UNAVAILABLE,
                ranking_ms=(time.monotonic() - began) * 1e3,
                retries=trace.retries,
                reason=str(reason),
            )
            for items in ranked
        ]

    def _shared(self, model: str) -> bool:
        """Whether a model sits on the very servers that retrieval sits on."""
        known = self.plans.caller.targets
        return channel.replicas(known, model) == channel.replicas(
            known, self.plans.retrieval_model
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
        answers = []
        for query in queries:
            chosen = fallback.choose(self.popular, query, k)
            answers.append(
                Recommendations(
                    chosen,
                    (math.nan,) * len(chosen),
                    0,
                    degraded=Degraded.BOTH_UNAVAILABLE,
                    retries=trace.retries,
                    reason=str(reason),
                )
            )
        return answers


def _raise_mistake(error: ServingError) -> None:
    if error.code not in retry.ABSENT:
        raise error


def _unranked(
    retrieved: Sequence[Items], k: int, trace: calls.Trace, reason: ServingError
) -> list[Recommendations]:
    return [
        Recommendations(
            items.item_ids[:k],
            items.scores[:k],
            items.version,
            degraded=Degraded.RANKING_UNAVAILABLE,
            retrieval_ms=items.latency_ms,
            retries=trace.retries,
            reason=str(reason),
        )
        for items in retrieved
    ]
