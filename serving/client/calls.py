"""Single calls as plans: what to send, when to wait, when to try again.

A plan is a generator that does no input or output itself: it yields a `Call`
and is sent the response (or has `CallFailed` thrown in), or yields a `Pause`
or a `Probe`.
The synchronous and the asyncio client drive the same plans, so every rule on
retries and deadlines exists once.
"""

import math
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from serving.client import channel, failures, fleet, messages, retry
from serving.errors import ServingError
from serving.wire import serving_pb2


@dataclass(frozen=True)
class Call:
    """One message to send.

    Attributes:
        method: Key of `channel.METHODS`.
        target: Address to send it to.
        request: The message.
        timeout_seconds: Of this call alone.
    """

    method: str
    target: str
    request: Any
    timeout_seconds: float


@dataclass(frozen=True)
class Pause:
    """A wait before the next call, in seconds."""

    seconds: float


@dataclass(frozen=True)
class Probe:
    """A call that nobody waits for: is a replica back?"""

    call: Call


# After these another replica may answer at once what one did not.
_ELSEWHERE = retry.SILENT | {"NOT_FOUND"}
_MOST_KNOWN = 16

Step = Call | Pause | Probe
Plan = Generator[Step, Any, Any]


@dataclass
class Trace:
    """What one request of the caller has cost so far.

    Attributes:
        retries: Calls made beyond the necessary ones.
        replica: That answered last; it is asked again where it can be.
        avoid: Replica that answered with a version nobody else has.
    """

    retries: int = 0
    replica: str = ""
    avoid: str = ""


