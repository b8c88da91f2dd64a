"""The client for threads: every method blocks until its answer or deadline."""

import time
from collections.abc import Sequence
from typing import Any, overload

import grpc

from serving.client import base, calls, failures, forks, headers
from serving.client.query import (
    Items,
    Query,
    Recommendations,
    VersionStatus,
)


class RecommenderClient(base.Base):
    """Asks model servers for recommendations.

    One client serves many threads; make one and keep it. Usable as a context
    manager. Methods take one `Query` and give one answer, or a list and give
    a list: a list is one batched call. All of them take `timeout_seconds` and
    `metadata` for this question alone and raise a `ServingError`: one of its
    subclasses, with the gRPC code's name in `code`.

    Args:
        targets: One address, a list of replicas, or a mapping from model name
            ("*" for the others) to either.
        **options: See `serving.client.base.Base`.

    Example:
        client = RecommenderClient("127.0.0.1:8500", popular="popular.json")
        answer = client.recommend(Query(history=["50", "181"]), k=10)
        print(answer.item_ids, answer.degraded or "whole")
    """

    _interceptor = grpc.UnaryUnaryClientInterceptor

    @overload
    def retrieve(
        self,
        query: Query,
        k: int | None = None,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> Items: ...

    @overload
    def retrieve(
        self,
        query: Sequence[Query],
        k: int | None = None,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> list[Items]: ...

    def retrieve(
        self,
        query: Query | Sequence[Query],
        k: int | None = None,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> Items | list[Items]:
        """Asks the first stage for its best `k` items (None: all it has)."""
        start = timeout_seconds, metadata
        return self._answer(self._retrieve(query, k, start))

    @overload
    def rank(
        self,
        query: Query,
        candidate_ids: Sequence[str],
        *,
        version: int | None = None,
        in_order: bool = False,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> Items: ...

    @overload
    def rank(
        self,
        query: Sequence[Query],
        candidate_ids: Sequence[Sequence[str]],
        *,
        version: int | None = None,
        in_order: bool = False,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> list[Items]: ...

    def rank(
        self,
        query: Query | Sequence[Query],
        candidate_ids: Sequence[Any],
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
            timeout_seconds: For this question.
            metadata: Headers for this question, behind the client's own.
        """
        start = timeout_seconds, metadata
        return self._answer(
            self._rank(query, candidate_ids, version, in_order, start)
        )

    @overload
    def recommend(
        self,
        query: Query,
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> Recommendations: ...

    @overload
    def recommend(
        self,
        query: Sequence[Query],
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> list[Recommendations]: ...

    def recommend(
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
        start = timeout_seconds, metadata
        return self._answer(self._recommend(query, k, start))

    @overload
    def similar_items(
        self,
        item_id: str,
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> Items: ...

    @overload
    def similar_items(
        self,
        item_id: list[str] | tuple[str, ...],
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> list[Items]: ...

    def similar_items(
        self,
        item_id: str | list[str] | tuple[str, ...],
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> Items | list[Items]:
        """Asks for the items nearest to one, or to each of several."""
        start = timeout_seconds, metadata
        return self._answer(self._similar_items(item_id, k, start))

    def status(
        self,
        models: Sequence[str] = base.MODELS,
        *,
        timeout_seconds: float | None = None,
        metadata: headers.Metadata | None = None,
    ) -> list[VersionStatus]:
        """Lists every version the servers know of, unknown models left out."""
        start = timeout_seconds, metadata
        found: list[VersionStatus] = self._answer(self._status(models, start))
        return found

    def close(self) -> None:
        """Closes the connections; the client cannot be used afterwards."""
        self._is_closed = True
        for opened in list(self._channels.values()):
            opened.close()

    def __enter__(self) -> "RecommenderClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, target: str) -> Any:
        if self._credentials is None:
            opened = grpc.insecure_channel(target, self._options)
        else:
            opened = grpc.secure_channel(
                target, self._credentials, self._options
            )
        return grpc.intercept_channel(opened, *self._interceptors)

    def _answer(self, question: base.Question) -> Any:
        found = self._drive(question)
        return found[0] if question.one else found

    def _drive(self, question: base.Question) -> Any:
        """Carries a plan out: sends its calls, sleeps its pauses."""
        plan = question.plan
        forks.begin(plan)
        try:
            step = next(plan)
            while True:
                response = None
                if isinstance(step, calls.Pause):
                    time.sleep(step.seconds)
                elif isinstance(step, calls.Probe):
                    self._probe(step.call, question.metadata)
                else:
                    try:
                        response = self._ask(step, question.metadata)
                    except failures.CallFailed as failure:
                        step = plan.throw(failure)
                        continue
                step = plan.send(response)
        except StopIteration as done:
            return done.value
        finally:
            forks.end(plan)

    def _ask(self, call: calls.Call, metadata: headers.Pairs) -> Any:
        try:
            return self._stub(call)(
                call.request, timeout=call.timeout_seconds, metadata=metadata
            )
        # A channel that is closed raises a ValueError.
        except (grpc.RpcError, ValueError) as error:
            raise self._failed(error, call) from error

    def _probe(self, call: calls.Call, metadata: headers.Pairs) -> None:
        """Sends a call that nobody waits for."""
        try:
            future = self._stub(call).future(
                call.request, timeout=call.timeout_seconds, metadata=metadata
            )
        except ValueError as error:
            raise self._failed(error, call) from error
        forks.begin(call)

        def note(done: grpc.Future) -> None:
            forks.end(call)
            self._probed(call, done.code().name)

        future.add_done_callback(note)
