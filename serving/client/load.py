"""Measures a running deployment: closed loop, open loop, honest latencies.

Enters: a client and a load. Leaves: quantiles, throughput, errors by code.

The closed loop keeps `threads` callers busy: the most the deployment gives,
but a stall hides the requests that would have come meanwhile (coordinated
omission). The open loop sends on a Poisson schedule fixed beforehand and
counts latency from the moment a request was **due**, so that a stall weighs
as much as it would for users.
"""

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.client.query import Query
from serving.errors import ServingError

METHODS = ("recommend", "retrieve", "rank")


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
            raise ServingError(
                f"`method` must be one of {', '.join(METHODS)}. Received: "
                f"{self.method!r} (from --method).",
                "INVALID_ARGUMENT",
            )
        for name in ("threads", "seconds", "rate", "batch"):
            if not getattr(self, name) > 0:
                raise ServingError(
                    f"`{name}` must be positive. Received: "
                    f"{getattr(self, name)} (from --{name}).",
                    "INVALID_ARGUMENT",
                )


@dataclass(frozen=True)
class Result:
    """What one loop measured; latencies in milliseconds, answers only.

    Attributes:
        loop: "closed" or "open".
        requests: Sent.
        failed: Of them, by gRPC code.
        degraded: Of the answers.
        retries: Calls beyond the necessary ones.
        versions: Answers by model version.
        seconds: From the first request to the last answer.
        latencies: Of the answers, sorted.
    """

    loop: str
    requests: int
    failed: dict[str, int]
    degraded: int
    retries: int
    versions: dict[int, int]
    seconds: float
    latencies: tuple[float, ...] = field(repr=False)

    def quantile(self, share: float) -> float:
        """Returns the latency that `share` of the answers did not exceed."""
        if not self.latencies:
            return float("nan")
        index = min(int(share * len(self.latencies)), len(self.latencies) - 1)
        return self.latencies[index]

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def summary(self) -> dict[str, Any]:
        """Returns the figures for machines."""
        return {
            "loop": self.loop,
            "requests": self.requests,
            "per_second": round(self.per_second, 1),
            "p50_ms": round(self.quantile(0.5), 3),
            "p95_ms": round(self.quantile(0.95), 3),
            "p99_ms": round(self.quantile(0.99), 3),
            "max_ms": round(self.quantile(1.0), 3),
            "failed": dict(self.failed),
            "degraded": self.degraded,
            "retries": self.retries,
            "versions": dict(self.versions),
        }


class Report(list[dict[str, Any]]):
    """Summaries of the loops; prints as a table."""

    def __str__(self) -> str:
        header = "loop     answers/s   p50 ms   p95 ms   p99 ms   max ms"
        lines = [header + "  failed  degraded"]
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


def run(client: Any, load: Load) -> Report:
    """Runs the closed loop, then the open one, on queries of its own making.

    Args:
        client: `serving.client.RecommenderClient`.
        load: What to send.

    Raises:
        ServingError: If the deployment does not answer before the start.
    """
    ask = requests(client, load)
    ask()  # Learns signatures; connections are open before the clock starts.
    loops = (closed(ask, load), opened(ask, load))
    return Report(result.summary() for result in loops)


def requests(client: Any, load: Load) -> Callable[[], Any]:
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


def closed(ask: Callable[[], Any], load: Load) -> Result:
    """Keeps every thread busy for `load.seconds`."""
    end = time.perf_counter() + load.seconds
    return _run("closed", ask, load.threads, lambda: _before(end))


def _before(end: float) -> float | None:
    now = time.perf_counter()
    return now if now < end else None


def opened(
    ask: Callable[[], Any],
    load: Load,
    name: str = "open",
    is_over: Callable[[], bool] | None = None,
) -> Result:
    """Sends on a schedule that does not wait for answers.

    `load.threads` times 8 callers wait for their turn; when all are busy the
    wait for one counts as latency.

    Args:
        ask: Sends one request.
        load: What to send.
        name: Of the loop, for the report.
        is_over: Whether to end; None ends after `load.seconds`.
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
    loop: str,
    ask: Callable[[], Any],
    threads: int,
    due: Callable[[], float | None],
) -> Result:
    """Runs callers until `due` gives no more moments."""
    parts = [_Part() for _ in range(threads)]
    began = time.perf_counter()
    workers = [
        threading.Thread(target=part.work, args=(ask, due), daemon=True)
        for part in parts
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - began
    latencies = sorted(itertools.chain(*(part.latencies for part in parts)))
    failed = sum((part.failed for part in parts), Counter[str]())
    return Result(
        loop,
        len(latencies) + failed.total(),
        dict(failed),
        sum(part.degraded for part in parts),
        sum(part.retries for part in parts),
        dict(sum((part.versions for part in parts), Counter[int]())),
        seconds,
        tuple(latencies),
    )


class _Part:
    """What one caller saw; apart from the others', so no lock is needed."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.failed: Counter[str] = Counter()
        self.versions: Counter[int] = Counter()
        self.degraded = 0
        self.retries = 0

    def work(
        self, ask: Callable[[], Any], due: Callable[[], float | None]
    ) -> None:
        """Sends until there is nothing more to send."""
        while (moment := due()) is not None:
            try:
                answers: Sequence[Any] = ask()
            except ServingError as error:
                self.failed[error.code] += 1
                continue
            self.latencies.append((time.perf_counter() - moment) * 1e3)
            first = answers[0]
            self.versions[first.version] += 1
            self.degraded += bool(getattr(first, "degraded", ""))
            self.retries += getattr(first, "retries", 0)
