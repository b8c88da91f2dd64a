"""Calls that are awaited on one event loop."""

import asyncio
from collections.abc import Callable

import grpc
import grpc.aio

from serving.client.transport import failures, forks
from serving.client.transport.channel import (
    STATUS,
    Answer,
    Call,
    Method,
    reaching,
)
from serving.client.transport.connections import Connections
from serving.errors import ServingError

# Under way; the loop itself holds tasks only weakly.
_probes: set[asyncio.Future[None]] = set()


class Loop(Connections):
    """Connections of the first event loop that asks."""

    interceptor = grpc.aio.UnaryUnaryClientInterceptor

    _loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> None:
        """Takes note of a question; raises where it cannot be asked."""
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
        # The class, as this has no end: see there.
        forks.begin(Loop)
        super().begin()

    def _open(self, target: str) -> grpc.aio.Channel:
        options = reaching(target, self._options)
        rest = options, None, self._interceptors
        if self._credentials is None:
            return grpc.aio.insecure_channel(target, *rest)
        return grpc.aio.secure_channel(target, self._credentials, *rest)

    async def close(self) -> None:
        """Closes the connections."""
        for opened in self.shut():
            await opened.close()

    async def send(self, method: Method[Answer], call: Call) -> Answer:
        """Returns the answer, or raises `CallFailed`."""
        sent = None
        try:
            sent = self.stub(method, call.target)(
                call.request,
                timeout=call.timeout_seconds,
                metadata=call.metadata,
            )
            return await sent
        except (grpc.RpcError, grpc.aio.UsageError) as error:
            # An error is easily part of a circle, and the frames of its
            # traceback hold the channel, which must go when it is closed.
            error.with_traceback(None)
            raise self.failed(error, call) from error
        except asyncio.CancelledError as error:
            # Either the caller's task was cancelled, or `close()` did it.
            if self.is_closed and sent is not None and sent.cancelled():
                raise failures.Closed from error
            raise
        finally:
            sent = None

    async def pause(self, seconds: float) -> None:
        """Waits before the next call."""
        await asyncio.sleep(seconds)

    def probe(self, call: Call, told: Callable[[str], None]) -> None:
        """Asks for the status while nobody waits; tells gRPC's code."""

        async def ask() -> None:
            code = "OK"
            try:
                await self.send(STATUS, call)
            except failures.CallFailed as failure:
                code = failure.code
            except failures.Closed:
                return
            told(code)

        probe = asyncio.ensure_future(ask())
        _probes.add(probe)
        probe.add_done_callback(_probes.discard)
