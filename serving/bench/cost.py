"""Measures where the time of a question goes: the graph, or what is around it.

Enters: a published models.config. Leaves: a closed loop of one caller, as
several would wait for each other in the graph; of a question, the processor
time that the server takes, what the server's own metrics say of the graph and
of the request, and how many more a server could answer that runs the same
graph and costs nothing itself. On Linux, which tells what a process took.
"""

import contextlib
import dataclasses
import os
import sys
import tempfile
from pathlib import Path

from serving import embedded
from serving.client import RecommenderClient
from serving.client.command import load as bench
from serving.errors import ServingError

_MONITORING = "prometheus_config { enable: true path: '/metrics' }"
_LATENCIES = ("request_latency", "runtime_latency")
_WARM_UP = 200


class CostReport(bench.Report):
    """The loop's summary with the milliseconds of a question."""

    def __str__(self) -> str:
        (row,) = self
        return (
            f"{super().__str__()}\nA question takes {row['server_ms']:.2f} ms "
            f"of the server's processor time. {row['graph_ms']:.2f} ms pass in "
            f"the graph, {row['request_ms']:.2f} ms from request to response: "
            "around the same graph a server that costs nothing answers at most "
            f"{row['server_ms'] / row['graph_ms']:.2f} times as many"
        )


def run(models_config: Path, load: bench.Load) -> CostReport:
    """Asks in a closed loop a server of its own that is asked nothing else.

    Raises:
        ServingError: Where the system does not tell what a process took.
    """
    if sys.platform != "linux":
        raise ServingError(
            "The cost of a question is read from /proc, which Linux has. "
            f"Received: {sys.platform}. Measure in a container.",
            "UNIMPLEMENTED",
        )
    with contextlib.ExitStack() as stack:
        begin = stack.enter_context
        directory = Path(begin(tempfile.TemporaryDirectory(prefix="cost-")))
        monitoring = directory / "monitoring.config"
        monitoring.write_text(_MONITORING)
        port = embedded.free_port()
        server = begin(
            embedded.running(
                models_config,
                f"--rest_api_port={port}",
                f"--monitoring_config_file={monitoring}",
            )
        )
        client = begin(RecommenderClient(server.target, timeout_seconds=10.0))
        server.wait(lambda: bench.is_whole(client), "the published models")
        load = dataclasses.replace(load, threads=1)
        ask = bench.requests(client, load)
        for _ in range(_WARM_UP):
            ask()
        page = f"http://127.0.0.1:{port}/metrics"
        before = _milliseconds(page, server.process.pid)
        summary = bench.closed(ask, load)
        after = _milliseconds(page, server.process.pid)
    asked = summary["requests"]
    server_ms, request_ms, graph_ms = (
        (end - start) / asked for start, end in zip(before, after, strict=True)
    )
    return CostReport(
        [
            summary
            | {
                "server_ms": server_ms,
                "request_ms": request_ms,
                "graph_ms": graph_ms,
            }
        ]
    )


def _milliseconds(page: str, pid: int) -> list[float]:
    """What a server took so far: processor, requests, runs of graphs."""
    # Behind the name, which may have spaces: utime and stime, proc(5).
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(stat[11]) + int(stat[12])
    found = [1000 * ticks / os.sysconf("SC_CLK_TCK")]
    with embedded.ask(page) as answer:
        lines = answer.read().decode().splitlines()
    for name in _LATENCIES:
        prefix = f":tensorflow:serving:{name}_sum{{"
        found.append(
            sum(
                float(line.rpartition(" ")[2]) / 1000
                for line in lines
                if line.startswith(prefix)
            )
        )
    return found
