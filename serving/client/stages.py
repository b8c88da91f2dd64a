"""Questions to one model: retrieve, rank, recommend, similar items, status.

Enters: queries. Leaves: typed answers, one a query, in the queries' order.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from serving import ids, signatures
from serving.client import messages
from serving.client.query import Items, Query, VersionStatus
from serving.client.transport import calls, channel, fleet
from serving.errors import InvalidRequest, ServingError
from serving.wire import serving_pb2

Fill: TypeAlias = Callable[
    [serving_pb2.ModelSpec, messages.Inputs], serving_pb2.PredictRequest
]
_MOST_KNOWN = 16


@dataclass
class Stages:
    """Asks the models one by one; learns from the servers what they take.

    Attributes:
        caller: Sends single messages.
        retrieval_model: "retrieval" or "retrieval_exact".
        label: Of the versions to ask for; "" for the latest.
        known: Signatures by model and version asked for, with the version
            that they were read from.
    """

    caller: calls.Caller
    retrieval_model: str = signatures.RETRIEVAL
    label: str = ""
    known: dict[fleet.Wanted, tuple[messages.Signatures, int]] = field(
        default_factory=dict
    )

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
        self, model: str, signature: str, version: int | None = None
    ) -> serving_pb2.ModelSpec:
        label = self.label or None
        return messages.spec(
            model, signature, label if version is None else version
        )

    async def retrieve(
        self, queries: Sequence[Query], k: int | None, trace: calls.Trace
    ) -> list[Items]:
        """Asks the first stage; `Items` a query."""
        signature = signatures.SERVING_DEFAULT
        if any(query.excluded_ids for query in queries):
            signature = signatures.WITH_EXCLUSIONS
        fill = partial(messages.predict_request, queries=queries)
        return await self._nearest(signature, fill, len(queries), k, trace)

    async def similar_items(
        self, item_ids: Sequence[str], k: int | None, trace: calls.Trace
    ) -> list[Items]:
        """Asks for the nearest items of items; `Items` an id."""
        signature, num_rows = signatures.SIMILAR_ITEMS, len(item_ids)
        fill = partial(messages.item_request, ids=item_ids)
        return await self._nearest(signature, fill, num_rows, k, trace)

    async def _nearest(
        self,
        signature: str,
        fill: Fill,
        num_rows: int,
        k: int | None,
        trace: calls.Trace,
    ) -> list[Items]:
        began = time.monotonic()
        spec = self._spec(self.retrieval_model, signature)
        response = await self._predict(spec, fill, trace)
        took = _since(began)
        return messages.items(response, "candidate_ids", num_rows, took, k)

    async def rank(
        self,
        rows: Sequence[tuple[Query, Sequence[str]]],
        version: int | None,
        trace: calls.Trace,
        in_order: bool = False,
        swap_wait: bool = False,
    ) -> list[Items]:
        """Asks the second stage, queries with candidates; `Items` a query.

        With `in_order`, items keep the order of the candidates.
        """
        began = time.monotonic()
        queries, candidates = zip(*rows, strict=True)
        signature = signatures.SCORE if in_order else signatures.SERVING_DEFAULT
        response = await self._predict(
            self._spec(signatures.RANKING, signature, version),
            partial(
                messages.predict_request, queries=queries, candidates=candidates
            ),
            trace,
            swap_wait,
        )
        took = _since(began)
        if in_order:
            return messages.scored(response, candidates, took)
        return messages.items(response, "candidate_ids", len(rows), took)

    async def recommend(
        self, queries: Sequence[Query], trace: calls.Trace
    ) -> tuple[list[Items], int]:
        """Asks the fused model; `Items` a query, and the most it can give."""
        began = time.monotonic()
        signature = signatures.SERVING_DEFAULT
        if any(query.diversity for query in queries):
            signature = signatures.WITH_DIVERSITY
        response = await self._predict(
            self._spec(signatures.RECOMMENDER, signature),
            partial(messages.predict_request, queries=queries),
            trace,
        )
        took, name = _since(began), "item_ids"
        width = messages.array(response, name).shape[1]
        return messages.items(response, name, len(queries), took), width

    async def status(
        self, models: Sequence[str], trace: calls.Trace
    ) -> list[VersionStatus]:
        """Asks each model's servers; unknown models are left out."""
        result: list[VersionStatus] = []
        for model in models:
            request = serving_pb2.GetModelStatusRequest(
                model_spec=messages.spec(model)
            )
            try:
                response = await self.caller.ask(
                    channel.STATUS,
                    request,
                    trace.beside(),
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


def _since(began: float) -> float:
    """Milliseconds since a moment of the monotonic clock."""
    return (time.monotonic() - began) * 1e3
