"""One writer a folder at a time; who holds it is told, who died is noticed.

`flock` decides: the kernel lets go of it when its process ends, by kill -9 as
well, so no lock outlives its owner. The file holds who that is, for messages
alone. Over NFS, Linux asks the server (SMB likewise); on a mount with `nolock`
or `local_lock` a lock is good for one machine only.
"""

import contextlib
import datetime
import fcntl
import json
import logging
import os
import shlex
import socket
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from serving.errors import ServingError

_LOG = logging.getLogger(__name__)
FILE = ".lock"
# A release takes seconds: whoever comes second waits for it.
RELEASE_SECONDS = 600.0
_POLL_SECONDS = 0.2
# Of a command, in a message.
_LONGEST = 200


class Held(ServingError):
    """Another process writes there."""


class Lock:
    """Holds a folder for the length of a `with`; may be entered again inside.

    Args:
        path: The file that is locked; its folder is made where it is missing.
        wait_seconds: How long to wait for another holder, 0 to refuse.
        progress: Receives a line when it waits, and when the last holder died.
    """

    def __init__(
        self,
        path: Path,
        wait_seconds: float = 0.0,
        progress: Callable[[str], None] = _LOG.warning,
    ) -> None:
        self._path = path
        self._wait_seconds = wait_seconds
        self._progress = progress
        self._descriptor = -1
        self._depth = 0

    def __enter__(self) -> None:
        """Takes the lock.

        Raises:
            Held: If another process has it and keeps it.
            OSError: If the file cannot be made or locked.
        """
        if not self._depth:
            self._descriptor = self._take()
        self._depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if not self._depth:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)

    def _take(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            self._wait(descriptor)
            if died := _owner(descriptor):
                self._progress(f"lock: {died} ended without giving it back")
            # A full disk must not keep anybody from a rollback.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, _own_record(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _wait(self, descriptor: int) -> None:
        end = time.monotonic() + self._wait_seconds
        is_told = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = _owner(descriptor) or "a process that is starting"
                if time.monotonic() >= end:
                    raise self._held(owner) from None
            else:
                return
            if not is_told:
                self._progress(f"lock: waiting for {owner}")
                is_told = True
            time.sleep(_POLL_SECONDS)

    def _held(self, owner: str) -> Held:
        waited = f" after {self._wait_seconds:g} s" * bool(self._wait_seconds)
        return Held(
            f"One command at a time may write to {self._path.parent}. Received"
            f"{waited}: {owner} does (from {self._path}). Let it end, then run "
            "this again."
        )


def _own_record() -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    python, *words = sys.orig_argv
    record = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": now.strftime("%Y-%m-%d %H:%M:%S UTC"),
        "command": textwrap.shorten(
            shlex.join([Path(python).name, *words]), _LONGEST
        ),
    }
    return json.dumps(record).encode()


def _owner(descriptor: int) -> str:
    """Who wrote the record, in words; "" where there is none to read."""
    try:
        found = json.loads(os.pread(descriptor, 2**16, 0))
        return ("`{command}`, pid {pid} on {host}, since {since},").format_map(
            found
        )
    except (OSError, ValueError, KeyError, TypeError):
        return ""
