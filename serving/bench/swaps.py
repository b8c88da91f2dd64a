"""Measures what callers notice while both stages change their version.

Enters: a published models.config. Leaves: latencies of an open loop before
and during swaps that follow each other without a pause.

The live versions of `retrieval` and `ranking` are copied, twice each, into a
temporary repository that a server of its own follows, so nothing published
is touched. A swap is a release: one pointer file is replaced, and it is over
when the new versions answer and the old ones are freed.
"""

import contextlib
import shutil
import tempfile
import time
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path

from serving import embedded, signatures
from serving.client import RecommenderClient
from serving.client.command import load as bench
from serving.errors import ServingError
from serving.releases import versions

STAGES = (signatures.RETRIEVAL, signatures.RANKING)


class SwapReport(bench.Report):
    """The loops' summaries and what the swaps cost."""

    def __str__(self) -> str:
        steady, swapping = self
        ratio = swapping["p99_ms"] / steady["p99_ms"]
        return (
            f"{super().__str__()}\n{swapping['swaps']} swaps of both stages, "
            f"{swapping['swap_seconds']:.2f} s each: p99 is {ratio:.2f} times "
            "the steady one"
        )


@dataclass
class Deployment:
    """Two versions of each stage, and a server that follows the pointer.

    Attributes:
        directory: Of the pointer and the copies.
    """

    directory: Path
    server: embedded.Server
    client: RecommenderClient

    def swap(self, count: int) -> float:
        """Swaps back to back; returns the seconds that all of it took."""
        began = time.monotonic()
        for index in range(count):
            number = 2 - index % 2
            _point(self.directory, number)
            self.wait(number)
        return time.monotonic() - began

    def wait(self, number: int) -> None:
        """Returns when a version of both stages answers, and no other."""
        self.server.wait(
            lambda: self._is_served(number),
            f"version {number} of {' and '.join(STAGES)}",
        )

    def _is_served(self, number: int) -> bool:
        with contextlib.suppress(ServingError):
            found = {
                (status.model, status.version, status.state)
                for status in self.client.status(STAGES)
                if status.state != "END"
            }
            return found == {(name, number, "AVAILABLE") for name in STAGES}
        return False


def _point(directory: Path, number: int) -> Path:
    """Makes one version of both stages the wanted one."""
    pointer = directory / "models.config"
    versions.write_models_config(
        pointer, {name: (str(directory / name), [number]) for name in STAGES}
    )
    return pointer


def _live(models_config: Path) -> dict[str, Path]:
    """The published version directory of each stage."""
    found = versions.read_models_config(models_config)
    live = {}
    for name in STAGES:
        base, numbers = found.get(name, ("", []))
        if not numbers:
            raise ServingError(
                f"The models config must name a version of {name}. Received: "
                f"{sorted(found)} (from {models_config}). Publish one first: "
                "make retrain.",
                "NOT_FOUND",
            )
        live[name] = Path(base) / str(max(numbers))
    return live


def run(models_config: Path, load: bench.Load, swaps: int) -> SwapReport:
    """Runs the open loop steadily, then through `swaps` swaps."""
    with contextlib.ExitStack() as stack:
        begin = stack.enter_context
        directory = Path(begin(tempfile.TemporaryDirectory(prefix="swaps-")))
        for name, source in _live(models_config).items():
            for number in "12":
                shutil.copytree(source, directory / name / number)
        server = begin(embedded.running(_point(directory, 1)))
        client = begin(
            RecommenderClient(server.target, timeout_seconds=10.0, fused="off")
        )
        deployment = Deployment(directory, server, client)
        deployment.wait(1)
        ask = bench.requests(client, load)
        for _ in range(100):
            ask()
        steady = bench.opened(ask, load, "steady")
        with futures.ThreadPoolExecutor(1) as pool:
            seconds = pool.submit(deployment.swap, swaps)
            swapping = bench.opened(ask, load, "swapping", seconds.done)
    cost = {"swaps": swaps, "swap_seconds": seconds.result() / swaps}
    return SwapReport([steady, swapping | cost])
