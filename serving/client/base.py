"""What the synchronous and the asyncio client share: options and questions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from serving import ids, signatures
from serving.client import (
    calls,
    channel,
    checks,
    failures,
    fallback,
    headers,
    parts,
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
# Both are None where the client's own value stands.
Start = tuple[float | None, headers.Metadata | None]


@dataclass(frozen=True)
class Question:
    """A question that was checked and only has to be carried out.

    Attributes:
        plan: Its calls.
        one: Whether a single answer is wanted, not a list.
        metadata: Headers of its calls.
    """

    plan: calls.Plan
    one: bool
    metadata: headers.Pairs


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
        version_label: Asks for the versions that the servers' config gives
            this label, such as "stable", instead of the latest ones.
        metadata: Headers to send with every call.
        interceptors: gRPC interceptors for unary calls, first one outermost:
            `grpc.UnaryUnaryClientInterceptor`, or that of `grpc.aio` for the
            asyncio client.

    Raises:
        ServingError: If an option is out of range or a file cannot be read.
    """

    _interceptor: type = object

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
        version_label: str = "",
        metadata: headers.Metadata | None = None,
        interceptors: Sequence[Any] = (),
    ) -> None:
        self._timeout_seconds = timeout_seconds
        retry.Deadline(timeout_seconds)  # Refuses what is not positive.
        if retries is not None and not isinstance(retries, retry.Retry):
            raise ServingError(
                f"`retries` must be a Retry. Received: {retries!r}. Write "
                "Retry(attempts=1) for none.",
                "INVALID_ARGUMENT",
            )
        self._caller = calls.Caller(
            channel.addresses(targets), retries or retry.Retry()
        )
        self._plans = plans.Plans(self._caller, retrieval_model, version_label)
        self._policy = policy.Policy(self._plans, fused, fallback.read(popular))
        self._options = channel.options(tls, options)
        self._credentials = tls.credentials() if tls is not None else None
        self._metadata = headers.read(metadata)
        listed = ids.is_listed(interceptors)
        self._interceptors = tuple(interceptors if listed else [interceptors])
        for found in self._interceptors:
            if not isinstance(found, self._interceptor):
                raise ServingError(
                    "An interceptor must be a "
                    f"{self._interceptor.__module__}."
                    f"{self._interceptor.__name__}. Received: {found!r}. "
                    "Threads and asyncio have one class each.",
                    "INVALID_ARGUMENT",
                )
        self._channels: dict[str, Any] = {}
        self._stubs: dict[tuple[str, str], Any] = {}
        self._is_closed = False

    def _question(
        self,
        plan: Callable[..., calls.Plan],
        widths: Sequence[tuple[int, ...]],
        one: bool,
        start: Start,
    ) -> Question:
        """Puts a batch's parts under one deadline.

        Args:
            plan: From row numbers, deadline and trace to the calls of a part.
            widths: Of each row.
            one: Whether a single answer is wanted.
            start: The caller's timeout and headers.
        """
        deadline, metadata = self._start(start)
        whole = parts.plan(
            widths, lambda part: plan(part, deadline, calls.Trace())
        )
        return Question(whole, one, metadata)

    def _start(self, start: Start) -> tuple[retry.Deadline, headers.Pairs]:
        if self._is_closed:
            raise closed()
        timeout_seconds, metadata = start
        if timeout_seconds is None:
            timeout_seconds = self._timeout_seconds
        return (
            retry.Deadline(timeout_seconds),
            self._metadata + headers.read(metadata),
        )

    def _retrieve(
        self, query: Query | Sequence[Query], k: int | None, start: Start
    ) -> Question:
        checks.length(k, optional=True)
        return self._of_queries(self._plans.retrieve, query, k, start)

    def _recommend(
        self, query: Query | Sequence[Query], k: int, start: Start
    ) -> Question:
        checks.length(k)
        return self._of_queries(self._policy.recommend, query, k, start)

    def _of_queries(
        self,
        plan: Callable[..., calls.Plan],
        query: Query | Sequence[Query],
        k: int | None,
        start: Start,
    ) -> Question:
        queries, one = checks.rows(query)
        return self._question(
            lambda part, *rest: plan([queries[i] for i in part], k, *rest),
            [parts.widths(query) for query in queries],
            one,
            start,
        )

    def _rank(
        self,
        query: Query | Sequence[Query],
        candidate_ids: Any,
        version: int | None,
        in_order: bool,
        start: Start,
    ) -> Question:
        if version is not None:
            checks.whole(version, "version", 0, "Give a number that is served.")
        queries, one = checks.rows(query)
        lists = checks.candidates(candidate_ids, queries, one)
        return self._question(
            lambda part, deadline, trace: self._plans.rank(
                [queries[i] for i in part],
                [lists[i] for i in part],
                version,
                deadline,
                trace,
                signature=(
                    signatures.SCORE if in_order else signatures.SERVING_DEFAULT
                ),
                swap_wait=version is not None,
            ),
            [
                parts.widths(query, row)
                for query, row in zip(queries, lists, strict=True)
            ],
            one,
            start,
        )

    def _similar_items(self, item_id: Any, k: int, start: Start) -> Question:
        checks.length(k)
        one = isinstance(item_id, str)
        given = [item_id] if one else item_id
        item_ids = ids.several(given, "item_id")
        return self._question(
            lambda part, *rest: self._plans.similar_items(
                [item_ids[i] for i in part], k, *rest
            ),
            [(1,)] * len(item_ids),
            one,
            start,
        )

    def _status(self, models: Sequence[str], start: Start) -> Question:
        names = ids.several(models, "models")
        deadline, metadata = self._start(start)
        return Question(self._plans.status(names, deadline), False, metadata)

    def _stub(self, call: calls.Call) -> Any:
        """Returns the callable of a method at a target, made once."""
        key = (call.target, call.method)
        stub = self._stubs.get(key)
        if stub is None:
            opened = self._channels.get(call.target)
            if opened is None:
                opened = self._channels.setdefault(
                    call.target, self._open(call.target)
                )
            path, serializer, deserializer = channel.METHODS[call.method]
            stub = opened.unary_unary(path, serializer, deserializer)
            self._stubs[key] = stub
        return stub

    def _open(self, target: str) -> Any:
        """Returns a channel to a target."""
        raise NotImplementedError

    def _failed(
        self, error: Exception, call: calls.Call
    ) -> failures.CallFailed:
        """Reads code and details off gRPC's exception."""
        if self._is_closed:
            raise closed() from error
        if not isinstance(error, grpc.RpcError):
            raise error
        code, details = error.code().name, error.details() or ""
        # TensorFlow Serving takes a label that it has not got for a malformed
        # request, also where it has not got the model: to us it is not there.
        if "Unrecognized servable version label" in details:
            code = "NOT_FOUND"
        proxy = channel.proxy(call.target, self._options)
        return failures.CallFailed(code, details, call.target, proxy)

    def _probed(self, call: calls.Call, code: str) -> None:
        """Takes the outcome of a probe, gRPC's status name."""
        if code == "DEADLINE_EXCEEDED":
            # The connection may be dead though the server is not: a machine
            # that lost its power says no goodbye. The next probe opens one.
            self._channels.pop(call.target, None)
            for key in list(self._stubs):
                if key[0] == call.target:
                    self._stubs.pop(key, None)
        self._caller.health.probed(call.target, code not in retry.SILENT)


def closed() -> ServingError:
    """Words a question that comes too late."""
    return ServingError(
        "A client must be open. Received: a question after, or during, "
        "`close()`. Make one client and keep it as long as you ask.",
        "FAILED_PRECONDITION",
    )
