"""Watches base paths and tells the manager which versions are wanted.

Polls every model's base path. One that cannot be listed unloads nothing and,
unlike in TensorFlow Serving, does not keep the others from being looked at.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

from serving.releases import versions
from serving.releases.config_text import stamp
from serving.server.lifecycle.manager import Manager
from serving.server.telemetry import events

_SCHEME = "file://"
# Between looks at the times of directories and files.
_GLANCE_SECONDS = 0.2


def changes(
    stop: threading.Event,
    pause_seconds: float,
    glance: Callable[[], list[int]],
) -> Iterable[None]:
    """Comes back when something changed or `pause_seconds` have passed.

    A rename shows in its directory's time, which is cheap to read: what is
    new need not wait for the next full look. `glance` reads those times.
    """
    looked, seen = time.monotonic(), glance()
    while not stop.wait(min(pause_seconds, _GLANCE_SECONDS)):
        now, present = time.monotonic(), glance()
        if present != seen or now - looked >= pause_seconds:
            looked, seen = now, present
            yield


def _pick(model: ModelConfig, found: Mapping[int, Path]) -> dict[int, Path]:
    """The versions that the policy wants of those found."""
    policy = model.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return dict(found)
    if choice == "specific":
        wanted = policy.specific.versions
        return {number: found[number] for number in wanted if number in found}
    count = max(1, policy.latest.num_versions)
    return {number: found[number] for number in sorted(found)[-count:][::-1]}


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
        self._models: dict[str, ModelConfig] = {}
        self._told: dict[str, str] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.thread: threading.Thread | None = None

    def set_models(self, models: Iterable[ModelConfig]) -> None:
        """Replaces what is watched; removed models are unloaded."""
        with self._lock:
            wanted = {model.name: model for model in models}
            for name in set(self._models) - set(wanted):
                self._manager.want(name, {})
                self._told.pop(name, None)
            self._models = wanted
        if self._pause >= 0:
            self.poll()
        if self._pause > 0 and self.thread is None:
            self.thread = threading.Thread(
                target=self._loop, name="poll-versions", daemon=True
            )
            self.thread.start()

    def poll(self) -> None:
        """Looks at every base path once."""
        with self._lock:
            for name, model in self._models.items():
                self._poll_one(name, model)

    def _poll_one(self, name: str, model: ModelConfig) -> None:
        base = _base(model)
        try:
            found = versions.find_versions(base)
            has_doubles = _has_doubles(base)
        except OSError as error:
            self._tell(
                "base_path_unreadable",
                model=name,
                base_path=base,
                error=error.strerror or error,
                action="loaded versions stay as they are",
            )
            return
        wanted = _pick(model, found)
        missing = set(model.model_version_policy.specific.versions) - set(found)
        if missing:
            listed = ",".join(map(str, sorted(missing)))
            self._tell(
                "versions_missing", model=name, base_path=base, versions=listed
            )
        elif not wanted:
            self._tell("no_versions", model=name, base_path=base)
        elif has_doubles:
            used = ",".join(sorted(path.name for path in wanted.values()))
            self._tell(
                "version_named_twice", model=name, base_path=base, used=used
            )
        else:
            self._told.pop(name, None)
        self._manager.want(name, wanted)

    def _tell(self, event: str, *, model: str, **values: object) -> None:
        """Warns once, not with every poll."""
        told = f"{event} {values}"
        if self._told.get(model) != told:
            self._told[model] = told
            events.warning(event, model=model, **values)

    def _loop(self) -> None:
        for _ in changes(self._stop, self._pause, self._glance):
            try:
                self.poll()
            except Exception as error:
                events.error("poll_failed", trace=True, error=error)

    def _glance(self) -> list[int]:
        with self._lock:
            return [stamp(_base(model)) for model in self._models.values()]

    def stop(self) -> None:
        """Ends the polling."""
        self._stop.set()


def _base(model: ModelConfig) -> Path:
    return Path(model.base_path.removeprefix(_SCHEME))


def _has_doubles(base: Path) -> bool:
    """Whether two names stand for one version."""
    numbers = [versions.parse_version(name) for name in os.listdir(base)]
    known = [number for number in numbers if number is not None]
    return len(known) > len(set(known))
