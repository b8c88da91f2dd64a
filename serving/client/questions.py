"""The questions that both clients answer, as coroutines, and their options."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar, overload

from serving import ids, signatures
from serving.client import fallback, parts
from serving.client.policy import Policy
from serving.client.query import Items, Query, Recommendations, VersionStatus
from serving.client.sides import Sides
from serving.client.stages import Stages
from serving.client.transport import calls, channel, failures, headers, retry
from serving.client.transport.connections import Connections
from serving.errors import InvalidRequest, ServingError

if TYPE_CHECKING:
    from typing_extensions import Unpack

_Row = TypeVar("_Row")
_Answer = TypeVar("_Answer")


class _Own(TypedDict, total=False):
    """What a question sets for itself; None where the client's value stands."""

    timeout_seconds: float | None
    metadata: headers.Metadata | None


class Client:
    """Holds the options of a client.

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
            this label, whoever the user is. Without it the latest answer, or
            while a release is on trial what `client.sides` says.
        metadata: Headers to send with every call.
        interceptors: gRPC interceptors for unary calls, first one outermost:
            `grpc.UnaryUnaryClientInterceptor`, or that of `grpc.aio` for the
            asyncio client.

    Raises:
        ServingError: If an option is out of range or a file cannot be read.
    """

    _kind: type[Connections]

    def __init__(
        self,
        targets: channel.Targets,
        *,
        timeout_seconds: float = 2.0,
        tls: channel.Tls | None = None,
        options: Mapping[str, object] | None = None,
        retries: retry.Retry | None = None,
        retrieval_model: str = signatures.RETRIEVAL,
        fused: str = "auto",
        popular: str | Path | Sequence[str] = (),
        version_label: str = "",
        metadata: headers.Metadata | None = None,
        interceptors: Sequence[object] = (),
    ) -> None:
        self._timeout_seconds = timeout_seconds
        calls.Trace(timeout_seconds)  # Refuses what is not positive.
        if retries is not None and not isinstance(retries, retry.Retry):
            raise InvalidRequest(
                f"`retries` must be a Retry. Received: {retries!r}. Write "
                "Retry(attempts=1) for none."
            )
        listed = ids.is_listed(interceptors)
        self._connections = self._kind(
            channel.options(tls, options),
            tls.credentials() if tls is not None else None,
            tuple(interceptors if listed else [interceptors]),
        )
        caller = calls.Caller(
            channel.addresses(targets),
            retries or retry.Retry(),
            self._connections,
        )
        self._stages = Stages(caller, retrieval_model, version_label)
        self._policy = Policy(self._stages, fused, fallback.read(popular))
        self._sides = Sides(self._stages)
        self._metadata = headers.read(metadata)

    async def _ask(
        self, question: Callable[[calls.Trace], Awaitable[_Answer]], own: _Own
    ) -> _Answer:
        """Asks under the deadline and with the headers that are wanted."""
        timeout_seconds = own["timeout_seconds"]
        try:
            self._connections.begin()
            if timeout_seconds is None:
                timeout_seconds = self._timeout_seconds
            own_metadata = headers.read(own["metadata"])
            return await question(
                calls.Trace(timeout_seconds, self._metadata + own_metadata)
            )
        except failures.Closed as error:
            raise ServingError(
                "A client must be open. Received: a question after, or "
                "during, `close()`. Make one client and keep it as long as "
                "you ask.",
                "FAILED_PRECONDITION",
            ) from error

    async def _ask_rows(
        self,
        rows: Sequence[_Row],
        one: bool,
        own: _Own,
        question: Callable[[list[_Row], calls.Trace], Awaitable[list[_Answer]]],
        width: Callable[[_Row], tuple[int, ...]] = lambda _: (1,),
    ) -> _Answer | list[_Answer]:
        """Asks for rows in parts under one deadline; `one` for no list."""
        found = await self._ask(
            lambda whole: parts.ask(
                rows,
                width,
                lambda part: question(part, whole.beside()),
            ),
            own,
        )
        return found[0] if one else found


