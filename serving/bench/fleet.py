"""Measures what callers notice when one of two replicas fails.

Enters: a published models.config, which two servers serve. Leaves: latencies
of an open loop with both of them; with one stopped in the middle of the load,
so that it keeps its connections and answers nothing; with both again; and
with that one killed. Each beside the first, printed and in
artifacts/bench/fleet.json.
"""

import contextlib
import dataclasses
import functools
import json
import os
import signal
from pathlib import Path

from serving import embedded, signatures
from serving.client import RecommenderClient
from serving.client.command import load as bench

OUTPUT = Path("artifacts/bench/fleet.json")
# What happens to the first of the two, in this order.
_PHASES: dict[str, int] = {
    "healthy": 0,
    "stopped": signal.SIGSTOP,
    "back": signal.SIGCONT,
    "killed": signal.SIGKILL,
}


class FleetReport(bench.Report):
    """The phases' summaries, the first with both replicas."""

    def __str__(self) -> str:
        lines = [super().__str__()]
        for row in self[1:]:
            whole = row["requests"] - row["degraded"] - row["not_answered"]
            lines.append(
                f"{row['loop']}: {whole} of {row['requests']} answered whole, "
                f"p50 {row['p50_ratio']:.2f} and p95 {row['p95_ratio']:.2f} "
                "times the healthy one"
            )
        return "\n".join(lines)


def run(models_config: Path, load: bench.Load) -> FleetReport:
    """Keeps asking two servers of its own while one of them fails.

    `load.seconds` are those of each phase.
    """
    rows: list[bench.Summary] = []
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(embedded.running(models_config))
            for _ in range(2)
        ]
        for server in servers:
            server.wait(
                functools.partial(_recommends, server),
                f"{signatures.RETRIEVAL} and {signatures.RANKING}",
            )
        process = servers[0].process
        # A stopped process does not hear that it should end.
        stack.callback(process.kill)
        client = stack.enter_context(
            RecommenderClient([server.target for server in servers])
        )
        ask = bench.requests(client, load)
        # Both replicas have answered before one of them is stopped.
        bench.closed(ask, dataclasses.replace(load, seconds=1.0))
        for name, number in _PHASES.items():
            if number:
                os.kill(process.pid, number)
            summary = bench.opened(ask, load, name)
            healthy = rows[0] if rows else summary
            rows.append(
                summary
                | {
                    "not_answered": sum(summary["failed"].values()),
                    "p50_ratio": summary["p50_ms"] / healthy["p50_ms"],
                    "p95_ratio": summary["p95_ms"] / healthy["p95_ms"],
                }
            )
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(rows, indent=2) + "\n")
    return FleetReport(rows)


def _recommends(server: embedded.Server) -> bool:
    with RecommenderClient(server.target, timeout_seconds=10.0) as client:
        return bench.is_whole(client)
