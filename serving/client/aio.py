"""The client for asyncio: the same questions, awaited."""

import asyncio
from collections.abc import Sequence
from typing import Any, overload

import grpc
import grpc.aio

from serving.client import (
    base,
    calls,
    channel,
    failures,
    forks,
    headers,
    retry,
)
from serving.client.query import (
    Items,
    Query,
    Recommendations,
    VersionStatus,
)
from serving.errors import ServingError


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

    _interceptor = grpc.aio.UnaryUnaryClientInterceptor

    def __init__(self, targets: channel.Targets, **options: Any) -> None:
        super().__init__(targets, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._probes: set[asyncio.Future[None]] = set()

    @overload
    async def retrieve(
        self,
        query: Query,
        k: int | None = None,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> Items: ...

    @overload
    async def retrieve(
        self,
        query: Sequence[Query],
        k: int | None = None,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> list[Items]: ...

    async def retrieve(
        self,
        query: Query | Sequence[Query],
        k: int | None = None,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> Items | list[Items]:
        """Asks the first stage for its best `k` items (None: all it has)."""
        start = timeout_seconds, metadata
        return await self._answer(self._retrieve(query, k, start))

    @overload
    async def rank(
        self,
        query: Query,
        candidate_ids: Sequence[str],
        *,
        version: int | None = None,
        in_order: bool = False,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
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
        metadata: headers.Metadata | None = None,
    ) -> list[Items]: ...

    async def rank(
        self,
        query: Query | Sequence[Query],
        candidate_ids: Sequence[Any],
        *,
        version: int | None = None,
        in_order: bool = False,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> Items | list[Items]:
        """Asks the second stage for the order; see the twin."""
        start = timeout_seconds, metadata
        return await self._answer(
            self._rank(query, candidate_ids, version, in_order, start)
        )

    @overload
    async def recommend(
        self,
        query: Query,
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> Recommendations: ...

    @overload
    async def recommend(
        self,
        query: Sequence[Query],
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> list[Recommendations]: ...

    async def recommend(
        self,
        query: Query | Sequence[Query],
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> Recommendations | list[Recommendations]:
        """Asks both stages for the best `k` items.

        The answer is degraded, and says so, when a stage does not answer; see
        `serving.client.policy`.
        """
        start = timeout_seconds, metadata
        return await self._answer(self._recommend(query, k, start))

    @overload
    async def similar_items(
        self,
        item_id: str,
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> Items: ...

    @overload
    async def similar_items(
        self,
        item_id: list[str] | tuple[str, ...],
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> list[Items]: ...

    async def similar_items(
        self,
        item_id: str | list[str] | tuple[str, ...],
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> Items | list[Items]:
        """Asks for the items nearest to one, or to each of several."""
        start = timeout_seconds, metadata
        return await self._answer(self._similar_items(item_id, k, start))

    async def status(
        self,
        models: Sequence[str] = base.MODELS,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> list[VersionStatus]:
        """Lists every version the servers know of, unknown models left out."""
        start = timeout_seconds, metadata
        found: list[VersionStatus] = await self._answer(
            self._status(models, start)
        )
        return found

    async def close(self) -> None:
        """Closes the connections; the client cannot be used afterwards."""
        self._is_closed = True
        for opened in list(self._channels.values()):
            await opened.close()

    async def __aenter__(self) -> "AsyncRecommenderClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _open(self, target: str) -> Any:
        if self._credentials is None:
            return grpc.aio.insecure_channel(
                target, self._options, interceptors=self._interceptors
            )
        return grpc.aio.secure_channel(
            target,
            self._credentials,
            self._options,
            interceptors=self._interceptors,
        )

    async def _answer(self, question: base.Question) -> Any:
        found = await self._drive(question)
        return found[0] if question.one else found

    def _start(self, start: base.Start) -> tuple[retry.Deadline, headers.Pairs]:
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise ServingError(
                "An AsyncRecommenderClient must stay with one event loop. "
                "Received: a question from another one (asyncio.run starts a "
                "new one each time). Make a client a loop, or ask with "
                "RecommenderClient, which serves all threads.",
                "FAILED_PRECONDITION",
            )
        self._loop = loop
        # Its class, as this has no end: see there.
        forks.begin(type(self))
        return super()._start(start)

    async def _drive(self, question: base.Question) -> Any:
        """Carries a plan out: sends its calls, sleeps its pauses."""
        plan = question.plan
        try:
            step = next(plan)
            while True:
                response = None
                if isinstance(step, calls.Pause):
                    await asyncio.sleep(step.seconds)
                elif isinstance(step, calls.Probe):
                    probe = asyncio.ensure_future(
                        self._probe(step.call, question.metadata)
                    )
                    # The loop itself holds tasks only weakly.
                    self._probes.add(probe)
                    probe.add_done_callback(self._probes.discard)
                else:
                    try:
                        response = await self._ask(step, question.metadata)
                    except failures.CallFailed as failure:
                        step = plan.throw(failure)
                        continue
                step = plan.send(response)
        except StopIteration as done:
            return done.value

    async def _ask(self, call: calls.Call, metadata: headers.Pairs) -> Any:
        sent = None
        try:
            sent = self._stub(call)(
                call.request, timeout=call.timeout_seconds, metadata=metadata
            )
            return await sent
        except (grpc.RpcError, grpc.aio.UsageError) as error:
            raise self._failed(error, call) from error
        except asyncio.CancelledError as error:
            # Either the caller's task was cancelled, or `close()` did it.
            if self._is_closed and sent is not None and sent.cancelled():
                raise base.closed() from error
            raise

    async def _probe(self, call: calls.Call, metadata: headers.Pairs) -> None:
        """Sends a call that nobody waits for."""
        code = "OK"
        try:
            await self._ask(call, metadata)
        except failures.CallFailed as failure:
            code = failure.code
        except ServingError:
            return  # Closed meanwhile.
        self._probed(call, code)
