"""The embedded server in a process of its own, for as long as a block lasts."""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from serving.errors import ServingError

_PATIENCE_SECONDS = 120.0
# Of a process that was told to end.
_GRACE_SECONDS = 20.0
_ROOT = Path(__file__).resolve().parents[1]
# The machine's proxies are for other addresses.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Server:
    """A server as an operator starts it; it may not answer yet.

    Attributes:
        target: Its gRPC address.
        process: What runs it.
        log: Where its lines go, None for nowhere.
    """

    target: str
    process: subprocess.Popen[bytes]
    log: Path | None

    def wait(
        self,
        is_served: Callable[[], bool],
        what: str,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        """Returns when it serves what it should.

        Raises:
            ServingError: If it ends, or does not in time.
        """
        end = time.monotonic() + patience_seconds
        while not is_served():
            status = self.process.poll()
            if status is None and time.monotonic() < end:
                time.sleep(0.05)
                continue
            state = f"it ended with status {status}"
            if status is None:
                state = f"it does not after {patience_seconds:.0f} s"
            raise ServingError(
                f"The server must come to serve {what}. Received: {state}. "
                + (
                    f"Its lines are in {self.log}."
                    if self.log
                    else "Look at what python -m serving.server says of the "
                    "models config."
                ),
                "UNAVAILABLE",
            )

    def is_open(self) -> bool:
        """Whether its port is open, which it is once the models answer."""
        host, _, port = self.target.rpartition(":")
        with contextlib.suppress(OSError):
            socket.create_connection((host, int(port)), timeout=1).close()
            return True
        return False


@contextlib.contextmanager
def running(
    models_config: Path, *flags: str, log: Path | None = None
) -> Iterator[Server]:
    """Serves what a models config names, and follows it.

    Args:
        models_config: The file.
        flags: Of the server, besides.
        log: Where the server's lines go.
    """
    port = free_port()
    with log.open("wb") if log else open(os.devnull, "wb") as lines:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "serving.server", f"--port={port}"),
                f"--model_config_file={models_config}",
                "--model_config_file_poll_wait_seconds=1",
                "--allow_version_labels_for_unavailable_models=true",
                *flags,
            ],
            stdout=lines,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(_ROOT)},
        )
        try:
            yield Server(f"127.0.0.1:{port}", process, log)
        finally:
            process.terminate()
            try:
                process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def ask(
    request: str | urllib.request.Request, timeout_seconds: float = 60.0
) -> http.client.HTTPResponse:
    """Asks a server's REST port; the answer is for a `with`.

    Raises:
        urllib.error.URLError: If there is none, or it is an error.
    """
    answer: http.client.HTTPResponse = _OPENER.open(
        request, timeout=timeout_seconds
    )
    return answer


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
