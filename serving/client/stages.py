"""Questions to one model: retrieve, rank, recommend, similar items, status.

Enters: queries. Leaves: typed answers, one a query, in the queries' order.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from serving import ids, signatures
from serving.client import messages
from serving.client.models import Fill, Models
from serving.client.query import Items, Query, VersionStatus
from serving.client.transport import calls, channel
from serving.errors import ServingError
from serving.wire import serving_pb2


@dataclass
class Stages:
    """Asks the models one by one.

    Attributes:
        models: Asks for predictions.
        retrieval_model: "retrieval" or "retrieval_exact".
        label: Of the versions to ask for; "" for the latest.
    """

    models: Models
    retrieval_model: str = signatures.RETRIEVAL
    label: str = ""

    def __post_init__(self) -> None:
        ids.one(self.label, "version_label")
        permitted = (signatures.RETRIEVAL, signatures.RETRIEVAL_EXACT)
        if self.retrieval_model not in permitted:
            raise ServingError(
                f"`retrieval_model` must be {' or '.join(permitted)}. "
                f"Received: {self.retrieval_model!r}. The first is the "
                "default.",
                "INVALID_ARGUMENT",
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
        fill = partial(messages.item_request, ids=item_ids)
        return await self._nearest(
            signatures.SIMILAR_ITEMS, fill, len(item_ids), k, trace
        )

    async def _nearest(
        self,
        signature: str,
        fill: Fill,
        num_rows: int,
        k: int | None,
        trace: calls.Trace,
    ) -> list[Items]:
        began = time.monotonic()
        spec = messages.spec(
            self.retrieval_model, signature, self.label or None
        )
        response = await self.models.predict(spec, fill, trace)
        return _items(response, "candidate_ids", num_rows, began, k)

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
        queries = [query for query, _ in rows]
        candidates = [candidates for _, candidates in rows]
        spec = messages.spec(
            signatures.RANKING,
            signatures.SCORE if in_order else signatures.SERVING_DEFAULT,
            (self.label or None) if version is None else version,
        )
        response = await self.models.predict(
            spec,
            partial(
                messages.predict_request, queries=queries, candidates=candidates
            ),
            trace,
            swap_wait,
        )
        if in_order:
            return _scored(candidates, response, began)
        return _items(response, "candidate_ids", len(queries), began)

    async def recommend(
        self, queries: Sequence[Query], trace: calls.Trace
    ) -> tuple[list[Items], int]:
        """Asks the fused model; `Items` a query, and the most it can give."""
        began = time.monotonic()
        signature = signatures.SERVING_DEFAULT
        if any(query.diversity for query in queries):
            signature = signatures.WITH_DIVERSITY
        response = await self.models.predict(
            messages.spec(
                signatures.RECOMMENDER, signature, self.label or None
            ),
            partial(messages.predict_request, queries=queries),
            trace,
        )
        width = messages.array(response, "item_ids").shape[1]
        return _items(response, "item_ids", len(queries), began), width

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
                response = await self.models.caller.ask(
                    channel.STATUS,
                    request,
                    calls.Trace(trace.deadline, trace.metadata),
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


def _items(
    response: serving_pb2.PredictResponse,
    name: str,
    num_rows: int,
    began: float,
    k: int | None = None,
) -> list[Items]:
    found = messages.lists(response, name, num_rows)
    version = response.model_spec.version.value
    latency_ms = (time.monotonic() - began) * 1e3
    return [
        Items(item_ids[:k], scores[:k], version, latency_ms)
        for item_ids, scores in found
    ]


def _scored(
    candidates: Sequence[Sequence[str]],
    response: serving_pb2.PredictResponse,
    began: float,
) -> list[Items]:
    """Reads scores in the order given; padding is cut off again."""
    scores = messages.array(response, "scores").tolist()
    ratings: list[list[float]] = [[] for _ in scores]
    if "predicted_rating" in response.outputs:
        ratings = messages.array(response, "predicted_rating").tolist()
    return [
        Items(
            tuple(row),
            tuple(scores[i][: len(row)]),
            response.model_spec.version.value,
            (time.monotonic() - began) * 1e3,
            tuple(ratings[i][: len(row)]),
        )
        for i, row in enumerate(candidates)
    ]
