"""Servers of a benchmark's own: processes as operators start them."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from serving.errors import ServingError

_PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Server:
    """A model server in a process of its own, and its gRPC address."""

    target: str
    process: subprocess.Popen[bytes]

    def wait(self, is_served: Callable[[], bool], what: str) -> None:
        """Returns when it serves what it should."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while not is_served():
            if self.process.poll() is not None or time.monotonic() > end:
                raise ServingError(
                    f"The server must come to serve {what}. It did not in "
                    f"{_PATIENCE_SECONDS:.0f} s. Look at what python -m "
                    "serving.server says of the models config.",
                    "UNAVAILABLE",
                )
            time.sleep(0.05)


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
            "--allow_version_labels_for_unavailable_models=true",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Server(f"127.0.0.1:{port}", process)
    finally:
        process.terminate()
        process.wait()
