"""What people read on the terminal: progress, tables, next steps."""

import os
import sys
import time
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.table import Table

_START = time.monotonic()


class _Terminal:
    """Where lines go; replaced once native logs are redirected."""

    stream: TextIO = sys.stderr


def progress(line: str) -> None:
    """Writes one line with the seconds since the start, at once."""
    elapsed = time.monotonic() - _START
    _Terminal.stream.write(f"[{elapsed:6.1f} s] {line}\n")
    _Terminal.stream.flush()


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
    _Terminal.stream = sys.stderr = os.fdopen(terminal, "w", buffering=1)


def text(*tables: Table) -> str:
    """Tables as plain text, coloured only where the terminal is one."""
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        for table in tables:
            console.print(table)
    return capture.get()
