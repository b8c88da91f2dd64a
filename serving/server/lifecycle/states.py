"""A model's versions between being wanted and their end.

States are those of TensorFlow Serving: START, LOADING, AVAILABLE, UNLOADING,
END; a failed load is END with an error.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from serving.server.runtime.bundle import Bundle


class State(IntEnum):
    """Numbers of `ModelVersionStatus.State`."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class Status:
    """What GetModelStatus tells of one version."""

    state: State
    code: str = "OK"
    message: str = ""


@dataclass
class Version:
    """One version of one model, from being wanted to its end.

    `with` releases one that was acquired.

    Attributes:
        bundle_id: Of its release, as `versions.bundle_id_of` gives it;
            None until its directory was looked at.
    """

    model: str
    number: int
    path: Path
    servable: Bundle | None = None
    failed: bool = False
    fingerprint: tuple[tuple[int, ...], ...] = ()
    bundle_id: str | None = None
    attempts: int = 0
    retry_at: float = 0.0
    _users: int = 0
    _closing: bool = False
    _idle: threading.Condition = field(default_factory=threading.Condition)

    @property
    def bundle(self) -> Bundle:
        """What answers, while the version is acquired."""
        return self.servable  # type: ignore[return-value]

    def was_tried(self) -> bool:
        """Whether its first attempt failed."""
        return self.failed or bool(self.retry_at)

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

    def __enter__(self) -> "Version":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def free(self, timeout_seconds: float | None = None) -> None:
        """Refuses new users and frees what the present ones have left.

        It stays loaded where they take longer than `timeout_seconds`.
        """
        with self._idle:
            self._closing = True
            is_idle = self._idle.wait_for(
                lambda: not self._users, timeout_seconds
            )
        if is_idle and self.servable is not None:
            self.servable.close()
            self.servable = None


class Model:
    """Wanted and present versions of one model; guarded by the manager.

    Attributes:
        wanted: Version to directory.
        wanted_since: When that last changed, seconds of the monotonic clock.
        present: Versions that load, answer or have failed.
        unloading: Versions on their way out.
        statuses: Of every version ever seen.
        serving: Versions that answer; replaced, never changed, for readers
            take no lock.
        latest: The highest of them.
        switched_at: When the last one began to answer.
        worker: The thread that loads and unloads.
    """

    def __init__(self, name: str, work: Callable[["Model"], None]) -> None:
        self.wanted: dict[int, Path] = {}
        self.wanted_since = 0.0
        self.present: dict[int, Version] = {}
        self.unloading: set[int] = set()
        self.statuses: dict[int, Status] = {}
        self.serving: dict[int, Version] = {}
        self.latest: Version | None = None
        self.switched_at = 0.0
        self.name = name
        self.worker = threading.Thread(
            target=work, args=(self,), name=f"load-{name}", daemon=True
        )

    def serve(self, serving: dict[int, Version]) -> None:
        """Replaces the versions that answer."""
        self.serving = serving
        self.latest = serving[max(serving)] if serving else None

    def is_joining(self, bundle_id: str) -> bool:
        """Whether what callers get is about to become part of a release.

        The highest wanted version is what callers without a choice get; the
        lower ones of a policy like `all` come without any change for them.
        """
        top = max(self.wanted, default=None)
        if not self.serving or top is None or top in self.serving:
            return False
        version = self.present.get(top)
        return version is None or not (
            version.servable
            or version.was_tried()
            or version.bundle_id not in (None, bundle_id)
        )

    def has_untried(self) -> bool:
        """Whether a wanted version has neither answered nor failed yet."""
        return any(
            number not in self.serving
            and not (
                number in self.present and self.present[number].was_tried()
            )
            for number in self.wanted
        )


def fingerprint(path: Path) -> tuple[tuple[int, ...], ...]:
    """Changes when the version directory or its graph is replaced."""
    found = []
    for part in (path, path / "saved_model.pb"):
        try:
            facts = part.stat()
            found.append((facts.st_ino, facts.st_mtime_ns, facts.st_size))
        except OSError:
            found.append((0, 0, 0))
    return tuple(found)
