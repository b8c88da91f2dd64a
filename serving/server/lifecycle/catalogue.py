"""The models of a server as its config says, and which version answers.

Enters: `ModelServerConfig` messages, one after the other, each replacing the
last. Checks, their order and their words are TensorFlow Serving's
(`server_core.cc`), its sharp edge included: the new config takes effect for
later checks before its own platforms and labels are checked.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence

from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config.model_server_config_pb2 import (
    ModelConfig,
    ModelServerConfig,
)

from serving.errors import ServingError, invalid
from serving.releases import versions
from serving.server.lifecycle.manager import Manager
from serving.server.lifecycle.source import Source
from serving.server.lifecycle.states import State, Status, Version
from serving.server.telemetry import events

_Models = Sequence[ModelConfig]
# Refuses the models of a config, or returns what puts them into force.
Prepare = Callable[[_Models], Callable[[], None]]


class Core:
    """Applies configs and resolves model specs.

    Args:
        prepare: Of what else a config asks for, its request logs.

    Attributes:
        names: The models of the config in force.
    """

    def __init__(
        self,
        manager: Manager,
        source: Source,
        allow_labels_for_unavailable: bool = False,
        prepare: Prepare = lambda models: lambda: None,
    ) -> None:
        self.manager = manager
        self.source = source
        self.names: frozenset[str] = frozenset()
        # Only labels that are in use must name a version that is loaded.
        self._allow_unavailable = allow_labels_for_unavailable
        self._prepare = prepare
        self._config = ModelServerConfig()
        self._config_lock = threading.Lock()
        self._labels: dict[str, dict[str, int]] = {}
        self._is_complete = False

    def apply(
        self,
        config: ModelServerConfig,
        is_given_up: Callable[[], bool] = lambda: False,
        noun: str = "model(s)",
    ) -> None:
        """Replaces the config; returns when all new models answer.

        `is_given_up` is polled and ends the wait; the error calls those that
        do not answer by `noun`.
        """
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
                raise invalid(
                    "This model server does not yet support custom_model_"
                    "config. Only ModelConfigList is currently supported"
                )
            models = config.model_config_list.config
            _check_names_and_paths(models)
            _check_platforms_stay(self._config.model_config_list.config, models)
            put_into_force = self._prepare(models)
            self._is_complete = False
            self._config = ModelServerConfig()
            self._config.CopyFrom(config)
            self._labels = self._checked_labels(models)
            for model in models:
                if _platform(model) != versions.PLATFORM:
                    raise invalid(
                        f"Model {model.name} requests unsupported platform "
                        f"{_platform(model)}"
                    )
            new = {model.name for model in models} - self.names
            self.names = frozenset(model.name for model in models)
            # Of our own: the caller may go on with its config.
            self.source.set_models(self._config.model_config_list.config)
            put_into_force()
            events.info("config_applied", models=",".join(sorted(self.names)))
            failed = self.manager.wait_for(new, is_given_up)
            if failed:
                raise ServingError(_describe(failed, noun), "UNKNOWN")
            self._is_complete = True
        finally:
            self._config_lock.release()

    def is_applied(self, config: ModelServerConfig) -> bool:
        """Whether this config is in force, so that applying it is moot."""
        return self._is_complete and config == self._config

    def _checked_labels(self, models: _Models) -> dict[str, dict[str, int]]:
        labels: dict[str, dict[str, int]] = {}
        for model in models:
            statuses = self.manager.statuses(model.name)
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
                        "FAILED_PRECONDITION",
                    )
                labels.setdefault(model.name, {})[label] = number
        return labels

    def acquire(self, spec: model_pb2.ModelSpec) -> Version:
        """The version that is asked for, for a `with` that releases it."""
        name = spec.name
        if not name:
            raise invalid("ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        number = spec.version.value if choice == "version" else None
        if choice == "version_label":
            label = spec.version_label
            number = self._labels.get(name, {}).get(label)
            if number is None:
                raise invalid(f"Unrecognized servable version label: {label}")
        return self.manager.acquire(name, number)

    def statuses(self, spec: model_pb2.ModelSpec) -> dict[int, Status]:
        """What GetModelStatus answers; labels are ignored.

        Raises:
            ServingError: NOT_FOUND if no such version was ever seen.
        """
        found = self.manager.statuses(spec.name)
        what = "any versions"
        if spec.WhichOneof("version_choice") == "version":
            number = spec.version.value
            found = {number: found[number]} if number in found else {}
            what = f"version {number}"
        if not found:
            raise ServingError(
                f"Could not find {what} of model {spec.name}", "NOT_FOUND"
            )
        return found


def _check_names_and_paths(models: _Models) -> None:
    for name, count in Counter(model.name for model in models).items():
        if count > 1:
            raise invalid(
                f"Illegal to list model {name} multiple times in config list"
            )
    for model in models:
        path = model.base_path
        is_absolute = path.startswith("/") or "://" in path
        # What no file system has would end every later look for versions.
        if not is_absolute or "\0" in path:
            raise invalid(
                f"Expected model {model.name} to have an absolute path or "
                f"URI; got base_path()={path}"
            )


def _platform(model: ModelConfig) -> str:
    if bool(model.model_type) == bool(model.model_platform):
        words = ("both", "and") if model.model_type else ("neither", "nor")
        raise invalid(
            f"Illegal setting {words[0]} ModelServerConfig::model_type "
            f"(deprecated) {words[1]} ModelServerConfig::model_platform, model "
            f"name is {model.name}"
        )
    return versions.PLATFORM if model.model_type else model.model_platform


def _check_platforms_stay(old_models: _Models, new_models: _Models) -> None:
    old = {model.name: _platform(model) for model in old_models}
    for model in new_models:
        if model.name in old and _platform(model) != old[model.name]:
            raise invalid(
                "Illegal to change a model's platform. For model "
                f"{model.name} platform was {old[model.name]} and new "
                f"platform requested is {_platform(model)}"
            )


def _describe(failed: dict[tuple[str, int], Status], noun: str) -> str:
    parts = [
        f"{{{{name: {name} version: {number}}} due to error: "
        f"{status.code}: {status.message}}}, "
        for (name, number), status in sorted(failed.items())
    ]
    return (
        f"{len(failed)} {noun} did not become available: {{{''.join(parts)}}}"
    )
