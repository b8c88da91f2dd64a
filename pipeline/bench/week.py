"""A week that nobody looks at: a file a day, retrained, gated, tried, released.

Every night runs what cron runs, `retrain` and then `promote`, in processes of
their own, while a server answers users. One night a file has other ids, one
night all files were joined wrongly; both are put right a day later. Users take
what they are shown, by their taste, and the request logs are joined with that.

Leaves: `week.json` beside the week's directory: a row a night, what users were
answered, and whether everything went as it should without a hand touching it.
"""

import argparse
import dataclasses
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.bench import shop_days
from pipeline.bench.shop_visitors import Visitors
from pipeline.release import overview
from pipeline.run import manifest
from serving import embedded
from serving.releases import history

logger = logging.getLogger(__name__)

DIRECTORY = Path("artifacts/bench/week")
_BEFORE = 21  # days of log before the first night
_A_DAY = 1_500
_SEED = 5
_TRIED_ON = 20  # percent of users
_TRIED_SECONDS = 10.0
_PATIENCE_SECONDS = 180.0
_ROOT = Path(__file__).resolve().parents[2]
_CONFIG = """\
name = "week"
seed = 1
artifacts = {artifacts}

[source]
kind = "tabular"
path = {log}

[prepare]
split = "temporal"

[retrieval]
embedding_dim = 16
history_length = 20
epochs = 4

[index]
num_candidates = 50

[ranking]
epochs = 2

[student]
embedding_dim = 24
history_length = 20
epochs = 12
max_histories = 6000

[publish]
stage = {tried_on}
"""
# What is wrong with the log on some nights, and how `retrain` has to end.
_OTHER_IDS, _MIXED_UP = "other ids", "joined wrongly"
PLANTED = {3: (_OTHER_IDS, 4), 5: (_MIXED_UP, 3)}


@dataclass
class Night:
    """What one night did.

    Attributes:
        night: 0 is the first release.
        file: That arrived.
        log: What was wrong with it.
        status: Of `retrain`.
        expected: What the status should be.
        seconds: Of `retrain`.
        live: The version that is live in the morning.
        ndcg_at_10: Of what was made, None where nothing was.
        live_ndcg_at_10: Of the live version on the same queries.
        requests: That users made since the night before.
        failed: Of those, without an answer or with a degraded one.
        p99_ms: Of the answers.
    """

    night: int
    file: str
    log: str
    status: int
    expected: int
    seconds: float
    live: int | None = None
    ndcg_at_10: float | None = None
    live_ndcg_at_10: float | None = None
    requests: int = 0
    failed: int = 0
    p99_ms: float | None = None


