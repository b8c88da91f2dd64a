"""Questions to one model as plans: retrieve, rank, score, similar, status.

Enters: queries. Leaves: typed answers, one a query, in the queries' order.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from serving import ids, signatures
from serving.client import calls, messages, retry
from serving.client.query import Items, Query, VersionStatus
from serving.errors import ServingError
from serving.wire import serving_pb2


@dataclass
class Plans:
    """Builds the plans that both clients drive.

    Attributes:
        caller: Asks single models.
        retrieval_model: "retrieval" or "retrieval_exact".
        label: Of the versions to ask for; "" for the latest.
    """

    caller: calls.Caller
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

    @property
    def version(self) -> str | None:
        """What stands for a version where none is pinned."""
        return self.label or None

    def retrieve(
        self,
        queries: Sequence[Query],
        k: int | None,
        deadline: retry.Deadline,
        trace: calls.Trace,
    ) -> calls.Plan:
        """Plans one call of the first stage; returns `Items` a query."""
        began = time.monotonic()
        signature = signatures.SERVING_DEFAULT
        if any(query.excluded_ids for query in queries):
            signature = signatures.WITH_EXCLUSIONS
        model = self.retrieval_model
        response = yield from self.caller.predict(
            model,
            signature,
            self.version,
            lambda inputs: messages.predict_request(
                model, signature, self.version, inputs, queries
            ),
            deadline,
            trace,
        )
        found = messages.lists(response, "candidate_ids", len(queries))
        return _items(found, k, response, began)

    def rank(
        self,
        queries: Sequence[Query],
        candidates: Sequence[Sequence[str]],
        version: int | None,
        deadline: retry.Deadline,
        trace: calls.Trace,
        signature: str = signatures.SERVING_DEFAULT,
        swap_wait: bool = False,
    ) -> calls.Plan:
        """Plans one call of the second stage; returns `Items` a query.

        With `signature` SCORE, items keep the order of `candidates`.
        """
        began = time.monotonic()
        wanted = self.version if version is None else version
        response = yield from self.caller.predict(
            signatures.RANKING,
            signature,
            wanted,
            lambda inputs: messages.predict_request(
                signatures.RANKING,
                signature,
                wanted,
                inputs,
                queries,
                candidates,
            ),
            deadline,
            trace,
            swap_wait,
        )
        if signature == signatures.SCORE:
            return _scored(candidates, response, began)
        found = messages.lists(response, "candidate_ids", len(queries))
        return _items(found, None, response, began)

    def similar_items(
        self,
        item_ids: Sequence[str],
        k: int | None,
        deadline: retry.Deadline,
        trace: calls.Trace,
    ) -> calls.Plan:
        """Plans a call for the nearest items of items; `Items` an id."""
        began = time.monotonic()
        model, signature = self.retrieval_model, signatures.SIMILAR_ITEMS
        response = yield from self.caller.predict(
            model,
            signature,
            self.version,
            lambda inputs: messages.item_request(
                model, signature, self.version, inputs, item_ids
            ),
            deadline,
            trace,
        )
        found = messages.lists(response, "candidate_ids", len(item_ids))
        return _items(found, k, response, began)

    def status(
        self, models: Sequence[str], deadline: retry.Deadline
    ) -> calls.Plan:
        """Plans a status call a model; unknown models are left out."""
        result: list[VersionStatus] = []
        for model in models:
            request = serving_pb2.GetModelStatusRequest(
                model_spec=messages.spec(model)
            )
            try:
                response = yield from self.caller.ask(
                    "GetModelStatus", model, request, deadline, calls.Trace()
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
    found: list[tuple[tuple[str, ...], tuple[float, ...]]],
    k: int | None,
    response: serving_pb2.PredictResponse,
    began: float,
) -> list[Items]:
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
