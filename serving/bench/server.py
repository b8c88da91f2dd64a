"""Servers of a benchmark's own: processes as operators start them."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Server:
    """A model server in a process of its own.

    Attributes:
        target: Its gRPC address.
        process: `subprocess.Popen`, to be signalled.
    """

    target: str
    process: Any


@contextlib.contextmanager
def running(models_config: Path) -> Iterator[Server]:
    """Serves what a models config names; it may not answer yet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "serving.server", f"--port={port}"),
            f"--model_config_file={models_config}",
            "--model_config_file_poll_wait_seconds=1",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Server(f"127.0.0.1:{port}", process)
    finally:
        process.terminate()
        process.wait()