class Questions(Client):
    """What a client can be asked.

    Methods take one `Query` and give one answer, or a list and give a list: a
    list is one batched call. All of them take `timeout_seconds` and `metadata`
    (headers, behind the client's own) for this question alone, and raise a
    `ServingError`: one of its subclasses, with the gRPC code's name in `code`.
    """

    @overload
    async def retrieve(
        self, query: Query, k: int | None = None, **own: "Unpack[_Own]"
    ) -> Items: ...

    @overload
    async def retrieve(
        self,
        query: Sequence[Query],
        k: int | None = None,
        **own: "Unpack[_Own]",
    ) -> list[Items]: ...

    async def retrieve(
        self,
        query: Query | Sequence[Query],
        k: int | None = None,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> Items | list[Items]:
        """Asks the first stage for its best `k` items (None: all it has)."""
        if k is not None:
            _check_length(k)
        return await self._ask_rows(
            *_rows(query),
            _Own(timeout_seconds=timeout_seconds, metadata=metadata),
            lambda part, trace: self._sides.ask(
                part,
                _user_id,
                trace,
                lambda some, trace: self._stages.retrieve(some, k, trace),
            ),
            parts.widths,
        )

    @overload
    async def rank(
        self,
        query: Query,
        candidate_ids: Sequence[str],
        *,
        version: int | None = None,
        in_order: bool = False,
        **own: "Unpack[_Own]",
    ) -> Items: ...

    @overload
    async def rank(
        self,
        query: Sequence[Query],
        candidate_ids: Sequence[Sequence[str]],
        *,
        version: int | None = None,
        in_order: bool = False,
        **own: "Unpack[_Own]",
    ) -> list[Items]: ...

    async def rank(
        self,
        query: Query | Sequence[Query],
        candidate_ids: Sequence[str] | Sequence[Sequence[str]],
        *,
        version: int | None = None,
        in_order: bool = False,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> Items | list[Items]:
        """Asks the second stage for the order of candidates.

        Args:
            query: One or several.
            candidate_ids: Of the query, or one list for each.
            version: To pin; waited for shortly while it is being loaded.
            in_order: Keep the candidates' order, give scores (and ratings).
            timeout_seconds, metadata: See `Questions`.
        """
        if version is not None:
            ids.whole(version, "version", 0, "Give a number that is served.")
        rows, one = _rows(query)
        lists = _candidates(candidate_ids, len(rows), one)
        return await self._ask_rows(
            list(zip(rows, lists, strict=True)),
            one,
            _Own(timeout_seconds=timeout_seconds, metadata=metadata),
            lambda part, trace: self._sides.ask(
                part,
                lambda pair: pair[0].user_id,
                trace,
                lambda some, trace: self._stages.rank(
                    some,
                    version,
                    trace,
                    in_order,
                    swap_wait=version is not None,
                ),
                is_pinned=version is not None,
            ),
            lambda pair: parts.widths(*pair),
        )

    @overload
    async def recommend(
        self, query: Query, k: int = 10, **own: "Unpack[_Own]"
    ) -> Recommendations: ...

    @overload
    async def recommend(
        self, query: Sequence[Query], k: int = 10, **own: "Unpack[_Own]"
    ) -> list[Recommendations]: ...

    async def recommend(
        self,
        query: Query | Sequence[Query],
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> Recommendations | list[Recommendations]:
        """Asks both stages for the best `k` items.

        The answer is degraded, and says so, when a stage does not answer; see
        `serving.client.policy`.
        """
        _check_length(k)
        return await self._ask_rows(
            *_rows(query),
            _Own(timeout_seconds=timeout_seconds, metadata=metadata),
            lambda part, trace: self._sides.ask(
                part,
                _user_id,
                trace,
                lambda some, trace: self._policy.recommend(some, k, trace),
            ),
            parts.widths,
        )

    @overload
    async def similar_items(
        self, item_id: str, k: int = 10, **own: "Unpack[_Own]"
    ) -> Items: ...

    @overload
    async def similar_items(
        self,
        item_id: list[str] | tuple[str, ...],
        k: int = 10,
        **own: "Unpack[_Own]",
    ) -> list[Items]: ...

    async def similar_items(
        self,
        item_id: str | list[str] | tuple[str, ...],
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> Items | list[Items]:
        """Asks for the items nearest to one, or to each of several."""
        _check_length(k)
        one = isinstance(item_id, str)
        rows = ids.several([item_id] if one else item_id, "item_id")
        return await self._ask_rows(
            rows,
            one,
            _Own(timeout_seconds=timeout_seconds, metadata=metadata),
            lambda part, trace: self._sides.ask(
                part,
                lambda _: "",
                trace,
                lambda some, trace: self._stages.similar_items(some, k, trace),
            ),
        )

    async def status(
        self,
        models: Sequence[str] = signatures.BUNDLE,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> list[VersionStatus]:
        """Lists every version the servers know of, unknown models left out."""
        names = ids.several(models, "models")
        return await self._ask(
            lambda trace: self._stages.status(names, trace),
            _Own(timeout_seconds=timeout_seconds, metadata=metadata),
        )


def _user_id(query: Query) -> str:
    return query.user_id


def _check_length(k: int) -> None:
    ids.whole(k, "k", 1, "Give the number of items wanted.")


def _rows(queries: Query | Sequence[Query]) -> tuple[list[Query], bool]:
    """Returns the queries as a list and whether there was just one."""
    if isinstance(queries, Query):
        return [queries], True
    found = list(queries) if ids.is_listed(queries) else [queries]
    for query in found:
        if not isinstance(query, Query):
            raise InvalidRequest(
                "A query must be a serving.client.Query. Received: "
                f"{query!r}. Write Query(user_id=..., history=[...])."
            )
    return [query for query in found if isinstance(query, Query)], False


def _candidates(
    given: object, num_queries: int, one: bool
) -> list[tuple[str, ...]]:
    """Returns the candidates as one list of ids a query."""
    if one:
        return [ids.several(given, "candidate_ids")]
    lists = given if ids.is_listed(given) else [given]
    found = [
        ids.several(row, f"candidate_ids[{i}]") for i, row in enumerate(lists)
    ]
    if len(found) != num_queries:
        raise InvalidRequest(
            "Every query must come with its own candidates. Received: "
            f"{num_queries} queries and {len(found)} lists (from "
            "candidate_ids). Give one list a query."
        )
    return found