@dataclass
class Caller:
    """Asks models, tries again where that is safe, remembers signatures.

    Attributes:
        targets: Replicas by model name, "*" for the others.
        policy: When to try again.
        health: How the replicas have been answering.
        known: Signatures by (model, version asked for), with the version
            that they were read from.
    """

    targets: Mapping[str, tuple[str, ...]]
    policy: retry.Retry
    health: fleet.Health = field(default_factory=fleet.Health)
    known: dict[
        tuple[str, messages.Version], tuple[messages.Signatures, int]
    ] = field(default_factory=dict)

    def ask(
        self,
        method: str,
        model: str,
        request: Any,
        deadline: retry.Deadline,
        trace: Trace,
        swap_wait: bool = False,
    ) -> Plan:
        """Sends one message, again where `serving.client.fleet` says so.

        Args:
            method: Key of `channel.METHODS`.
            model: Decides the target.
            request: The message.
            deadline: For all attempts together.
            trace: Counts the retries.
            swap_wait: Also wait for a version that is NOT_FOUND yet.

        Raises:
            ServingError: With the code of the last attempt.
        """
        replicas = channel.replicas(self.targets, model)
        spec = request.model_spec
        wanted = (
            model,
            spec.version.value
            if spec.HasField("version")
            else spec.version_label,
        )
        kind = (method, model, request.ByteSize().bit_length())
        began = time.monotonic()
        tried = [trace.avoid] if trace.avoid else []
        failed: list[failures.CallFailed] = []
        while True:
            for due in self.health.due(replicas):
                yield Probe(_status(model, due))
            target, has_spare = self.health.choose(
                replicas, wanted, tried, trace.replica
            )
            if channel.is_several(target):
                has_spare |= not failed and self.health.tokens >= 1.0
            tried.append(target)
            try:
                response = yield from self._once(
                    Call(method, target, request, deadline.remaining()),
                    kind,
                    has_spare,
                )
            except failures.CallFailed as failure:
                failed.append(failure)
                if failure.code == "NOT_FOUND":
                    self.health.lacks(target, wanted)
                pause = self.policy.backoff(len(failed))
                waits = (
                    swap_wait
                    and failure.code == "NOT_FOUND"
                    and time.monotonic() - began + pause
                    < self.policy.swap_wait_seconds
                )
                has_spare = self.health.has_spare(replicas, wanted, tried)
                is_free = (
                    has_spare
                    and failure.code in _ELSEWHERE
                    and len(failed) < self.policy.attempts
                )
                if not (is_free or waits or self._may_repeat(failed)):
                    pause = math.inf
                elif has_spare or (
                    failure.code in retry.GONE
                    and not set(replicas) <= set(tried)
                ):
                    pause = 0.0
                else:
                    tried.clear()
                if pause >= deadline.remaining():
                    # What a server said tells more than another's silence.
                    told = [
                        one for one in failed if one.code not in retry.SILENT
                    ]
                    raise failures.translate(
                        (told or failed)[-1],
                        model,
                        len(failed),
                        deadline.timeout_seconds,
                    ) from failure
            else:
                trace.replica = target
                return response
            trace.retries += 1
            if pause:
                yield Pause(pause)

    def _once(self, call: Call, kind: fleet.Kind, has_spare: bool) -> Plan:
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
            response = yield call
        except failures.CallFailed as failure:
            if failure.code in retry.SILENT:
                self.health.failed(call.target)
            else:
                self.health.is_alive(call.target)
            raise
        self.health.is_alive(call.target)
        self.health.took(kind, time.monotonic() - began)
        return response

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

    def inputs(
        self,
        model: str,
        signature: str,
        version: messages.Version,
        deadline: retry.Deadline,
        trace: Trace,
        swap_wait: bool = False,
    ) -> Plan:
        """Returns what a signature takes, asking the server the first time.

        Raises:
            ServingError: FAILED_PRECONDITION if the model lacks it, else as
                `ask`.
        """
        key = (model, version)
        if key not in self.known:
            response = yield from self.ask(
                "GetModelMetadata",
                model,
                messages.metadata_request(model, version),
                deadline,
                trace,
                swap_wait,
            )
            # A pinned version's signatures never change; a few are enough.
            if len(self.known) >= _MOST_KNOWN:
                self.known.clear()
            self.known[key] = messages.signatures(response)
            found, read_from = self.known[key]
        else:
            found, read_from = self.known[key]
        if signature not in found:
            raise ServingError(
                f"Model {model!r} must have signature {signature!r}. "
                f"Received: {', '.join(sorted(found))} (from version "
                f"{read_from}). Publish a version exported by this pipeline.",
                "FAILED_PRECONDITION",
            )
        return found[signature]

    def predict(
        self,
        model: str,
        signature: str,
        version: messages.Version,
        fill: Any,
        deadline: retry.Deadline,
        trace: Trace,
        swap_wait: bool = False,
    ) -> Plan:
        """Asks a signature; learns its inputs anew when they have changed.

        Args:
            model: To ask.
            signature: To ask for.
            version: To pin by number or label, or None for the latest.
            fill: From the signature's inputs to the request.
            deadline: For everything.
            trace: Counts the retries.
            swap_wait: Wait for `version` to be loaded.

        Returns:
            PredictResponse.
        """
        rest = (deadline, trace, swap_wait)
        fresh = (model, version) not in self.known
        inputs = yield from self.inputs(model, signature, version, *rest)
        try:
            response = yield from self.ask(
                "Predict", model, fill(inputs), *rest
            )
        except ServingError as error:
            # A new version may take other features than the one remembered.
            changed = error.code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
            if changed or error.code == "NOT_FOUND":
                self.forget(model)
            if fresh or not changed:
                raise
            trace.retries += 1
            inputs = yield from self.inputs(model, signature, version, *rest)
            response = yield from self.ask(
                "Predict", model, fill(inputs), *rest
            )
        read_from = self.known.get((model, version), ({}, -1))[1]
        if response.model_spec.version.value != read_from:
            self.forget(model)
        return response

    def forget(self, model: str) -> None:
        """Drops a model's signatures, so that the next call asks for them."""
        for key in [key for key in list(self.known) if key[0] == model]:
            self.known.pop(key, None)


def _status(model: str, target: str) -> Call:
    """Asks a replica for as little as an answer takes."""
    request = serving_pb2.GetModelStatusRequest(model_spec=messages.spec(model))
    return Call("GetModelStatus", target, request, fleet.PROBE_SECONDS)
