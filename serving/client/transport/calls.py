"""One message to the replicas of a model, sent again where that is safe.

The rules are coroutines that wait for nothing but their connections. Those of
the asyncio client hand over to the event loop meanwhile, those of the blocking
client block, so both go by the same lines.
"""

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from serving.client.transport import channel, failures, fleet, headers, retry
from serving.client.transport.channel import Answer, Call, Method, Request
from serving.client.transport.connections import Connections
from serving.errors import InvalidRequest
from serving.wire import serving_pb2


@dataclass
class Trace:
    """What one request of the caller may take, and has cost so far.

    Attributes:
        timeout_seconds: From now on, for all its calls together. Whoever waits
            for ever for a server that hangs is never answered.
        metadata: Headers of its calls.
        retries: Calls made beyond the necessary ones.
        replica: That answered last; it is asked again where it can be.
        avoid: Replica that answered with a version nobody else has.
        swap_wait: Whether to wait for a version that is NOT_FOUND yet.
        label: Of the versions that are asked, "" for the latest.

    Raises:
        ServingError: If the timeout is not a positive and finite number.
    """

    timeout_seconds: float
    metadata: headers.Pairs = ()
    retries: int = 0
    replica: str = ""
    avoid: str = ""
    swap_wait: bool = False
    label: str = ""

    def __post_init__(self) -> None:
        seconds = self.timeout_seconds
        if not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
            raise InvalidRequest(
                f"`timeout_seconds` must be positive. Received: {seconds!r}. "
                "Give the seconds a caller can wait; there is no waiting for "
                "ever."
            )
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Returns the seconds left, negative when there are none."""
        return self._end - time.monotonic()

    @contextlib.contextmanager
    def part(self, share: float) -> Iterator[None]:
        """Leaves what is asked inside a share of the time left.

        It is still the caller's `timeout_seconds` that messages name.
        """
        whole = self._end
        self._end = time.monotonic() + max(self.remaining(), 0.0) * share
        try:
            yield
        finally:
            self._end = whole

    def beside(self) -> "Trace":
        """Returns a trace of other calls in the same time."""
        other = copy.copy(self)
        other.retries, other.replica, other.avoid = 0, "", ""
        return other


# Addresses behind a name that are asked for what others lack.
_DRAWS = 4
# After these another replica may answer at once what one did not.
_ELSEWHERE = retry.SILENT | {"NOT_FOUND"}


def wanted(spec: serving_pb2.ModelSpec) -> fleet.Wanted:
    """Returns the model of a spec, and the version or label it pins."""
    is_pinned = spec.HasField("version")
    return spec.name, spec.version.value if is_pinned else spec.version_label


@dataclass
class Caller:
    """Asks models and tries again.

    Attributes:
        targets: Replicas by model name, "*" for the others.
        health: How the replicas have been answering.
    """

    targets: Mapping[str, tuple[str, ...]]
    policy: retry.Retry
    connections: Connections
    health: fleet.Health = field(default_factory=fleet.Health)

    async def ask(
        self,
        method: Method[Answer],
        spec: serving_pb2.ModelSpec,
        made: Callable[[str], Request],
        trace: Trace,
        refused: Sequence[str] = (),
    ) -> Answer:
        """Sends one message, again where `transport.fleet` says so.

        Args:
            method: What is asked.
            spec: Of whom.
            made: The message to a replica; what it raises ends the question.
            trace: What that may take, and has cost.
            refused: Replicas that are asked only where there is no other.
        """
        model = spec.name
        replicas = channel.replicas(self.targets, model)
        key = wanted(spec)
        swap_ends = -math.inf
        if trace.swap_wait:
            swap_ends = time.monotonic() + self.policy.swap_wait_seconds
        tried = [*refused, trace.avoid] if trace.avoid else [*refused]
        failed: list[failures.CallFailed] = []
        while True:
            for due in self.health.due(replicas):
                self._probe(model, due, trace.metadata)
            target, has_spare = self.health.choose(
                replicas, key, tried, trace.replica
            )
            if channel.is_several(target):
                has_spare |= not failed and self.health.tokens >= 1.0
            tried.append(target)
            request = made(target)
            kind = (method.path, model, request.ByteSize().bit_length())
            left = trace.remaining()
            call = Call(target, request, left, trace.metadata)
            try:
                response = await self._once(method, call, kind, has_spare)
            except failures.CallFailed as failure:
                failed.append(failure)
                pause = self._pause(replicas, key, tried, failed, swap_ends)
                if pause >= trace.remaining():
                    raise failures.translate(
                        failed, model, trace.timeout_seconds
                    ) from failure
            else:
                trace.replica = target
                return response
            trace.retries += 1
            if pause:
                await self.connections.pause(pause)

    async def _once(
        self,
        method: Method[Answer],
        call: Call,
        kind: fleet.Kind,
        has_spare: bool,
    ) -> Answer:
        """Sends one message to one replica and notes how that went."""
        if call.timeout_seconds <= 0:
            raise failures.CallFailed(
                "DEADLINE_EXCEEDED", "no time was left to ask", call.target
            )
        if has_spare:
            patience = self.health.patience(kind, call.timeout_seconds)
            call = replace(call, timeout_seconds=patience)
        began = time.monotonic()
        try:
            response = await self.connections.send(method, call)
        except failures.CallFailed as failure:
            if failure.code in retry.SILENT:
                self.health.failed(call.target)
            else:
                self.health.is_alive(call.target)
            raise
        self.health.is_alive(call.target)
        self.health.took(kind, time.monotonic() - began)
        return response

    def _pause(
        self,
        replicas: tuple[str, ...],
        key: fleet.Wanted,
        tried: list[str],
        failed: list[failures.CallFailed],
        swap_ends: float,
    ) -> float:
        """Seconds until the next call, infinite where there is none."""
        code = failed[-1].code
        target = tried[-1]
        pause = self.policy.backoff(len(failed))
        has_spare = self.health.has_spare(replicas, key, tried)
        is_free = has_spare and code in _ELSEWHERE
        waits = False
        if code == "NOT_FOUND":
            waits = time.monotonic() + pause < swap_ends
            # Behind a name another address may have what the one asked lacks.
            if (
                channel.is_several(target)
                and len(failed) < _DRAWS
                and self.health.may_have(target, key)
                and self.health.may_have(target, (key[0], ""))
            ):
                is_free = True
            # A rollout moves on: of a name only whole models are remembered.
            elif not (channel.is_several(target) and isinstance(key[1], int)):
                self.health.lacks(target, key)
        is_free = is_free and len(failed) < self.policy.attempts
        if not (is_free or waits or self._may_repeat(failed)):
            return math.inf
        if (
            has_spare
            or is_free
            or (code in retry.GONE and not set(replicas) <= set(tried))
        ):
            return 0.0
        tried.clear()
        return pause

    def _may_repeat(self, failed: list[failures.CallFailed]) -> bool:
        """Whether the failed call may be made again at a charge."""
        codes = [failure.code for failure in failed]
        again = retry.GONE
        if len(codes) == 1:
            again |= {"RESOURCE_EXHAUSTED"}
            # gRPC's turn is then with another address of the name.
            if channel.is_several(failed[0].target):
                again |= {"DEADLINE_EXCEEDED"}
        return (
            len(codes) < self.policy.attempts
            and codes[-1] in again
            and "NOT_FOUND" not in codes
            and self.health.may_repeat()
        )

    def _probe(self, model: str, target: str, metadata: headers.Pairs) -> None:
        """Asks a replica for as little as an answer takes: is it back?"""
        request = serving_pb2.GetModelStatusRequest()
        request.model_spec.name = model

        def told(code: str) -> None:
            if code == "DEADLINE_EXCEEDED":
                # The connection may be dead though the server is not: a
                # machine that lost its power says no goodbye.
                self.connections.drop(target)
            self.health.probed(target, code not in retry.SILENT)

        self.connections.probe(
            Call(target, request, fleet.PROBE_SECONDS, metadata), told
        )
