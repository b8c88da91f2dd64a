"""Replicas that fail in their own ways, and how questions to them end."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from serving.client import Query, ServingError

ROOT = Path(__file__).parents[2]
WHOLE = ""


def targets(servers):
    return [server.target for server in servers]


def predicts(server):
    return sum(
        count
        for (method, _), count in server.calls.items()
        if method == "Predict"
    )


def outcomes(client, count, **options):
    """How `count` recommendations end: "" whole, else degraded or a code."""
    found = []
    for _ in range(count):
        try:
            found.append(client.recommend(Query(), k=1, **options).degraded)
        except ServingError as error:
            found.append(error.code)
    return found


class Process:
    """A fake server in a process of its own, which a signal can stop."""

    def __init__(self):
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c"),
                "import sys; from tests.support.fake_server import FakeServer;"
                "print(FakeServer().target, flush=True); sys.stdin.read()",
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.target = self._process.stdout.readline().strip()

    def send(self, number):
        os.kill(self._process.pid, number)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait(10)
        self._process.stdin.close()
        self._process.stdout.close()


@contextlib.contextmanager
def silent():
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


class Relay:
    """Passes connections on to a server, until told to forget them.

    As after a loss of power: connections that were open stay open and say
    nothing for ever, new ones find the server.
    """

    def __init__(self, target):
        host, port = target.split(":")
        self._server = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._forgotten = threading.Event()
        self._pipes = []
        threading.Thread(target=self._accept, daemon=True).start()

    def forget(self):
        self._forgotten.set()
        self._forgotten = threading.Event()

    def close(self):
        self._listener.close()
        for pipe in self._pipes:
            pipe.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._server)
                self._pipes += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(
                        target=self._pass,
                        args=(one, other, self._forgotten),
                        daemon=True,
                    ).start()

    def _pass(self, one, other, forgotten):
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                if not forgotten.is_set():
                    other.sendall(data)
