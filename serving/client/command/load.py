"""Measures a running deployment: closed loop, open loop, honest latencies.

Enters: a client and a load. Leaves: quantiles, throughput, errors by code.

The closed loop keeps `threads` callers busy: the most the deployment gives,
but a stall hides the requests that would have come meanwhile (coordinated
omission). The open loop sends on a Poisson schedule fixed beforehand and
counts latency from the moment a request was **due**, so that a stall weighs
as much as it would for users.
"""

import contextlib
import itertools
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from serving.client.clients import RecommenderClient
from serving.client.query import Items, Query, Recommendations
from serving.errors import InvalidRequest, ServingError

METHODS = ("recommend", "retrieve", "rank")
# What one loop measured: latencies of the answers in milliseconds, failures by
# gRPC code, answers by model version.
Summary: TypeAlias = dict[str, Any]
_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
Ask: TypeAlias = Callable[[], Sequence[Items | Recommendations]]


@dataclass(frozen=True)
class Load:
    """What to send.

    Attributes:
        method: "recommend", "retrieve" or "rank".
        threads: Callers at once.
        seconds: Of each loop.
        rate: Requests a second of the open loop.
        batch: Queries a request.
    """

    method: str = "recommend"
    threads: int = 4
    seconds: float = 10.0
    rate: float = 200.0
    batch: int = 1

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InvalidRequest(
                f"`method` must be one of {', '.join(METHODS)}. Received: "
                f"{self.method!r} (from --method)."
            )
        for name in ("threads", "seconds", "rate", "batch"):
            if not getattr(self, name) > 0:
                raise InvalidRequest(
                    f"`{name}` must be positive. Received: "
                    f"{getattr(self, name)} (from --{name})."
                )


class Report(list[Summary]):
    """Summaries of the loops; prints as a table."""

    def median(self, loop: str, figure: str) -> float:
        """Of the loops of one name."""
        rows = (row for row in self if row["loop"] == loop)
        return float(statistics.median(row[figure] for row in rows))

    def __str__(self) -> str:
        lines = [
            "loop     answers/s   p50 ms   p95 ms   p99 ms   max ms"
            "  failed  degraded"
        ]
        for row in self:
            lines.append(
                f"{row['loop']:8}{row['per_second']:10.1f}"
                f"{row['p50_ms']:9.2f}{row['p95_ms']:9.2f}"
                f"{row['p99_ms']:9.2f}{row['max_ms']:9.2f}"
                f"{sum(row['failed'].values()):8d}{row['degraded']:10d}"
            )
        for row in self:
            if row["failed"]:
                lines.append(f"{row['loop']}: failed {row['failed']}")
        return "\n".join(lines)


def run(client: RecommenderClient, load: Load) -> Report:
    """Runs the closed loop, then the open one, on queries of its own making."""
    ask = requests(client, load)
    ask()  # Learns signatures; connections are open before the clock starts.
    return Report([closed(ask, load), opened(ask, load)])


def is_whole(client: RecommenderClient) -> bool:
    """Whether a question is answered, and by both stages."""
    with contextlib.suppress(ServingError):
        return not client.recommend(Query()).degraded
    return False


def requests(client: RecommenderClient, load: Load) -> Ask:
    """Returns a function that sends one request of random histories.

    Items come from what retrieval answers to nobody in particular, so the
    bench needs no data of its own.
    """
    known = client.retrieve(Query()).item_ids
    source = random.Random(0)

    def queries() -> list[Query]:
        return [
            Query(history=source.sample(known, min(len(known) // 2, 10)))
            for _ in range(load.batch)
        ]

    if load.method == "retrieve":
        return lambda: client.retrieve(queries())
    if load.method == "rank":
        return lambda: client.rank(queries(), [known] * load.batch)
    return lambda: client.recommend(queries())


def closed(
    ask: Ask,
    load: Load,
    name: str = "closed",
    is_over: Callable[[], bool] | None = None,
) -> Summary:
    """Keeps every thread busy, for `load.seconds` or until `is_over`."""
    end = time.perf_counter() + load.seconds

    def due() -> float | None:
        now = time.perf_counter()
        return None if (is_over() if is_over else now >= end) else now

    return _run(name, ask, load.threads, due)


def opened(
    ask: Ask,
    load: Load,
    name: str = "open",
    is_over: Callable[[], bool] | None = None,
) -> Summary:
    """Sends on a schedule that does not wait for answers, as long as `closed`.

    `load.threads` times 8 callers wait for their turn; when all are busy the
    wait for one counts as latency.
    """
    source = random.Random(1)
    count = max(1, int(load.rate * load.seconds))
    times = itertools.accumulate(
        source.expovariate(load.rate)
        for _ in (itertools.count() if is_over else range(count))
    )
    lock, began = threading.Lock(), time.perf_counter()

    def due() -> float | None:
        with lock:
            moment = next(times, None)
        if moment is None or (is_over and is_over()):
            return None
        wait = began + moment - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        return began + moment

    return _run(name, ask, load.threads * 8, due)


def _run(
    loop: str, ask: Ask, threads: int, due: Callable[[], float | None]
) -> Summary:
    """Runs callers until `due` gives no more moments."""
    # Lists take what several threads append without a lock.
    latencies: list[float] = []
    answers: list[tuple[int, bool, int]] = []
    failed: list[str] = []

    def work() -> None:
        while (moment := due()) is not None:
            try:
                first = ask()[0]
            except ServingError as error:
                failed.append(error.code)
                continue
            latencies.append((time.perf_counter() - moment) * 1e3)
            is_degraded = bool(getattr(first, "degraded", ""))
            retries = getattr(first, "retries", 0)
            answers.append((first.version, is_degraded, retries))

    began = time.perf_counter()
    workers = [
        threading.Thread(target=work, daemon=True) for _ in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    per_second = len(answers) / (time.perf_counter() - began)
    return {
        "loop": loop,
        "requests": len(answers) + len(failed),
        "per_second": round(per_second, 1),
        **quantiles(latencies),
        "failed": dict(Counter(failed)),
        "degraded": sum(is_degraded for _, is_degraded, _ in answers),
        "retries": sum(retries for _, _, retries in answers),
        "versions": dict(Counter(version for version, _, _ in answers)),
    }


def quantiles(latencies: Sequence[float]) -> dict[str, float]:
    """Milliseconds that a share of the answers did not exceed, by its name."""
    found = sorted(latencies) or [float("nan")]
    return {
        f"{name}_ms": round(
            found[min(int(share * len(found)), len(found) - 1)], 3
        )
        for name, share in _SHARES.items()
    }
