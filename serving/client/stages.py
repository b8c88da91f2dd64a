"""Questions to one model: retrieve, rank, recommend, similar items, status.

Enters: queries. Leaves: typed answers, one a query, in the queries' order.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from serving import ids, signatures
from serving.client import messages
from serving.client.query import Items, Query, VersionStatus
from serving.client.transport import calls, channel, fleet
from serving.errors import InvalidRequest, ModelNotFound, ServingError
from serving.labels import STABLE
from serving.wire import serving_pb2

_MOST_KNOWN = 16
# What a request gets that does not fit the version it reaches.
_REFUSED = ("INVALID_ARGUMENT", "FAILED_PRECONDITION")


@dataclass
class Stages:
    """Asks the models one by one; learns from the servers what they take.

    Attributes:
        label: Of the versions to ask for; "" for the latest.
        known: Signatures by model and version asked for, with the version
            that they were read from.
        is_label_gone: Whether `stable` was asked for in vain of late.
    """

    caller: calls.Caller
    retrieval_model: str = signatures.RETRIEVAL
    label: str = ""
    known: dict[fleet.Wanted, tuple[messages.Signatures, int]] = field(
        default_factory=dict
    )
    is_label_gone: bool = False

    def __post_init__(self) -> None:
        ids.one(self.label, "version_label")
        permitted = (signatures.RETRIEVAL, signatures.RETRIEVAL_EXACT)
        if self.retrieval_model not in permitted:
            raise InvalidRequest(
                f"`retrieval_model` must be {' or '.join(permitted)}. "
                f"Received: {self.retrieval_model!r}. The first is the "
                "default."
            )

    def _spec(
        self,
        model: str,
        signature: str,
        trace: calls.Trace,
        version: int | None = None,
    ) -> serving_pb2.ModelSpec:
        spec = serving_pb2.ModelSpec(name=model, signature_name=signature)
        if version is not None:
            spec.version.value = version
        elif label := self.label or trace.label:
            spec.version_label = label
        return spec

    async def has_label(self, label: str, trace: calls.Trace) -> bool:
        """Whether the servers of retrieval have a version with this label."""
        request = serving_pb2.GetModelMetadataRequest(
            model_spec=serving_pb2.ModelSpec(
                name=self.retrieval_model, version_label=label
            ),
            metadata_field=["signature_def"],
        )
        try:
            await self.caller.ask(channel.METADATA, request, trace)
        except ModelNotFound:
            return False
        return True

    async def retrieve(
        self, queries: Sequence[Query], k: int | None, trace: calls.Trace
    ) -> list[Items]:
        """Asks the first stage; `Items` a query."""
        signature = signatures.SERVING_DEFAULT
        if any(query.filters for query in queries):
            signature = signatures.WITH_OPTIONS
        elif any(query.excluded_ids for query in queries):
            signature = signatures.WITH_EXCLUSIONS
        response, took = await self._predict(
            self._spec(self.retrieval_model, signature, trace),
            queries,
            trace,
        )
        return messages.items(response, len(queries), took, k)

    async def similar_items(
        self, item_ids: Sequence[str], k: int | None, trace: calls.Trace
    ) -> list[Items]:
        """Asks for the nearest items of items; `Items` an id."""
        response, took = await self._predict(
            self._spec(self.retrieval_model, signatures.SIMILAR_ITEMS, trace),
            [Query()] * len(item_ids),
            trace,
            item_ids=item_ids,
        )
        return messages.items(response, len(item_ids), took, k)

    async def rank(
        self,
        rows: Sequence[tuple[Query, Sequence[str]]],
        version: int | None,
        trace: calls.Trace,
        in_order: bool = False,
        swap_wait: bool = False,
    ) -> list[Items]:
        """Asks the second stage, queries with candidates; `Items` a query.

        With `in_order`, items keep the order of the candidates; with
        `swap_wait`, a version that is not there yet is waited for.
        """
        trace.swap_wait = swap_wait
        queries, candidates = zip(*rows, strict=True)
        signature = signatures.SCORE if in_order else signatures.SERVING_DEFAULT
        response, took = await self._predict(
            self._spec(signatures.RANKING, signature, trace, version),
            queries,
            trace,
            candidates,
        )
        if in_order:
            return messages.scored(response, candidates, took)
        return messages.items(response, len(rows), took)

    async def recommend(
        self, queries: Sequence[Query], trace: calls.Trace
    ) -> tuple[list[Items], int]:
        """Asks the fused model; `Items` a query, and the most it can give."""
        signature = signatures.SERVING_DEFAULT
        if any(query.filters for query in queries):
            signature = signatures.WITH_OPTIONS
        elif any(query.diversity for query in queries):
            signature = signatures.WITH_DIVERSITY
        response, took = await self._predict(
            self._spec(signatures.RECOMMENDER, signature, trace),
            queries,
            trace,
        )
        width = messages.array(response, "item_ids").shape[1]
        found = messages.items(response, len(queries), took, name="item_ids")
        return found, width

    async def status(
        self, models: Sequence[str], trace: calls.Trace
    ) -> list[VersionStatus]:
        """Asks each model's servers; unknown models are left out."""
        result: list[VersionStatus] = []
        for model in models:
            request = serving_pb2.GetModelStatusRequest(
                model_spec=serving_pb2.ModelSpec(name=model)
            )
            try:
                response = await self.caller.ask(
                    channel.STATUS, request, trace.beside()
                )
            except ServingError as error:
                if error.code != "NOT_FOUND":
                    raise
                continue
            result += [
                VersionStatus(
                    model,
                    row.version,
                    serving_pb2.ModelVersionStatus.State.Name(row.state),
                    row.status.error_message,
                )
                for row in response.model_version_status
            ]
        return result

    async def _predict(
        self,
        spec: serving_pb2.ModelSpec,
        queries: Sequence[Query],
        trace: calls.Trace,
        candidates: Sequence[Sequence[str]] = (),
        item_ids: Sequence[str] = (),
    ) -> tuple[serving_pb2.PredictResponse, float]:
        """Asks as `_send` does; without `stable` where that label has gone.

        A release that was tried and is decided on may take it away between
        two questions, and nobody asked for it by name.
        """
        rows = queries, trace, candidates, item_ids
        try:
            return await self._send(spec, *rows)
        except ModelNotFound:
            if self.label or spec.version_label != STABLE:
                raise
            spec.ClearField("version_label")
            trace.retries += 1
            answer = await self._send(spec, *rows)
            self.is_label_gone = True
            return answer

    async def _send(
        self,
        spec: serving_pb2.ModelSpec,
        queries: Sequence[Query],
        trace: calls.Trace,
        candidates: Sequence[Sequence[str]] = (),
        item_ids: Sequence[str] = (),
    ) -> tuple[serving_pb2.PredictResponse, float]:
        """Asks a signature; learns its inputs anew when they have changed.

        Returns:
            The answer, and the milliseconds until it came.

        Raises:
            ServingError: FAILED_PRECONDITION if the model lacks the signature,
                else as `Caller.ask`.
        """

        async def ask() -> serving_pb2.PredictResponse:
            request = messages.predict_request(
                spec,
                await self._inputs(spec, trace),
                *(queries, candidates, item_ids),
            )
            return await self.caller.ask(channel.PREDICT, request, trace)

        began = time.monotonic()
        key = calls.wanted(spec)
        spare = int(key in self.known)
        replicas = channel.replicas(self.caller.targets, spec.name)
        if any(channel.is_several(one) for one in replicas):
            spare = max(1, self.caller.policy.attempts - 1)
        refusals = 0
        while True:
            try:
                response = await ask()
                break
            except ServingError as error:
                # A new version may take other features than the one remembered.
                changed = error.code in _REFUSED
                refusals += changed
                # Behind a name one address says what it takes and another is
                # asked: every second time with what was refused before.
                if error.code == "NOT_FOUND" or (changed and refusals % 2):
                    self._forget(spec.name)
                if not changed or refusals > spare:
                    raise
                trace.retries += 1
        _, read_from = self.known.get(key, ({}, -1))
        if response.model_spec.version.value != read_from:
            self._forget(spec.name)
        return response, (time.monotonic() - began) * 1e3

    async def _inputs(
        self, spec: serving_pb2.ModelSpec, trace: calls.Trace
    ) -> messages.Inputs:
        """Returns what a signature takes, asking the server the first time."""
        key = calls.wanted(spec)
        learned = self.known.get(key)
        if learned is None:
            request = serving_pb2.GetModelMetadataRequest(
                model_spec=spec, metadata_field=["signature_def"]
            )
            request.model_spec.ClearField("signature_name")
            response = await self.caller.ask(channel.METADATA, request, trace)
            # A pinned version's signatures never change; a few are enough.
            if len(self.known) >= _MOST_KNOWN:
                self.known.clear()
            learned = self.known[key] = messages.signatures(response)
        found, read_from = learned
        if spec.signature_name not in found:
            needed = ""
            if spec.signature_name == signatures.WITH_OPTIONS:
                needed = ", which Query.filters needs"
            raise ServingError(
                f"Model {spec.name!r} must have signature "
                f"{spec.signature_name!r}{needed}. Received: "
                f"{', '.join(sorted(found))} (from version {read_from}). "
                "Publish a version exported by this pipeline.",
                "FAILED_PRECONDITION",
            )
        return found[spec.signature_name]

    def _forget(self, model: str) -> None:
        """Drops a model's signatures, so that the next call asks for them."""
        for key in [key for key in list(self.known) if key[0] == model]:
            self.known.pop(key, None)
