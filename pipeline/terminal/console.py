"""What people read on the terminal: progress, tables, next steps."""

import argparse
import enum
import json
import logging
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.prepare.summary import describe
from pipeline.sources.canonical.quarantine import FILE as QUARANTINE
from pipeline.tables.prepared import Prepared

# What `make` takes where no config is named.
SAMPLE = "pipeline/configs/sample.toml"
_PLAIN = re.compile(r"[\w.-]+", re.ASCII)
# A step that works longer than this says so in a log as well.
_HEARTBEAT_SECONDS = 60.0


class Detail(enum.Enum):
    """How much a run says of itself."""

    QUIET = "quiet"
    STEPS = "steps"
    ALL = "debug"


class Progress:
    """One line a step, with what it is at where somebody is watching.

    Lines that begin with a blank are details of the step that runs: on a
    terminal each takes the place of the last one, in a log one a minute is
    written.

    Args:
        detail: How much is written.
        stream: Where to.
    """

    def __init__(self, detail: Detail, stream: TextIO) -> None:
        self.detail = detail
        self.stream = stream
        self._start = self._last = time.monotonic()
        self._step = ""
        self._is_open = False

    def __call__(self, line: str) -> None:
        """Writes one line with the seconds since the start, at once."""
        if self.detail is Detail.QUIET:
            return
        now = time.monotonic()
        step, _colon, doing = line.partition(": ")
        if doing == "running":
            self._step = step
        is_passing = self.detail is not Detail.ALL and (
            line.startswith(" ") or doing == "running"
        )
        if is_passing and line.startswith(" ") and self._step:
            line = f"{self._step}: {line.strip()}"
        watched = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        if is_passing and not (
            watched or now - self._last > _HEARTBEAT_SECONDS
        ):
            return
        self._last = now
        text = f"[{now - self._start:6.1f} s] {line}"
        if is_passing and watched:
            text = text[: shutil.get_terminal_size().columns - 1]
        before = "\r\033[K" if self._is_open else ""
        self._is_open = is_passing and watched
        self.stream.write(before + text + ("" if self._is_open else "\n"))
        self.stream.flush()

    def close(self) -> None:
        """Ends the line of a step that goes on, so that others can follow."""
        if self._is_open:
            self.stream.write("\n")
            self._is_open = False


progress = Progress(Detail.STEPS, sys.stderr)


class Answer(NamedTuple):
    """What a command found out.

    Attributes:
        text: For people.
        data: The same for programs, as JSON has it.
    """

    text: str
    data: object


def say(answer: Answer, as_json: bool) -> None:
    """Prints an answer, or the one JSON document that stands for it."""
    progress.close()
    text = answer.text
    if as_json:
        text = json.dumps(answer.data, indent=2, ensure_ascii=False)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--json`, and `--quiet` and `--debug`, which set `detail`."""
    parser.add_argument(
        "--json", action="store_true", help="the answer as one JSON document"
    )
    group = parser.add_mutually_exclusive_group()
    for detail, text in (
        (Detail.QUIET, "results and errors alone"),
        (Detail.ALL, "every line of every step"),
    ):
        group.add_argument(
            f"--{detail.value}",
            dest="detail",
            action="store_const",
            const=detail,
            default=Detail.STEPS,
            help=text,
        )


def quiet_native_logs(path: Path) -> None:
    """Sends what C++ libraries write to standard error into a file.

    TensorFlow and ScaNN log start-up notices below Python, past every
    filter. Python's own standard error stays on the terminal.

    Args:
        path: The log file, appended to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    terminal = os.dup(2)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    progress.stream = sys.stderr = os.fdopen(terminal, "w", buffering=1)
    # Its Python half warns of retracing, which exporting does on purpose;
    # matplotlib of the fonts it looks for in a new environment.
    for library in ("tensorflow", "matplotlib"):
        logging.getLogger(library).setLevel(logging.ERROR)


def text(*parts: Table | str) -> str:
    """Tables and lines as plain text."""
    console = Console(width=100, color_system=None, force_jupyter=False)
    with console.capture() as capture:
        for part in parts:
            console.print(part, markup=False, highlight=False)
    return capture.get()


def table(title: str, rows: Sequence[Sequence[str]]) -> Table:
    """A table with its heads in the first row, and figures to the right."""
    made = Table(title=Text(title))
    for number, head in enumerate(rows[0]):
        made.add_column(
            head, justify="right" if number else "left", no_wrap="\n" in head
        )
    for row in rows[1:]:
        made.add_row(*row)
    return made


def summary(prepared: Prepared) -> str:
    """The data summary of the prepare step."""
    lines = describe(prepared.summary)
    aside = prepared.directory / QUARANTINE
    if aside.exists():
        lines.append(f"rows set aside are kept in {aside}")
    return "\n".join(lines)


def next_commands(
    prepared: Prepared, config: str, overrides: Sequence[str]
) -> str:
    """What to try after a release, with ids that exist.

    Args:
        config: Its path, as it was given.
        overrides: What was set beside it.
    """
    # Ids that neither a shell nor make reads as more than letters.
    plain = (str(item) for item in prepared.items.ids[2:])
    history = ",".join(islice(filter(_PLAIN.fullmatch, plain), 2))
    given = [
        *([f"CONFIG={shlex.quote(config)}"] if config != SAMPLE else []),
        *([f"SET={shlex.quote(' '.join(overrides))}"] if overrides else []),
        *([f"HISTORY={history}"] if history else []),
    ]
    lines = [
        "Next:",
        "  make serve                            # in one terminal",
        f"  make recommend {' '.join(given)}   # in another: after two items",
    ]
    if config == SAMPLE:
        lines += ["  make retrain CONFIG=pipeline/configs/movielens-100k.toml"]
    return "\n".join(lines)
