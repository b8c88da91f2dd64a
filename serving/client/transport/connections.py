"""Open channels, one a target: what carries calls out."""

import abc
from collections.abc import Callable
from operator import methodcaller

import grpc

from serving.client.transport import channel, failures
from serving.client.transport.channel import Answer, Call, Method
from serving.errors import InvalidRequest


class Connections(abc.ABC):
    """Sends calls and waits, blocking or on an event loop.

    Without credentials in plaintext; the first interceptor is outermost.
    """

    interceptor: type

    def __init__(
        self,
        options: list[tuple[str, object]],
        credentials: grpc.ChannelCredentials | None,
        interceptors: tuple[object, ...] = (),
    ) -> None:
        for found in interceptors:
            if not isinstance(found, self.interceptor):
                raise InvalidRequest(
                    "An interceptor must be a "
                    f"{self.interceptor.__module__}."
                    f"{self.interceptor.__name__}. Received: {found!r}. "
                    "Threads and asyncio have one class each."
                )
        self._options, self._credentials = options, credentials
        self._interceptors = interceptors
        self.is_closed = False
        self._channels: dict[str, grpc.Channel] = {}
        self._stubs: dict[tuple[str, str], grpc.UnaryUnaryMultiCallable] = {}

    @abc.abstractmethod
    async def send(self, method: Method[Answer], call: Call) -> Answer:
        """Returns the answer, or raises `CallFailed`."""

    @abc.abstractmethod
    async def pause(self, seconds: float) -> None:
        """Waits before the next call."""

    @abc.abstractmethod
    def probe(self, call: Call, told: Callable[[str], None]) -> None:
        """Asks for the status while nobody waits; tells gRPC's code."""

    @abc.abstractmethod
    def _open(self, target: str) -> grpc.Channel:
        """Returns a channel to a target."""

    def begin(self) -> None:
        """Takes note of a question; raises where it cannot be asked."""
        if self.is_closed:
            raise failures.Closed

    def stub(
        self, method: Method[Answer], target: str
    ) -> grpc.UnaryUnaryMultiCallable:
        """Returns the callable of a method at a target, made once.

        Raises:
            Closed: After `shut`.
        """
        if self.is_closed:
            raise failures.Closed
        key = (target, method.path)
        stub = self._stubs.get(key)
        if stub is None:
            opened = self._channels.get(target)
            if opened is None:
                opened = self._channels.setdefault(target, self._open(target))
            stub = self._stubs[key] = opened.unary_unary(
                f"/tensorflow.serving.{method.path}",
                methodcaller("SerializeToString"),
                method.answer.FromString,
            )
        return stub

    def drop(self, target: str) -> None:
        """Forgets a connection, so that the next call opens one."""
        self._channels.pop(target, None)
        for key in list(self._stubs):
            if key[0] == target:
                self._stubs.pop(key, None)

    def shut(self) -> list[grpc.Channel]:
        """Refuses what comes from now on; returns what is to be closed.

        Nothing here keeps it: gRPC stops its thread with the last channel of
        asyncio, and one that is only collected when Python ends may wait for
        ever for a thread that has ended before.
        """
        self.is_closed = True
        opened = list(self._channels.values())
        self._channels.clear()
        self._stubs.clear()
        return opened

    def failed(self, error: Exception, call: Call) -> failures.CallFailed:
        """Reads code and details off gRPC's exception.

        Raises:
            Closed: If it is because of `shut`.
        """
        if self.is_closed:
            raise failures.Closed from error
        if not isinstance(error, grpc.RpcError):
            raise error
        code, details = error.code().name, error.details() or ""
        # TensorFlow Serving takes a label that it has not got for a malformed
        # request, also where it has not got the model: to us it is not there.
        if "Unrecognized servable version label" in details:
            code = "NOT_FOUND"
        proxy = channel.proxy(call.target, self._options)
        return failures.CallFailed(code, details, call.target, proxy)
