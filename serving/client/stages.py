"""Questions to one model: retrieve, rank, recommend, similar items, status.

Enters: queries. Leaves: typed answers, one a query, in the queries' order.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from serving import ids, signatures
from serving.client import learned, messages
from serving.client.query import Items, Query, VersionStatus
from serving.client.transport import calls, channel
from serving.errors import InvalidRequest, ModelNotFound, ServingError
from serving.labels import STABLE
from serving.wire import serving_pb2


@dataclass
class Stages:
    """Asks the models one by one; learns from the servers what they take.

    Attributes:
        label: Of the versions to ask for; "" for the latest.
        known: What the servers take.
        is_label_gone: Whether `stable` was asked for in vain of late.
    """

    caller: calls.Caller
    retrieval_model: str = signatures.RETRIEVAL
    label: str = ""
    known: learned.Known = field(default_factory=learned.Known)
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
            await self._ask(channel.METADATA, request, trace)
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
                response = await self._ask(
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

        def fill(inputs: messages.Inputs) -> serving_pb2.PredictRequest:
            return messages.predict_request(
                spec, inputs, queries, candidates, item_ids
            )

        began = time.monotonic()
        replicas = channel.replicas(self.caller.targets, spec.name)
        asking = learned.Attempts(
            self.known, spec, fill, self.caller.policy.attempts
        )
        while True:
            try:
                try:
                    response = await self.caller.ask(
                        *(channel.PREDICT, spec, asking.request, trace),
                        asking.refused,
                    )
                    break
                except ServingError as error:
                    if not asking.goes_on(error, replicas):
                        raise
            except learned.Unlearned:
                await self._learn(asking, trace)
        trace.retries += asking.retries
        now = time.monotonic()
        version = response.model_spec.version.value
        asking.answered(trace.replica, version, now)
        return response, (now - began) * 1e3

    async def _learn(
        self, asking: learned.Attempts, trace: calls.Trace
    ) -> None:
        """Asks a replica what it takes."""
        trace.replica = asking.replica
        request = serving_pb2.GetModelMetadataRequest(
            model_spec=asking.spec, metadata_field=["signature_def"]
        )
        request.model_spec.ClearField("signature_name")
        response = await self._ask(channel.METADATA, request, trace)
        inputs, version = messages.signatures(response)
        now = time.monotonic()
        taken = learned.Taken(inputs, version, said=now, met=now)
        asking.learned(trace.replica, taken)

    async def _ask(
        self,
        method: channel.Method[channel.Answer],
        request: serving_pb2.GetModelMetadataRequest
        | serving_pb2.GetModelStatusRequest,
        trace: calls.Trace,
    ) -> channel.Answer:
        return await self.caller.ask(
            method, request.model_spec, lambda _: request, trace
        )