class Week:
    """The shop, its nights and what they left.

    Args:
        directory: Emptied at the start; the log, the config and the artifacts.
        nights: After the first release.
        planted: By night what is wrong with the log, "other ids" or "joined
            wrongly", and the exit status that it should end with.
        progress: Receives a line a night.
    """

    def __init__(
        self,
        directory: Path,
        nights: int,
        planted: dict[int, tuple[str, int]],
        progress: Callable[[str], None],
    ) -> None:
        self._directory = directory
        self._nights = nights
        self._planted = planted
        self._progress = progress
        self._config = directory / "week.toml"
        self._serving = directory / "artifacts" / "serving"
        self._delivered: dict[int, str] = {}
        self.found: list[Night] = []

    def run(self) -> dict[str, object]:
        """Lives through the week; what `week.json` has."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True)
        self._config.write_text(
            _CONFIG.format(
                artifacts=json.dumps(str(self._directory / "artifacts")),
                log=json.dumps(str(self._directory / "interactions/*.parquet")),
                tried_on=_TRIED_ON,
            ),
            encoding="utf-8",
        )
        start = time.monotonic()
        self._deliver(0)
        self._night(0)
        if self.found[0].status:
            raise RuntimeError("The first release must be accepted.")
        with self._open() as visitors:
            for night in range(1, self._nights + 1):
                self._live_through(night, visitors)
        report = self._report(visitors, time.monotonic() - start)
        manifest.write_json(self._directory.with_suffix(".json"), report)
        return report

    @contextmanager
    def _open(self) -> Iterator[Visitors]:
        """Serves what is released to users who come all the time."""
        pointer = self._serving / history.POINTER
        logs = self._directory.resolve() / "requests" / "log"
        self._module(
            *("serving.releases.request_log", "--share", "1"),
            *("--models_config", str(pointer), "--prefix", str(logs)),
        )
        log = self._directory / "server.log"
        with embedded.running(pointer, log=log) as server:
            server.wait(server.is_open, "the first release")
            before = shop_days.generate(0, _BEFORE, _SEED, _A_DAY)
            with Visitors(server.target, before, _SEED) as visitors:
                yield visitors

    def _live_through(self, night: int, visitors: Visitors) -> None:
        before = visitors.begin()
        self._deliver(night)
        done = self._night(night)
        state = history.state(self._serving)
        if state.canary is not None:
            visitors.wait_for({state.live, state.canary}, _PATIENCE_SECONDS)
            time.sleep(_TRIED_SECONDS)
            failed = visitors.failed(before)
            why = f"{failed} requests failed since the night began"
            self._command("promote", "--why", why)
        live = history.state(self._serving).live
        visitors.wait_for({live}, _PATIENCE_SECONDS)
        done.live = live
        done.requests = visitors.requests(before)
        done.failed = visitors.failed(before)
        done.p99_ms = round(visitors.p99_ms(before), 1)
        self._progress(_told(done))

    def _deliver(self, night: int) -> None:
        """Puts the log as it stands that night: one file more, or all anew."""
        wrong, _status = self._planted.get(night, ("", 0))
        days = [(day, day + 1) for day in range(_BEFORE, _BEFORE + night)]
        files = [(0, _BEFORE), *days]
        for begin, end in files:
            is_today = (begin, end) == files[-1]
            kind = wrong if is_today or wrong == _MIXED_UP else ""
            if self._delivered.get(begin) == kind:
                continue
            rows = shop_days.generate(begin, end, _SEED, _A_DAY)
            if kind == _MIXED_UP:
                rows = shop_days.mixed_up(rows, begin)
            elif kind == _OTHER_IDS:
                rows = dataclasses.replace(rows, users=rows.users + 10**6)
            folder = self._directory / "interactions"
            rows.write(folder / shop_days.name(begin))
            self._delivered[begin] = kind

    def _night(self, night: int) -> Night:
        wrong, expected = self._planted.get(night, ("", 0))
        start = time.monotonic()
        warm = ["--warm"] if night else []
        status = self._command("retrain", *warm)
        done = Night(
            night,
            shop_days.name(_BEFORE + night - 1 if night else 0),
            wrong,
            status,
            expected,
            round(time.monotonic() - start, 1),
            history.state(self._serving).live,
        )
        if status in (0, 3):
            done.ndcg_at_10, done.live_ndcg_at_10 = self._figures()
        self.found.append(done)
        if not night:
            self._progress(_told(done))
        return done

    def _figures(self) -> tuple[float | None, float | None]:
        path = self._directory / "artifacts/runs/week/evaluation.json"
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        found = {r["model"]: r["ndcg@10"] for r in rows if r["slice"] == "all"}
        return found.get("two_stage"), found.get("live")

    def _report(self, visitors: Visitors, seconds: float) -> dict[str, object]:
        taken = self._directory / "taken" / "taken.parquet"
        visitors.taken().write(taken)
        self._command(
            *("outcomes", "--log", str(self._directory / "requests")),
            *("--interactions", str(taken)),
        )
        shown = self._directory / "artifacts/runs/week/outcomes.json"
        ledger = (self._serving / "ledger.jsonl").read_text(encoding="utf-8")
        return {
            "nights": [dataclasses.asdict(night) for night in self.found],
            "requests": visitors.requests(0),
            "failed": visitors.failed(0),
            "as_expected": self._is_as_expected() and not visitors.failed(0),
            "ledger": [json.loads(line) for line in ledger.splitlines()],
            "outcomes": json.loads(shown.read_text(encoding="utf-8")),
            "minutes": round(seconds / 60, 1),
            "cores": os.cpu_count(),
        }

    def _is_as_expected(self) -> bool:
        """Whether every good night, and no other, left another version live."""
        good = [night for night in self.found if not night.expected]
        return len({night.live for night in self.found}) == len(good) and all(
            night.status == night.expected for night in self.found
        )

    def told(self) -> str:
        """What is released since when and why, and what came of it."""
        page = self._directory / "artifacts/runs/week/outcomes.md"
        state = overview.answer(self._serving).text
        return f"{state}\n{page.read_text(encoding='utf-8')}"

    def _command(self, *arguments: str) -> int:
        """The exit status of one command of cron."""
        given = ("--quiet", "--config", str(self._config), *arguments)
        return self._module("pipeline", *given)

    def _module(self, name: str, *arguments: str) -> int:
        with (self._directory / "night.log").open("ab") as log:
            return subprocess.run(
                [sys.executable, "-m", name, *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONPATH": str(_ROOT)},
                check=False,
            ).returncode


def _told(night: Night) -> str:
    verdict = "as expected" if night.status == night.expected else "WRONG"
    return (
        f"night {night.night}: {night.log or 'a good log'}, status "
        f"{night.status} ({verdict}) after {night.seconds:.0f} s, version "
        f"{night.live} is live, {night.requests} requests, {night.failed} "
        "failed"
    )


def table(nights: Sequence[Night]) -> str:
    """The nights in Markdown."""
    heads = (
        *("night", "log", "status", "seconds", "NDCG@10", "live's"),
        *("live after", "requests", "failed", "p99 ms"),
    )
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in nights:
        cells = (
            *(row.night, row.log or "good", row.status, row.seconds),
            *(_cell(row.ndcg_at_10), _cell(row.live_ndcg_at_10)),
            *(row.live, row.requests, row.failed),
            "" if row.p99_ms is None else row.p99_ms,
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _cell(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.4f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark by the command line; 1 where a night went wrong."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.bench.week",
        description=__doc__.partition("\n")[0],
    )
    parser.add_argument(
        "--directory", type=Path, default=DIRECTORY, help="emptied first"
    )
    parser.add_argument(
        "--nights", type=int, default=7, help="after the first release"
    )
    given = parser.parse_args(arguments)
    week = Week(
        given.directory,
        given.nights,
        PLANTED,
        lambda line: logger.info("bench-week: %s", line),
    )
    report = week.run()
    logger.info("%s\n%s", table(week.found), week.told())
    return 0 if report["as_expected"] else 1


if __name__ == "__main__":
    sys.exit(main())
