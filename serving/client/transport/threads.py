"""Calls that block their thread until the answer or the deadline."""

import functools
import time
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

import grpc

from serving.client.transport import forks
from serving.client.transport.channel import (
    STATUS,
    Answer,
    Call,
    Method,
    reaching,
)
from serving.client.transport.connections import Connections

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def blocking(
    method: Callable[Concatenate[Any, _Given], Coroutine[Any, Any, _Result]],
) -> Callable[Concatenate[Any, _Given], _Result]:
    """Makes a plain method of a coroutine that waits for `Threads` only.

    Nothing in it needs an event loop, so its first step is the whole way.
    """

    @functools.wraps(method)
    def asked(
        self: Any, /, *args: _Given.args, **kwargs: _Given.kwargs
    ) -> _Result:
        busy = object()
        forks.begin(busy)
        try:
            method(self, *args, **kwargs).send(None)
        except StopIteration as done:
            return done.value
        finally:
            forks.end(busy)
        raise RuntimeError("A blocking client waited for an event loop.")

    return asked


class Threads(Connections):
    """Connections that threads share."""

    interceptor = grpc.UnaryUnaryClientInterceptor

    def _open(self, target: str) -> grpc.Channel:
        options = reaching(target, self._options)
        opened = (
            grpc.insecure_channel(target, options)
            if self._credentials is None
            else grpc.secure_channel(target, self._credentials, options)
        )
        return grpc.intercept_channel(opened, *self._interceptors)

    def close(self) -> None:
        """Closes the connections."""
        for opened in self.shut():
            opened.close()

    async def send(self, method: Method[Answer], call: Call) -> Answer:
        """Returns the answer, or raises `CallFailed`."""
        try:
            return self.stub(method, call.target)(
                call.request,
                timeout=call.timeout_seconds,
                metadata=call.metadata,
            )
        # A channel that is closed raises a ValueError.
        except (grpc.RpcError, ValueError) as error:
            raise self.failed(error, call) from error

    async def pause(self, seconds: float) -> None:
        """Waits before the next call."""
        time.sleep(seconds)

    def probe(self, call: Call, told: Callable[[str], None]) -> None:
        """Asks for the status while nobody waits; tells gRPC's code."""
        try:
            future = self.stub(STATUS, call.target).future(
                call.request,
                timeout=call.timeout_seconds,
                metadata=call.metadata,
            )
        except ValueError as error:
            raise self.failed(error, call) from error
        forks.begin(call)

        def note(done: grpc.Future) -> None:
            forks.end(call)
            told(done.code().name)

        future.add_done_callback(note)
