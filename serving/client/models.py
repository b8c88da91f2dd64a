"""Predict calls on models whose inputs the client learns from the server."""

from collections.abc import Callable
from dataclasses import dataclass, field

from serving.client import messages
from serving.client.transport import calls, channel, fleet
from serving.errors import ServingError
from serving.wire import serving_pb2

Fill = Callable[
    [serving_pb2.ModelSpec, messages.Inputs], serving_pb2.PredictRequest
]
_MOST_KNOWN = 16


@dataclass
class Models:
    """Asks signatures, and remembers what they take.

    Attributes:
        caller: Sends single messages.
        known: Signatures by model and version asked for, with the version
            that they were read from.
    """

    caller: calls.Caller
    known: dict[fleet.Wanted, tuple[messages.Signatures, int]] = field(
        default_factory=dict
    )

    async def predict(
        self,
        spec: serving_pb2.ModelSpec,
        fill: Fill,
        trace: calls.Trace,
        swap_wait: bool = False,
    ) -> serving_pb2.PredictResponse:
        """Asks a signature; learns its inputs anew when they have changed.

        Raises:
            ServingError: FAILED_PRECONDITION if the model lacks the signature,
                else as `Caller.ask`.
        """

        async def ask() -> serving_pb2.PredictResponse:
            inputs = await self._inputs(spec, trace, swap_wait)
            return await self.caller.ask(
                channel.PREDICT, fill(spec, inputs), trace, swap_wait
            )

        key = calls.wanted(spec)
        is_fresh = key not in self.known
        try:
            response = await ask()
        except ServingError as error:
            # A new version may take other features than the one remembered.
            changed = error.code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
            if changed or error.code == "NOT_FOUND":
                self._forget(spec.name)
            if is_fresh or not changed:
                raise
            trace.retries += 1
            response = await ask()
        _, read_from = self.known.get(key, ({}, -1))
        if response.model_spec.version.value != read_from:
            self._forget(spec.name)
        return response

    async def _inputs(
        self, spec: serving_pb2.ModelSpec, trace: calls.Trace, swap_wait: bool
    ) -> messages.Inputs:
        """Returns what a signature takes, asking the server the first time."""
        key = calls.wanted(spec)
        if key not in self.known:
            response = await self.caller.ask(
                channel.METADATA,
                messages.metadata_request(spec),
                trace,
                swap_wait,
            )
            # A pinned version's signatures never change; a few are enough.
            if len(self.known) >= _MOST_KNOWN:
                self.known.clear()
            self.known[key] = messages.signatures(response)
        found, read_from = self.known[key]
        if spec.signature_name not in found:
            raise ServingError(
                f"Model {spec.name!r} must have signature "
                f"{spec.signature_name!r}. Received: "
                f"{', '.join(sorted(found))} (from version {read_from}). "
                "Publish a version exported by this pipeline.",
                "FAILED_PRECONDITION",
            )
        return found[spec.signature_name]

    def _forget(self, model: str) -> None:
        """Drops a model's signatures, so that the next call asks for them."""
        for key in [key for key in list(self.known) if key[0] == model]:
            self.known.pop(key, None)
