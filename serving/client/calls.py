"""Single calls as plans: what to send, when to wait, when to try again.

A plan is a generator that does no input or output itself: it yields a `Call`
and is sent the response (or has `CallFailed` thrown in), or yields a `Pause`.
The synchronous and the asyncio client drive the same plans, so every rule on
retries and deadlines exists once.
"""

import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.client import channel, failures, messages, retry
from serving.errors import ServingError


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


_MOST_KNOWN = 16

Plan = Generator[Call | Pause, Any, Any]


@dataclass
class Trace:
    """What one request of the caller has cost so far.

    Attributes:
        retries: Calls made beyond the necessary ones.
    """

    retries: int = 0


@dataclass
class Caller:
    """Asks models, tries again where that is safe, remembers signatures.

    Attributes:
        targets: Replicas by model name, "*" for the others.
        policy: When to try again.
        known: Signatures by (model, version asked for), with the version
            that they were read from.
    """

    targets: Mapping[str, tuple[str, ...]]
    policy: retry.Retry
    known: dict[
        tuple[str, messages.Version], tuple[messages.Signatures, int]
    ] = field(default_factory=dict)
    _next: int = 0

    def ask(
        self,
        method: str,
        model: str,
        request: Any,
        deadline: retry.Deadline,
        trace: Trace,
        swap_wait: bool = False,
    ) -> Plan:
        """Sends one message, again after UNAVAILABLE.

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
        began = time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            # Replicas take turns; a retry goes to the next one.
            self._next += 1
            target = replicas[self._next % len(replicas)]
            timeout = deadline.remaining()
            try:
                if timeout <= 0:
                    raise failures.CallFailed(
                        "DEADLINE_EXCEEDED", "no time left to ask", target
                    )
                return (yield Call(method, target, request, timeout))
            except failures.CallFailed as failure:
                pause = self.policy.backoff(attempt)
                waited = time.monotonic() - began + pause
                again = (
                    failure.code == "UNAVAILABLE"
                    and attempt < self.policy.attempts
                ) or (
                    swap_wait
                    and failure.code == "NOT_FOUND"
                    and waited < self.policy.swap_wait_seconds
                )
                if not again or pause >= deadline.remaining():
                    raise failures.translate(
                        failure, model, attempt, deadline.timeout_seconds
                    ) from failure
            trace.retries += 1
            yield Pause(pause)

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
