"""Measures what logging every request costs those who ask.

Enters: a published models.config. Leaves: closed loops with the log off and
on in turns, on one server that follows its config, so that what else runs on
the machine slows both alike. Nothing published is touched.
"""

import contextlib
import shutil
import tempfile
import time
from pathlib import Path

from serving import embedded
from serving.client import RecommenderClient
from serving.client.command import load as bench
from serving.prediction_log import records
from serving.prediction_log.collector import SUFFIX
from serving.releases import request_log

_ROUNDS = 3
# More than a server takes to see a new config.
_SETTLE_SECONDS = 1.5


class LogReport(bench.Report):
    """The loops' summaries, off and on in turns."""

    num_records = 0

    def ratio(self, figure: str) -> float:
        """Median with the log over the median without."""
        return self.median("on", figure) / self.median("off", figure)

    def __str__(self) -> str:
        return (
            f"{super().__str__()}\n{self.num_records} records. With the log: "
            f"{self.ratio('per_second'):.2f} times the answers a second, p50 "
            f"{self.ratio('p50_ms'):.2f}, p99 {self.ratio('p99_ms'):.2f} times "
            "what it is without (medians)"
        )


def run(models_config: Path, load: bench.Load) -> LogReport:
    """Asks in closed loops, the log off and on in turns."""
    report = LogReport()
    with contextlib.ExitStack() as stack:
        begin = stack.enter_context
        directory = Path(begin(tempfile.TemporaryDirectory(prefix="logged-")))
        pointer = directory / "models.config"
        shutil.copyfile(models_config, pointer)
        server = begin(embedded.running(pointer))
        client = begin(RecommenderClient(server.target, timeout_seconds=10.0))
        server.wait(lambda: bench.is_whole(client), "the published models")
        ask = bench.requests(client, load)
        for _ in range(100):
            ask()
        for _ in range(_ROUNDS):
            for name, share in (("off", 0.0), ("on", 1.0)):
                request_log.switch(pointer, share, directory / "log")
                time.sleep(_SETTLE_SECONDS)
                report.append(bench.closed(ask, load, name))
        request_log.switch(pointer, 0.0, directory / "log")
        time.sleep(_SETTLE_SECONDS)
        report.num_records = sum(
            isinstance(one, records.Record)
            for path in directory.glob(f"log-*{SUFFIX}")
            for one in records.read(path)
        )
    return report
