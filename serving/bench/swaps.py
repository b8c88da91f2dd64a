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
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

from serving import signatures
from serving.bench import server as bench_server
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


class Deployment:
    """A server on two versions of each stage.

    Args:
        models_config: Names the versions to copy.
        directory: Empty, for the copies.
    """

    def __init__(self, models_config: Path, directory: Path) -> None:
        self._pointer = directory / "models.config"
        self._bases = {name: directory / name for name in STAGES}
        for name, source in _live(models_config).items():
            for number in (1, 2):
                shutil.copytree(source, self._bases[name] / str(number))
        self.point(1)

    def point(self, number: int) -> None:
        """Makes one version of both stages the wanted one."""
        versions.write_models_config(
            self._pointer,
            {name: (str(base), [number]) for name, base in self._bases.items()},
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[RecommenderClient]:
        """Serves; gives a client of both stages."""
        with (
            bench_server.running(self._pointer) as server,
            RecommenderClient(
                server.target, timeout_seconds=10.0, fused="off"
            ) as client,
        ):
            self._server = server
            self.wait(client, 1)
            yield client

    def swap(self, client: RecommenderClient, count: int) -> float:
        """Swaps back to back; returns the seconds that all of it took.

        Raises:
            ServingError: If a version does not come to answer.
        """
        began = time.monotonic()
        for index in range(count):
            self.point(2 - index % 2)
            self.wait(client, 2 - index % 2)
        return time.monotonic() - began

    def wait(self, client: RecommenderClient, number: int) -> None:
        """Returns when a version of both stages answers, and no other.

        Raises:
            ServingError: If that does not happen.
        """
        self._server.wait(
            lambda: self._is_served(client, number),
            f"version {number} of {' and '.join(STAGES)}",
        )

    def _is_served(self, client: RecommenderClient, number: int) -> bool:
        with contextlib.suppress(ServingError):
            found = {
                (status.model, status.version, status.state)
                for status in client.status(STAGES)
                if status.state != "END"
            }
            return found == {(name, number, "AVAILABLE") for name in STAGES}
        return False


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
    """Runs the open loop steadily, then through `swaps` swaps.

    Raises:
        ServingError: If the models cannot be served or swapped.
    """
    with tempfile.TemporaryDirectory(prefix="swaps-") as directory:
        deployment = Deployment(models_config, Path(directory))
        with deployment.running() as client:
            ask = bench.requests(client, load)
            for _ in range(100):
                ask()
            steady = bench.opened(ask, load, "steady")
            with futures.ThreadPoolExecutor(1) as pool:
                seconds = pool.submit(deployment.swap, client, swaps)
                swapping = bench.opened(ask, load, "swapping", seconds.done)
    return SwapReport(
        [
            steady.summary(),
            swapping.summary()
            | {"swaps": swaps, "swap_seconds": seconds.result() / swaps},
        ]
    )
