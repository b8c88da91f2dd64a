"""Measures what callers notice while both stages change their version.

Enters: a published models.config. Leaves: latencies of an open loop without
swaps and during some that follow each other without a pause, in turns, so that
what else the machine does slows both alike.

The live versions of `retrieval` and `ranking` are copied, twice each, into a
temporary repository that a server of its own follows, so nothing published
is touched. A swap is a release: one pointer file is replaced, and it is over
when the new versions answer and the old ones are freed.
"""

import contextlib
import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path

from serving import embedded, signatures
from serving.client import RecommenderClient
from serving.client.command import load as bench
from serving.errors import ServingError
from serving.releases import versions

STAGES = (signatures.RETRIEVAL, signatures.RANKING)
_TURNS = 5
# A large catalogue on busy cores.
_PATIENCE_SECONDS = 600.0


class SwapReport(bench.Report):
    """The loops' summaries, steady and swapping in turns.

    Those of swaps say how many and how long each took: `swap_seconds`.
    """

    def __str__(self) -> str:
        steady, swapping = (
            self.median(loop, "p99_ms") for loop in ("steady", "swapping")
        )
        return (
            f"{super().__str__()}\n"
            f"{sum(row.get('swaps', 0) for row in self)} swaps of both stages, "
            f"{self.median('swapping', 'swap_seconds'):.2f} s each: p99 is "
            f"{swapping / steady:.2f} times the steady one (medians)"
        )


@dataclass
class Deployment:
    """Two versions of some models, and a server that follows the pointer.

    Attributes:
        directory: Of the pointer and the versions.
        models: Their names.
        number: The version that answers.
    """

    directory: Path
    server: embedded.Server
    client: RecommenderClient
    models: Sequence[str] = STAGES
    number: int = 1

    def swap(self, least: int = 1, seconds: float = 0.0) -> Mapping[str, float]:
        """Swaps back to back, so often and so long at least; how that went."""
        began, swaps = time.monotonic(), 0
        while swaps < least or time.monotonic() - began < seconds:
            self.number = 3 - self.number
            _point(self.directory, self.models, self.number)
            self.wait(self.number)
            swaps += 1
        taken = time.monotonic() - began
        return {"swaps": swaps, "swap_seconds": taken / swaps}

    def wait(self, number: int) -> None:
        """Returns when a version of all models answers, and no other."""
        self.server.wait(
            lambda: self._is_served(number),
            f"version {number} of {' and '.join(self.models)}",
            _PATIENCE_SECONDS,
        )

    def measure(
        self, ask: bench.Ask, load: bench.Load, swaps: int
    ) -> SwapReport:
        """Runs the open loop steadily and through swaps, in turns.

        One more swap comes before all: the first takes memory that the server
        has never had, which a machine may have to find.

        Args:
            ask: Sends a request.
            load: Of each loop; those with swaps last as long at least.
            swaps: That there are at least, over all turns.
        """
        self.swap()
        report = SwapReport()
        least = math.ceil(swaps / _TURNS)
        for _ in range(_TURNS):
            report.append(bench.opened(ask, load, "steady"))
            with futures.ThreadPoolExecutor(1) as pool:
                swapped = pool.submit(self.swap, least, load.seconds)
                row = bench.opened(ask, load, "swapping", swapped.done)
            report.append({**row, **swapped.result()})
        return report

    def _is_served(self, number: int) -> bool:
        with contextlib.suppress(ServingError):
            found = {
                (status.model, status.version, status.state)
                for status in self.client.status(self.models)
                if status.state != "END"
            }
            wanted = {(name, number, "AVAILABLE") for name in self.models}
            return found == wanted
        return False


@contextlib.contextmanager
def deployed(directory: Path, models: Sequence[str]) -> Iterator[Deployment]:
    """Serves version 1 of models below a directory that has versions 1 and 2.

    Its client asks the fused model where that is one of them.
    """
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            embedded.running(_point(directory, models, 1))
        )
        fused = "auto" if signatures.RECOMMENDER in models else "off"
        client = stack.enter_context(
            RecommenderClient(server.target, timeout_seconds=10.0, fused=fused)
        )
        deployment = Deployment(directory, server, client, models)
        deployment.wait(1)
        yield deployment


def _point(directory: Path, models: Sequence[str], number: int) -> Path:
    """Makes one version of all models the wanted one."""
    pointer = directory / "models.config"
    versions.write_models_config(
        pointer, {name: (str(directory / name), [number]) for name in models}
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
        if not live[name].is_dir():
            raise ServingError(
                "What the models config names must be on disk. Received: no "
                f"{live[name]} (from {models_config}). Publish again where it "
                "was moved or copied: make publish FORCE=1.",
                "NOT_FOUND",
            )
    return live


def run(models_config: Path, load: bench.Load, swaps: int) -> SwapReport:
    """Swaps copies of the published stages under load."""
    with contextlib.ExitStack() as stack:
        begin = stack.enter_context
        directory = Path(begin(tempfile.TemporaryDirectory(prefix="swaps-")))
        for name, source in _live(models_config).items():
            for number in "12":
                shutil.copytree(source, directory / name / number)
        deployment = begin(deployed(directory, STAGES))
        ask = bench.requests(deployment.client, load)
        for _ in range(100):
            ask()
        return deployment.measure(ask, load, swaps)
