"""What the synchronous and the asyncio client share: options and batching."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc

from serving import signatures
from serving.client import (
    calls,
    channel,
    failures,
    fallback,
    plans,
    policy,
    retry,
)
from serving.client.query import Query
from serving.errors import ServingError

MODELS = (
    signatures.RETRIEVAL,
    signatures.RETRIEVAL_EXACT,
    signatures.RANKING,
    signatures.RECOMMENDER,
)


class Base:
    """Holds the options of a client and plans its questions.

    Args:
        targets: One address, a list of replicas, or a mapping from model name
            ("*" for the others) to either.
        timeout_seconds: For one question, both stages and retries included.
        tls: Certificates; None for plaintext.
        options: gRPC channel options by name, over ours.
        retries: When to try again.
        retrieval_model: "retrieval", or "retrieval_exact" where only stock
            TensorFlow Serving runs.
        fused: "auto" asks `recommender` where it is deployed; "off" never.
        popular: Item ids by popularity, or a file of them, for the moment
            when nothing answers; without it that moment raises.

    Raises:
        ServingError: If an option is out of range or a file cannot be read.
    """

    def __init__(
        self,
        targets: channel.Targets,
        *,
        timeout_seconds: float = 2.0,
        tls: channel.Tls | None = None,
        options: Mapping[str, Any] | None = None,
        retries: retry.Retry | None = None,
        retrieval_model: str = signatures.RETRIEVAL,
        fused: str = "auto",
        popular: str | Path | Sequence[str] = (),
    ) -> None:
        self._timeout_seconds = timeout_seconds
        retry.Deadline(timeout_seconds)  # Refuses what is not positive.
        self._caller = calls.Caller(
            channel.addresses(targets), retries or retry.Retry()
        )
        self._plans = plans.Plans(self._caller, retrieval_model)
        self._policy = policy.Policy(self._plans, fused, fallback.read(popular))
        self._credentials = tls.credentials() if tls is not None else None
        self._options = channel.options(tls, options)
        self._channels: dict[str, Any] = {}
        self._stubs: dict[tuple[str, str], Any] = {}

    def _start(
        self, timeout_seconds: float | None
    ) -> tuple[retry.Deadline, calls.Trace]:
        if timeout_seconds is None:
            timeout_seconds = self._timeout_seconds
        return retry.Deadline(timeout_seconds), calls.Trace()

    def _stub(self, call: calls.Call, module: Any) -> Callable[..., Any]:
        """Returns the callable of a method at a target, made once.

        Args:
            call: Names both.
            module: `grpc` or `grpc.aio`.
        """
        key = (call.target, call.method)
        stub = self._stubs.get(key)
        if stub is None:
            opened = self._channels.get(call.target)
            if opened is None:
                if self._credentials is None:
                    opened = module.insecure_channel(call.target, self._options)
                else:
                    opened = module.secure_channel(
                        call.target, self._credentials, self._options
                    )
                opened = self._channels.setdefault(call.target, opened)
            path, serializer, deserializer = channel.METHODS[call.method]
            stub = opened.unary_unary(path, serializer, deserializer)
            self._stubs[key] = stub
        return stub


def failed(error: grpc.RpcError, call: calls.Call) -> failures.CallFailed:
    """Reads code and details off gRPC's exception."""
    return failures.CallFailed(
        error.code().name, error.details() or "", call.target
    )


def rows(queries: Query | Sequence[Query]) -> tuple[list[Query], bool]:
    """Returns the queries as a list and whether there was just one.

    Raises:
        ServingError: If something else is among them.
    """
    one = isinstance(queries, Query | str)
    found = [queries] if isinstance(queries, Query | str) else list(queries)
    for query in found:
        if not isinstance(query, Query):
            raise ServingError(
                "A query must be a serving.client.Query. Received: "
                f"{query!r}. Write Query(user_id=..., history=[...]).",
                "INVALID_ARGUMENT",
            )
        if isinstance(query.history, str) or isinstance(
            query.excluded_ids, str
        ):
            raise ServingError(
                "`history` and `excluded_ids` must be lists of item ids. "
                f"Received: {query!r}. Put the id in a list.",
                "INVALID_ARGUMENT",
            )
        if not 0.0 <= query.diversity <= 1.0:
            raise ServingError(
                "`diversity` must be between 0 and 1. Received: "
                f"{query.diversity!r} (from Query.diversity). 0 orders by "
                "relevance alone.",
                "INVALID_ARGUMENT",
            )
    return found, one


def check_k(k: int | None) -> None:
    """Refuses list lengths that no list has.

    Raises:
        ServingError: If `k` is below 1.
    """
    if k is not None and k < 1:
        raise ServingError(
            f"`k` must be at least 1. Received: {k}. Give the number of items "
            "wanted.",
            "INVALID_ARGUMENT",
        )
