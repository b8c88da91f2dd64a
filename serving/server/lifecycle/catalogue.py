"""The models of a server as its config says, and which version answers.

Enters: `ModelServerConfig` messages, one after the other, each replacing the
last. Checks, their order and their words are TensorFlow Serving's
(`server_core.cc`), its sharp edge included: the new config takes effect for
later checks before its own platforms and labels are checked.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tensorflow_serving.config import model_server_config_pb2

from serving.errors import ServingError
from serving.releases import config_text, versions
from serving.server.lifecycle.manager import Manager
from serving.server.lifecycle.source import Source, Watched
from serving.server.lifecycle.states import State, Version
from serving.server.telemetry import events

ModelServerConfig = model_server_config_pb2.ModelServerConfig
_INVALID = "INVALID_ARGUMENT"
_FAILED = "FAILED_PRECONDITION"


class Core:
    """Applies configs and resolves model specs.

    Args:
        manager: Loads what is wanted.
        source: Finds versions.
        allow_labels_for_unavailable: Whether a label that is not in use may
            name a version that is not loaded.
    """

    def __init__(
        self,
        manager: Manager,
        source: Source,
        allow_labels_for_unavailable: bool = False,
    ) -> None:
        self._manager = manager
        self._source = source
        self._allow_unavailable = allow_labels_for_unavailable
        self._config = ModelServerConfig()
        self._config_lock = threading.Lock()
        self._labels: dict[str, dict[str, int]] = {}
        self._names: set[str] = set()
        self._is_complete = False

    def start(
        self, config: Any, is_given_up: Callable[[], bool] = lambda: False
    ) -> None:
        """Applies the first config; returns when every model answers.

        Raises:
            ServingError: If a model cannot be loaded or the config is wrong.
        """
        self._apply(config, True, is_given_up)

    def reload(
        self, config: Any, is_given_up: Callable[[], bool] = lambda: False
    ) -> None:
        """Applies another config; returns when all new models answer.

        Args:
            config: Replaces the present one.
            is_given_up: Polled while waiting; ends the wait.

        Raises:
            ServingError: With the code of each rule.
        """
        self._apply(config, False, is_given_up)

    def is_applied(self, config: Any) -> bool:
        """Whether this config is in force, so that applying it is moot."""
        return self._is_complete and config == self._config

    def _apply(
        self, config: Any, is_first: bool, is_given_up: Callable[[], bool]
    ) -> None:
        while not self._config_lock.acquire(timeout=0.1):
            if is_given_up():
                raise ServingError(
                    "Deadline exceeded while another config is applied.",
                    "DEADLINE_EXCEEDED",
                )
        try:
            if not config.WhichOneof("config"):
                return
            if config.WhichOneof("config") != "model_config_list":
                raise ServingError(
                    "This model server does not yet support custom_model_"
                    "config. Only ModelConfigList is currently supported",
                    _INVALID,
                )
            models = config.model_config_list.config
            _check_names_and_paths(models)
            _check_platforms_stay(self._config.model_config_list.config, models)
            self._is_complete = False
            self._config = ModelServerConfig()
            self._config.CopyFrom(config)
            self._labels = self._checked_labels(models)
            for model in models:
                _check_platform(model)
            names = {model.name for model in models}
            new = names - self._names
            self._names = names
            self._source.set_models(
                {
                    model.name: Watched(
                        model.base_path, model.model_version_policy
                    )
                    for model in models
                }
            )
            events.info("config_applied", models=",".join(sorted(names)))
            failed = self._manager.wait_for(new, is_given_up)
            if failed:
                what = "servable(s)" if is_first else "model(s)"
                raise ServingError(_describe(failed, what), "UNKNOWN")
            self._is_complete = True
        finally:
            self._config_lock.release()

    def _checked_labels(self, models: Any) -> dict[str, dict[str, int]]:
        labels: dict[str, dict[str, int]] = {}
        for model in models:
            statuses = self._manager.statuses(model.name)
            for label, number in sorted(model.version_labels.items()):
                in_use = self._labels.get(model.name, {}).get(label, number)
                tolerated = self._allow_unavailable and in_use == number
                status = statuses.get(number)
                loaded = status is not None and status.state == State.AVAILABLE
                if not loaded and not tolerated:
                    raise ServingError(
                        f"Request to assign label to version {number} of "
                        f"model {model.name}, which is not currently "
                        "available for inference",
                        _FAILED,
                    )
                labels.setdefault(model.name, {})[label] = number
        return labels

    def acquire(self, spec: Any) -> Version:
        """The version that a `ModelSpec` asks for; release it after use.

        Raises:
            ServingError: If there is none.
        """
        name = spec.name
        if not name:
            raise ServingError("ModelSpec has no name specified.", _INVALID)
        choice = spec.WhichOneof("version_choice")
        if choice is None:
            return self._manager.acquire(name, None)
        if choice == "version":
            return self._manager.acquire(name, spec.version.value)
        label = spec.version_label
        number = self._labels.get(name, {}).get(label)
        if number is None:
            raise ServingError(
                f"Unrecognized servable version label: {label}", _INVALID
            )
        return self._manager.acquire(name, number)

    def knows(self, name: str) -> bool:
        """Whether the config has a model of that name."""
        return name in self._names

    def statuses(self, spec: Any) -> dict[int, Any]:
        """What GetModelStatus answers; labels are ignored.

        Raises:
            ServingError: NOT_FOUND if no such version was ever seen.
        """
        found = self._manager.statuses(spec.name)
        if spec.WhichOneof("version_choice") == "version":
            number = spec.version.value
            if number not in found:
                raise ServingError(
                    f"Could not find version {number} of model {spec.name}",
                    "NOT_FOUND",
                )
            return {number: found[number]}
        if not found:
            raise ServingError(
                f"Could not find any versions of model {spec.name}",
                "NOT_FOUND",
            )
        return found

    def model_names(self) -> frozenset[str]:
        """The models of the config in force."""
        return frozenset(self._names)

    def is_available(self, name: str) -> bool:
        """Whether some version of a model answers; takes no lock."""
        return self._manager.is_available(name)

    def ended_loops(self) -> list[str]:
        """Threads that should run until `stop` and do not."""
        return [*self._source.ended_loops(), *self._manager.ended_loops()]

    def stop(self, grace_seconds: float = 20.0) -> None:
        """Stops watching and unloads everything."""
        self._source.stop()
        self._manager.stop(grace_seconds)


def read_config(path: Path) -> Any:
    """Reads the file of `--model_config_file`.

    Raises:
        ServingError: If it is missing or is not a `ModelServerConfig`.
    """
    return config_text.read(
        path,
        ModelServerConfig(),
        "--model_config_file",
        "Publish a version first: make retrain",
    )


def _check_names_and_paths(models: Any) -> None:
    names: set[str] = set()
    for model in models:
        if model.name in names:
            raise ServingError(
                f"Illegal to list model {model.name} multiple times in config "
                "list",
                _INVALID,
            )
        names.add(model.name)
    for model in models:
        path = model.base_path
        if not path.startswith("/") and "://" not in path:
            raise ServingError(
                f"Expected model {model.name} to have an absolute path or "
                f"URI; got base_path()={path}",
                _INVALID,
            )


def _platform(model: Any) -> str:
    if model.model_type and model.model_platform:
        raise ServingError(
            "Illegal setting both ModelServerConfig::model_type (deprecated) "
            "and ModelServerConfig::model_platform, model name is "
            f"{model.name}",
            _INVALID,
        )
    platform = versions.PLATFORM if model.model_type else model.model_platform
    if not platform:
        raise ServingError(
            "Illegal setting neither ModelServerConfig::model_type "
            "(deprecated) nor ModelServerConfig::model_platform, model name "
            f"is {model.name}",
            _INVALID,
        )
    return platform


def _check_platforms_stay(old_models: Any, new_models: Any) -> None:
    old = {model.name: _platform(model) for model in old_models}
    for model in new_models:
        if model.name in old and _platform(model) != old[model.name]:
            raise ServingError(
                "Illegal to change a model's platform. For model "
                f"{model.name} platform was {old[model.name]} and new "
                f"platform requested is {_platform(model)}",
                _INVALID,
            )


def _check_platform(model: Any) -> None:
    platform = _platform(model)
    if platform != versions.PLATFORM:
        raise ServingError(
            f"Model {model.name} requests unsupported platform {platform}",
            _INVALID,
        )


def _describe(failed: dict[tuple[str, int], Any], what: str) -> str:
    parts = [
        f"{{{{name: {name} version: {number}}} due to error: "
        f"{status.code}: {status.message}}}, "
        for (name, number), status in sorted(failed.items())
    ]
    return (
        f"{len(failed)} {what} did not become available: {{{''.join(parts)}}}"
    )
