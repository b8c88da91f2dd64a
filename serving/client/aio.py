"""The client for asyncio: the same questions, awaited."""

import asyncio
from collections.abc import Sequence
from typing import Any, overload

import grpc
import grpc.aio

from serving import signatures
from serving.client import base, calls
from serving.client.query import (
    Items,
    Query,
    Recommendations,
    VersionStatus,
)


class AsyncRecommenderClient(base.Base):
    """Asks model servers for recommendations from an event loop.

    The twin of `serving.client.RecommenderClient`: same options, same answers,
    same rules; its methods are coroutines. One client belongs to one loop.

    Args:
        targets: One address, a list of replicas, or a mapping from model name
            ("*" for the others) to either.
        **options: See `serving.client.base.Base`.

    Example:
        async with AsyncRecommenderClient("127.0.0.1:8500") as client:
            answer = await client.recommend(Query(history=["50", "181"]))
    """

    @overload
    async def retrieve(
        self,
        query: Query,
        k: int | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> Items: ...

    @overload
    async def retrieve(
        self,
        query: Sequence[Query],
        k: int | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> list[Items]: ...

    async def retrieve(
        self,
        query: Query | Sequence[Query],
        k: int | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> Items | list[Items]:
        """Asks the first stage for its best `k` items (None: all it has)."""
        base.check_k(k)
        queries, one = base.rows(query)
        plan = self._plans.retrieve(queries, k, *self._start(timeout_seconds))
        return await self._answer(plan, queries, one)

    @overload
    async def rank(
        self,
        query: Query,
        candidate_ids: Sequence[str],
        *,
        version: int | None = None,
        in_order: bool = False,
        timeout_seconds: float | None = None,
    ) -> Items: ...

    @overload
    async def rank(
        self,
        query: Sequence[Query],
        candidate_ids: Sequence[Sequence[str]],
        *,
        version: int | None = None,
        in_order: bool = False,
        timeout_seconds: float | None = None,
    ) -> list[Items]: ...

    async def rank(
        self,
        query: Query | Sequence[Query],
        candidate_ids: Sequence[Any],
        *,
        version: int | None = None,
        in_order: bool = False,
        timeout_seconds: float | None = None,
    ) -> Items | list[Items]:
        """Asks the second stage for the order; see the twin."""
        queries, one = base.rows(query)
        plan = self._plans.rank(
            queries,
            [candidate_ids] if one else candidate_ids,
            version,
            *self._start(timeout_seconds),
            signature=(
                signatures.SCORE if in_order else signatures.SERVING_DEFAULT
            ),
            swap_wait=version is not None,
        )
        return await self._answer(plan, queries, one)

    @overload
    async def recommend(
        self,
        query: Query,
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
    ) -> Recommendations: ...

    @overload
    async def recommend(
        self,
        query: Sequence[Query],
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
    ) -> list[Recommendations]: ...

    async def recommend(
        self,
        query: Query | Sequence[Query],
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
    ) -> Recommendations | list[Recommendations]:
        """Asks both stages for the best `k` items.

        The answer is degraded, and says so, when a stage does not answer; see
        `serving.client.policy`.
        """
        base.check_k(k)
        queries, one = base.rows(query)
        plan = self._policy.recommend(queries, k, *self._start(timeout_seconds))
        return await self._answer(plan, queries, one)

    @overload
    async def similar_items(
        self,
        item_id: str,
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
    ) -> Items: ...

    @overload
    async def similar_items(
        self,
        item_id: list[str] | tuple[str, ...],
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
    ) -> list[Items]: ...

    async def similar_items(
        self,
        item_id: str | list[str] | tuple[str, ...],
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
    ) -> Items | list[Items]:
        """Asks for the items nearest to one, or to each of several."""
        base.check_k(k)
        one = isinstance(item_id, str)
        ids = [item_id] if isinstance(item_id, str) else list(item_id)
        plan = self._plans.similar_items(ids, k, *self._start(timeout_seconds))
        return await self._answer(plan, ids, one)

    async def status(
        self,
        models: Sequence[str] = base.MODELS,
        *,
        timeout_seconds: float | None = None,
    ) -> list[VersionStatus]:
        """Lists every version the servers know of, unknown models left out."""
        deadline, _ = self._start(timeout_seconds)
        found: list[VersionStatus] = await self._drive(
            self._plans.status(models, deadline)
        )
        return found

    async def close(self) -> None:
        """Closes the connections; the client cannot be used afterwards."""
        for opened in self._channels.values():
            await opened.close()

    async def __aenter__(self) -> "AsyncRecommenderClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _answer(
        self, plan: calls.Plan, queries: list[Any], one: bool
    ) -> Any:
        if not queries:
            return []
        found = await self._drive(plan)
        return found[0] if one else found

    async def _drive(self, plan: calls.Plan) -> Any:
        """Carries a plan out: sends its calls, sleeps its pauses."""
        try:
            step = next(plan)
            while True:
                if isinstance(step, calls.Pause):
                    await asyncio.sleep(step.seconds)
                    step = plan.send(None)
                    continue
                try:
                    response = await self._stub(step, grpc.aio)(
                        step.request, timeout=step.timeout_seconds
                    )
                except grpc.RpcError as error:
                    step = plan.throw(base.failed(error, step))
                else:
                    step = plan.send(response)
        except StopIteration as done:
            return done.value
