"""Asks a running deployment for everything once: is it fit for traffic?"""

import time
from dataclasses import dataclass

from serving import signatures
from serving.client.clients import RecommenderClient
from serving.client.query import Items, Query, Recommendations, VersionStatus
from serving.errors import ModelNotFound, ServingError


@dataclass(frozen=True)
class Report:
    """What a deployment answered.

    Attributes:
        retrieved: The first stage's answer for a user without history.
        recommended: Both stages' answer to that user once the best item
            retrieved has been consumed and is excluded.
    """

    statuses: list[VersionStatus]
    retrieved: Items
    recommended: Recommendations
    degraded: str

    def __str__(self) -> str:
        answer = self.recommended
        ready = ", ".join(
            f"{row.model} {row.version}"
            for row in self.statuses
            if row.state == "AVAILABLE"
        )
        way = "in one call" if answer.fused else "in two calls"
        lacks = f"; {self.degraded}: {answer.reason}" if self.degraded else ""
        return (
            f"status     ok    available: {ready}\n"
            f"retrieval  ok    {len(self.retrieved.item_ids)} items, "
            f"{self.retrieved.latency_ms:.1f} ms\n"
            f"recommend  {'FAIL' if lacks else 'ok  '}  "
            f"{', '.join(answer.item_ids[:5])}, ... {way}, "
            f"{answer.latency_ms:.1f} ms{lacks}"
        )


def run(
    client: RecommenderClient, wait_seconds: float, timeout_seconds: float
) -> Report:
    """Asks for status, retrieval and recommendations.

    Servers that are not up, or not whole, are asked for `wait_seconds`.

    Raises:
        ServingError: If a stage does not answer, or answers with an item that
            the request excludes.
    """
    end = time.monotonic() + wait_seconds
    while True:
        late = time.monotonic() >= end
        try:
            report = _once(client, timeout_seconds)
            if late or not report.degraded:
                return report
        except ServingError:
            if late:
                raise
        time.sleep(min(1.0, wait_seconds))


def _once(client: RecommenderClient, timeout_seconds: float) -> Report:
    statuses = client.status(
        list(signatures.SIGNATURES), timeout_seconds=timeout_seconds
    )
    if not any(row.state == "AVAILABLE" for row in statuses):
        raise ModelNotFound(
            "A deployment must have a model that is AVAILABLE. Received: "
            f"{statuses or 'no model at all'} (from GetModelStatus). Publish "
            "one, or look at the server's log for why it does not load."
        )
    retrieved = client.retrieve(Query(), timeout_seconds=timeout_seconds)
    if not retrieved.item_ids:
        raise ServingError(
            "Retrieval must return items. Received: none (for a user without "
            "history). Look at the published version's evaluation.",
            "INTERNAL",
        )
    seen = retrieved.item_ids[0]
    # Excluded too: where items are taken again, the history may be answered.
    recommended = client.recommend(
        Query(history=[seen], excluded_ids=[seen]),
        timeout_seconds=timeout_seconds,
    )
    if seen in recommended.item_ids:
        raise ServingError(
            "An excluded item must not be recommended. Received: "
            f"{seen!r} (version {recommended.version}). Roll back: "
            "`make rollback`.",
            "INTERNAL",
        )
    return Report(statuses, retrieved, recommended, recommended.degraded)
