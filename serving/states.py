"""One version of a model between being wanted and its end.

States are those of TensorFlow Serving: START, LOADING, AVAILABLE, UNLOADING,
END; a failed load is END with an error.
"""

import threading
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Protocol


class State(IntEnum):
    """Numbers of `ModelVersionStatus.State`."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class Servable(Protocol):
    """What a load returns: something that can be freed."""

    def close(self) -> None:
        """Frees it."""


@dataclass(frozen=True)
class Status:
    """What GetModelStatus tells of one version."""

    state: State
    code: str = "OK"
    message: str = ""


@dataclass
class Version:
    """One version of one model, from being wanted to its end."""

    model: str
    number: int
    path: Path
    servable: Servable | None = None
    failed: bool = False
    fingerprint: tuple = ()
    attempts: int = 0
    retry_at: float = 0.0
    _users: int = 0
    _closing: bool = False
    _idle: threading.Condition = field(default_factory=threading.Condition)

    def acquire(self) -> bool:
        """Keeps the version loaded until `release`; False if it is going."""
        with self._idle:
            if self._closing:
                return False
            self._users += 1
            return True

    def release(self) -> None:
        """Ends one `acquire`."""
        with self._idle:
            self._users -= 1
            if self._closing and not self._users:
                self._idle.notify_all()

    def drain(self, timeout_seconds: float | None = None) -> bool:
        """Refuses new users and waits for the present ones to end."""
        with self._idle:
            self._closing = True
            return self._idle.wait_for(lambda: not self._users, timeout_seconds)


def fingerprint(path: Path) -> tuple:
    """Changes when the version directory or its graph is replaced."""
    found = []
    for part in (path, path / "saved_model.pb"):
        try:
            facts = part.stat()
            found.append((facts.st_ino, facts.st_mtime_ns, facts.st_size))
        except OSError:
            found.append((0, 0, 0))
    return tuple(found)
