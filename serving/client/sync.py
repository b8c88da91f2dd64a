"""The client for threads: every method blocks until its answer or deadline."""

import time
from collections.abc import Sequence
from typing import Any, overload

import grpc

from serving import signatures
from serving.client import base, calls
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
    a list: a list is one batched call. All of them take `timeout_seconds` for
    this question alone and raise `serving.errors.ServingError` with the gRPC
    code's name in `code`.

    Args:
        targets: One address, a list of replicas, or a mapping from model name
            ("*" for the others) to either.
        **options: See `serving.client.base.Base`.

    Example:
        client = RecommenderClient("127.0.0.1:8500", popular="popular.json")
        answer = client.recommend(Query(history=["50", "181"]), k=10)
        print(answer.item_ids, answer.degraded or "whole")
    """

    @overload
    def retrieve(
        self,
        query: Query,
        k: int | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> Items: ...

    @overload
    def retrieve(
        self,
        query: Sequence[Query],
        k: int | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> list[Items]: ...

    def retrieve(
        self,
        query: Query | Sequence[Query],
        k: int | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> Items | list[Items]:
        """Asks the first stage for its best `k` items (None: all it has)."""
        base.check_k(k)
        queries, one = base.rows(query)
        plan = self._plans.retrieve(queries, k, *self._start(timeout_seconds))
        return self._answer(plan, queries, one)

    @overload
    def rank(
        self,
        query: Query,
        candidate_ids: Sequence[str],
        *,
        version: int | None = None,
        in_order: bool = False,
        timeout_seconds: float | None = None,
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
    ) -> list[Items]: ...

    def rank(
        self,
        query: Query | Sequence[Query],
        candidate_ids: Sequence[Any],
        *,
        version: int | None = None,
        in_order: bool = False,
        timeout_seconds: float | None = None,
    ) -> Items | list[Items]:
        """Asks the second stage for the order of candidates.

        Args:
            query: One or several.
            candidate_ids: Of the query, or one list for each.
            version: To pin; waited for shortly while it is being loaded.
            in_order: Keep the candidates' order, give scores (and ratings).
            timeout_seconds: For this question.
        """
        queries, one = base.rows(query)
        plan = self._plans.rank(
            queries,
            [candidate_ids] if one else candidate_ids,
            version,
            *self._start(timeout_seconds),
            signature=(
                signatures.SCORE if in_order else signatures.SERVING_DEFAULT
            ),
            swap_wait=version is not None,
        )
        return self._answer(plan, queries, one)

    @overload
    def recommend(
        self,
        query: Query,
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
    ) -> Recommendations: ...

    @overload
    def recommend(
        self,
        query: Sequence[Query],
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
    ) -> list[Recommendations]: ...

    def recommend(
        self,
        query: Query | Sequence[Query],
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
    ) -> Recommendations | list[Recommendations]:
        """Asks both stages for the best `k` items.

        The answer is degraded, and says so, when a stage does not answer; see
        `serving.client.policy`.
        """
        base.check_k(k)
        queries, one = base.rows(query)
        plan = self._policy.recommend(queries, k, *self._start(timeout_seconds))
        return self._answer(plan, queries, one)

    @overload
    def similar_items(
        self,
        item_id: str,
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
    ) -> Items: ...

    @overload
    def similar_items(
        self,
        item_id: list[str] | tuple[str, ...],
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
    ) -> list[Items]: ...

    def similar_items(
        self,
        item_id: str | list[str] | tuple[str, ...],
        k: int = 10,
        *,
        timeout_seconds: float | None = None,
    ) -> Items | list[Items]:
        """Asks for the items nearest to one, or to each of several."""
        base.check_k(k)
        one = isinstance(item_id, str)
        ids = [item_id] if isinstance(item_id, str) else list(item_id)
        plan = self._plans.similar_items(ids, k, *self._start(timeout_seconds))
        return self._answer(plan, ids, one)

    def status(
        self,
        models: Sequence[str] = base.MODELS,
        *,
        timeout_seconds: float | None = None,
    ) -> list[VersionStatus]:
        """Lists every version the servers know of, unknown models left out."""
        deadline, _ = self._start(timeout_seconds)
        found: list[VersionStatus] = self._drive(
            self._plans.status(models, deadline)
        )
        return found

    def close(self) -> None:
        """Closes the connections; the client cannot be used afterwards."""
        for opened in self._channels.values():
            opened.close()

    def __enter__(self) -> "RecommenderClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, plan: calls.Plan, queries: list[Any], one: bool) -> Any:
        if not queries:
            return []
        found = self._drive(plan)
        return found[0] if one else found

    def _drive(self, plan: calls.Plan) -> Any:
        """Carries a plan out: sends its calls, sleeps its pauses."""
        try:
            step = next(plan)
            while True:
                if isinstance(step, calls.Pause):
                    time.sleep(step.seconds)
                    step = plan.send(None)
                    continue
                try:
                    response = self._stub(step, grpc)(
                        step.request, timeout=step.timeout_seconds
                    )
                except grpc.RpcError as error:
                    step = plan.throw(base.failed(error, step))
                else:
                    step = plan.send(response)
        except StopIteration as done:
            return done.value
