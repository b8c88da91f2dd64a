"""Which versions of which models are loaded, and who may use them.

One worker thread a model brings the loaded versions in line with the wanted
ones, so a model that cannot load never delays another. A wanted version is
loaded before an unwanted one that still answers is unloaded; unloading waits
for the requests in flight. States are those of TensorFlow Serving: START,
LOADING, AVAILABLE, UNLOADING, END; a failed load is END with an error.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from serving.errors import ServingError
from serving.releases.versions import bundle_id_of
from serving.server import cpus
from serving.server.lifecycle.states import (
    Model,
    State,
    Status,
    Version,
    fingerprint,
)
from serving.server.runtime.bundle import Bundle
from serving.server.telemetry import events

# Loads a model by name from the directory of a version.
Load = Callable[[str, Path], Bundle]
_Act = Callable[[Model, Version], None]

# A release brings versions of several models in one look at the file system,
# and callers combine them: those loaded first wait this long for the others.
_SWITCH_SECONDS = 10.0
_ONE_LOOK_SECONDS = 0.25
# Who got an answer from the old version of one model may ask the same version
# of another: it stays this long after a new one answers. TensorFlow Serving's
# own manager takes one step in that time.
_LINGER_SECONDS = 0.1


class Manager:
    """Loads, unloads and hands out versions.

    Args:
        load: Called in a worker thread.
        max_num_load_retries: Attempts after the first one.
        load_retry_interval_seconds: Pause between attempts.
        num_load_threads: How many models may load at once.
    """

    def __init__(
        self,
        load: Load,
        max_num_load_retries: int = 5,
        load_retry_interval_seconds: float = 60.0,
        num_load_threads: int = 4,
    ) -> None:
        self._load = load
        self._retries = max_num_load_retries
        self._interval = load_retry_interval_seconds
        self._slots = threading.BoundedSemaphore(max(1, num_load_threads))
        self._changed = threading.Condition()
        self._models: dict[str, Model] = {}
        self._stopped = False

    def want(self, name: str, versions: Mapping[int, Path]) -> None:
        """Replaces the wanted versions of a model; none unloads them all."""
        with self._changed:
            if name not in self._models:
                if not versions:
                    return
                model = Model(name, self._work)
                model.worker.start()
                self._models[name] = model
            model = self._models[name]
            # A failed version whose directory changed gets another chance.
            renewed = [
                number
                for number, version in model.present.items()
                if version.failed
                and (
                    versions.get(number) != version.path
                    or fingerprint(version.path) != version.fingerprint
                )
            ]
            for number in renewed:
                del model.present[number]
            if model.wanted != versions or renewed:
                model.wanted = dict(versions)
                model.wanted_since = time.monotonic()
                self._changed.notify_all()
            if not versions:
                # Its worker may be in the middle of a load: what nobody wants
                # must not answer until that ends.
                for version in list(model.serving.values()):
                    self._start_unload(model, version)

    def acquire(self, name: str, number: int | None) -> Version:
        """A version that answers, for a `with` that releases it.

        Without a number it is the highest that is ready.

        Raises:
            ServingError: NOT_FOUND if there is none.
        """
        while True:
            model = self._models.get(name)
            found = None
            if model is not None:
                found = (
                    model.latest
                    if number is None
                    else model.serving.get(number)
                )
            if found is None:
                wanted = (
                    f"Latest({name})"
                    if number is None
                    else f"Specific({name}, {number})"
                )
                raise ServingError(
                    f"Servable not found for request: {wanted}", "NOT_FOUND"
                )
            if found.acquire():
                return found
            # It stopped answering between the look and the grip.
            time.sleep(0)

    def is_available(self, name: str) -> bool:
        """Whether some version of a model answers."""
        model = self._models.get(name)
        return model is not None and model.latest is not None

    def threads(self) -> list[threading.Thread]:
        """Those that should run until `stop`."""
        return [model.worker for model in tuple(self._models.values())]

    def statuses(self, name: str) -> dict[int, Status]:
        """Every version ever seen, highest first."""
        with self._changed:
            model = self._models.get(name)
            found = dict(model.statuses) if model else {}
        return dict(sorted(found.items(), reverse=True))

    def wait_for(
        self,
        names: set[str],
        is_given_up: Callable[[], bool] = lambda: False,
    ) -> dict[tuple[str, int], Status]:
        """Waits until each model answers or has failed, or `is_given_up`.

        It answers for this when each of its wanted versions was tried, so that
        whoever waited may ask for the lower ones as well. As in TensorFlow
        Serving a lower one does not make up for one that failed.

        Returns:
            The versions that failed, with none higher that answers.
        """
        with self._changed:
            while not self._stopped:
                failed, waiting = self._outcomes(names)
                if failed or not waiting:
                    return failed
                if is_given_up():
                    raise ServingError(
                        "Deadline exceeded while waiting for models "
                        f"{', '.join(sorted(waiting))}",
                        "DEADLINE_EXCEEDED",
                    )
                self._changed.wait(0.1)
        raise ServingError("The server is shutting down.", "UNAVAILABLE")

    def _outcomes(
        self, names: set[str]
    ) -> tuple[dict[tuple[str, int], Status], set[str]]:
        failed, waiting = {}, set()
        for name in names:
            model = self._models.get(name)
            if model is None:
                waiting.add(name)
                continue
            latest = model.latest.number if model.latest else -math.inf
            broken = [
                version.number
                for version in model.present.values()
                if version.failed and version.number > latest
            ]
            for number in broken:
                failed[name, number] = model.statuses[number]
            if not broken and (model.latest is None or model.has_untried()):
                waiting.add(name)
        return failed, waiting

    def stop(self, grace_seconds: float) -> None:
        """Ends the workers and unloads everything, requests drained.

        What is in use after `grace_seconds` stays loaded.
        """
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            loaded = [
                version
                for model in self._models.values()
                for version in model.serving.values()
            ]
            for model in self._models.values():
                model.serve({})
        end = time.monotonic() + grace_seconds
        for version in loaded:
            version.free(max(0.0, end - time.monotonic()))

    def _work(self, model: Model) -> None:
        while True:
            with self._changed:
                while True:
                    if self._stopped:
                        return
                    act, version, pause = self._next_action(model)
                    if act is not None and version is not None:
                        break
                    self._changed.wait(pause)
            act(model, version)

    def _next_action(
        self, model: Model
    ) -> tuple[_Act | None, Version | None, float | None]:
        """By AvailabilityPreservingPolicy: what to do, or how long to wait."""
        for number, path in model.wanted.items():
            if number not in model.present and number not in model.unloading:
                version = Version(model.name, number, path)
                model.present[number] = version
                self._set(model, version, State.START)
        for number in list(model.present):
            # What is not wanted any more and never answered is forgotten.
            version = model.present[number]
            if number not in model.wanted and number not in model.serving:
                del model.present[number]
                if not version.failed:
                    self._set(model, version, State.END)
        unwanted = sorted(set(model.serving) - set(model.wanted))
        is_served = any(number in model.serving for number in model.wanted)
        now = time.monotonic()
        lingering = model.switched_at + _LINGER_SECONDS - now
        pauses = []
        if unwanted and is_served and lingering > 0:
            pauses.append(lingering)
        elif unwanted and (not model.wanted or is_served or len(unwanted) > 1):
            return self._start_unload, model.serving[unwanted[0]], None
        loadable = [
            version
            for number, version in model.present.items()
            if number not in model.serving and not version.failed
        ]
        ready = [version for version in loadable if version.retry_at <= now]
        if ready:
            highest = max(ready, key=lambda version: version.number)
            return self._attempt, highest, None
        pauses += [version.retry_at - now for version in loadable]
        return None, None, min(pauses, default=None)

    def _attempt(self, model: Model, version: Version) -> None:
        version.fingerprint = fingerprint(version.path)
        version.bundle_id = bundle_id_of(version.path)
        version.attempts += 1
        with self._changed:
            if version.attempts == 1:
                self._set(model, version, State.LOADING)
        start = time.perf_counter()
        try:
            with self._slots:
                servable = self._load(version.model, version.path)
        except Exception as error:
            self._fail(model, version, error)
            return
        with self._changed:
            version.servable = servable
            self._changed.notify_all()
            self._await_others(model, version)
            if self._stopped:
                servable.close()
                return
            model.switched_at = time.monotonic()
            model.serve({**model.serving, version.number: version})
            self._set(
                model,
                version,
                State.AVAILABLE,
                load_ms=round(1000 * (time.perf_counter() - start)),
            )

    def _await_others(self, model: Model, version: Version) -> None:
        """Lets the versions of one release begin to answer together."""
        bundle_id = version.bundle_id
        is_latest = version.number == max(model.wanted, default=None)
        if not (bundle_id and model.serving and is_latest):
            return

        def is_alone() -> bool:
            return (
                self._stopped
                or version.number not in model.wanted
                or not any(
                    other.is_joining(bundle_id)
                    and abs(other.wanted_since - model.wanted_since)
                    < _ONE_LOOK_SECONDS
                    for other in self._models.values()
                    if other is not model
                )
            )

        self._changed.wait_for(is_alone, _SWITCH_SECONDS)

    def _fail(self, model: Model, version: Version, error: Exception) -> None:
        known = error if isinstance(error, ServingError) else None
        code = (known.code if known else "") or "UNKNOWN"
        told: dict[str, object] = {
            "model": version.model,
            "version": version.number,
            "code": code,
            "error": error,
        }
        with self._changed:
            wanted = version.number in model.wanted
            if wanted and version.attempts <= self._retries:
                version.retry_at = time.monotonic() + self._interval
                events.warning(
                    "load_retry",
                    **told,
                    attempt=version.attempts,
                    again_in_seconds=self._interval,
                )
                return
            version.failed = True
            events.error(
                "load_failed", trace=not known, **told, path=version.path
            )
            status = Status(State.END, code, str(error))
            model.statuses[version.number] = status
            self._changed.notify_all()

    def _start_unload(self, model: Model, version: Version) -> None:
        with self._changed:
            if model.serving.get(version.number) is not version:
                return
            self._set(model, version, State.UNLOADING)
            model.unloading.add(version.number)
            model.present.pop(version.number, None)
            left = dict(model.serving)
            left.pop(version.number, None)
            model.serve(left)
        # Requests in flight may take long; the next version must not wait.
        threading.Thread(
            target=self._unload, args=(model, version), daemon=True
        ).start()

    def _unload(self, model: Model, version: Version) -> None:
        cpus.give_way()
        version.free()
        with self._changed:
            model.unloading.discard(version.number)
            self._set(model, version, State.END)

    def _set(
        self, model: Model, version: Version, state: State, **values: object
    ) -> None:
        model.statuses[version.number] = Status(state)
        events.info(
            f"version_{state.name.lower()}",
            model=version.model,
            version=version.number,
            **values,
        )
        self._changed.notify_all()
