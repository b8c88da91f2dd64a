"""Watches base paths and tells the manager which versions are wanted.

Polls every model's base path. One that cannot be listed unloads nothing and,
unlike in TensorFlow Serving, does not keep the others from being looked at.
"""

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.releases import versions
from serving.server.lifecycle.manager import Manager
from serving.server.telemetry import events

_SCHEME = "file://"
# Between looks at the times of directories and files.
GLANCE_SECONDS = 0.2


@dataclass(frozen=True)
class Watched:
    """A base path and the rule that picks versions from it.

    Attributes:
        base_path: Directory of version directories.
        policy: `FileSystemStoragePathSourceConfig.ServableVersionPolicy`.
    """

    base_path: str
    policy: Any


def pick(watched: Watched, found: Mapping[int, Path]) -> dict[int, Path]:
    """The versions that the policy wants of those found."""
    choice = watched.policy.WhichOneof("policy_choice")
    if choice == "all":
        return dict(found)
    if choice == "specific":
        wanted = watched.policy.specific.versions
        return {number: found[number] for number in wanted if number in found}
    count = max(1, watched.policy.latest.num_versions)
    highest = sorted(found, reverse=True)[:count]
    return {number: found[number] for number in highest}


class Source:
    """Polls base paths.

    Args:
        manager: Told about wanted versions.
        poll_wait_seconds: Pause between polls; 0 polls only when the models
            are set, negative never.
    """

    def __init__(self, manager: Manager, poll_wait_seconds: float) -> None:
        self._manager = manager
        self._pause = poll_wait_seconds
        self._models: dict[str, Watched] = {}
        self._told: dict[str, str] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def set_models(self, models: Mapping[str, Watched]) -> None:
        """Replaces what is watched; removed models are unloaded."""
        with self._lock:
            for name in set(self._models) - set(models):
                self._manager.want(name, {})
                self._told.pop(name, None)
            self._models = dict(models)
        if self._pause >= 0:
            self.poll()
        if self._pause > 0 and self._thread is None:
            self._thread = threading.Thread(
                target=self._loop, name="poll-versions", daemon=True
            )
            self._thread.start()

    def poll(self) -> None:
        """Looks at every base path once."""
        with self._lock:
            for name, watched in self._models.items():
                self._poll_one(name, watched)

    def _poll_one(self, name: str, watched: Watched) -> None:
        base = _local(watched.base_path)
        try:
            found = versions.find_versions(base)
        except OSError as error:
            self._tell(
                name,
                "base_path_unreadable",
                model=name,
                base_path=base,
                error=error.strerror or error,
                action="loaded versions stay as they are",
            )
            return
        wanted = pick(watched, found)
        missing: list[int] = []
        if watched.policy.WhichOneof("policy_choice") == "specific":
            missing = sorted(set(watched.policy.specific.versions) - set(found))
        if missing:
            self._tell(
                name,
                "versions_missing",
                model=name,
                base_path=base,
                versions=",".join(map(str, missing)),
            )
        elif not wanted:
            self._tell(name, "no_versions", model=name, base_path=base)
        elif any(len(names) > 1 for names in _doubles(base, found).values()):
            self._tell(
                name,
                "version_named_twice",
                model=name,
                base_path=base,
                used=",".join(sorted(path.name for path in wanted.values())),
            )
        else:
            self._told.pop(name, None)
        self._manager.want(name, wanted)

    def _tell(self, name: str, event: str, **values: object) -> None:
        """Warns once, not with every poll."""
        told = f"{event} {values}"
        if self._told.get(name) != told:
            self._told[name] = told
            events.warning(event, **values)

    def _loop(self) -> None:
        polled, seen = time.monotonic(), self._glance()
        while not self._stop.wait(min(self._pause, GLANCE_SECONDS)):
            try:
                # A rename shows in its directory's time, which is cheap to
                # read: new versions need not wait for the next poll.
                now, present = time.monotonic(), self._glance()
                if present == seen and now - polled < self._pause:
                    continue
                polled, seen = now, present
                self.poll()
            except Exception as error:
                events.error("poll_failed", trace=True, error=error)

    def _glance(self) -> list[int]:
        with self._lock:
            paths = [watched.base_path for watched in self._models.values()]
        return [stamp(_local(path)) for path in paths]

    def ended_loops(self) -> list[str]:
        """The polling's name if it should run and does not."""
        thread = self._thread
        return [] if thread is None or thread.is_alive() else [thread.name]

    def stop(self) -> None:
        """Ends the polling."""
        self._stop.set()


def _local(base_path: str) -> Path:
    return Path(base_path.removeprefix(_SCHEME))


def stamp(path: Path) -> int:
    """When a file or directory changed, 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _doubles(base: Path, found: Mapping[int, Path]) -> dict[int, list[str]]:
    """Names by version; only listed again where some name may be double."""
    plain = {str(number) for number in found}
    if all(path.name in plain for path in found.values()):
        return {}
    names: dict[int, list[str]] = {}
    for name in os.listdir(base):
        number = versions.parse_version(name)
        if number is not None:
            names.setdefault(number, []).append(name)
    return names
