"""Who is asked the logged requests: versions on disk, or running servers.

A version is asked in this process, with the code of the embedded server; no
port is opened.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from pipeline.run.config import Config
from pipeline.tables.schema import DataError
from serving import signatures
from serving.client.transport import channel
from serving.errors import ServingError
from serving.releases import history
from serving.server.answers import predict
from serving.server.lifecycle.loader import Loader
from serving.server.runtime.bundle import Bundle
from serving.server.telemetry.metrics import Metrics

STAGED = "export"
_TIMEOUT_SECONDS = 30.0
_ADDRESS = re.compile(r"[^\s/]+:\d+")
Ask: TypeAlias = Callable[
    [predict_pb2.PredictRequest], predict_pb2.PredictResponse
]


@dataclass(frozen=True)
class Side:
    """One of the two that are asked; errors are ServingErrors."""

    name: str
    ask: Ask


class _Models:
    """SavedModels on disk, loaded when the first request needs them."""

    def __init__(self, directories: Mapping[str, Path]) -> None:
        self._directories = directories
        self._bundles: dict[str, Bundle | ServingError] = {}
        # Its warm-up requests are replayed, as a server would.
        self._load = Loader(predict.Limits(), Metrics())

    def ask(
        self, request: predict_pb2.PredictRequest
    ) -> predict_pb2.PredictResponse:
        name = request.model_spec.name
        if name not in self._bundles:
            if name not in self._directories:
                raise ServingError(f"No model {name}", "NOT_FOUND")
            try:
                loaded = self._load(name, self._directories[name])
            except ServingError as error:
                # Once: of a large catalogue it takes seconds.
                self._bundles[name] = error
            else:
                self._bundles[name] = loaded
        found = self._bundles[name]
        if isinstance(found, ServingError):
            raise found
        return predict.run(found, request, None, None, predict.Limits())


def find(config: Config, text: str, option: str) -> Side:
    """Who `text` names: an address, a version, "export"; "" is the live one.

    Raises:
        DataError: If it is none of these, or not there.
    """
    if _ADDRESS.fullmatch(text):
        return _server(text)
    if text == STAGED:
        exports = config.run_directory / STAGED
        if not exports.is_dir():
            raise DataError(
                f"{option} must be there. Received: no {exports}. Run "
                "`make export` with the same config first."
            )
        found = {name: exports / name for name in signatures.BUNDLE}
        return Side(f"staged {config.name}", _Models(found).ask)
    serving = config.serving_directory
    released = history.read(serving)
    if text and not text.isdecimal():
        raise DataError(
            f"{option} must be a version, an address such as 127.0.0.1:8500 or "
            f"{STAGED}. Received: {text!r}."
        )
    if not text and not released:
        raise DataError(
            "A replay asks the live version first. Received: none (in "
            f"{serving}). Publish one, or name an address or a version."
        )
    number = int(text) if text else released[0]
    missing = history.missing(serving, number)
    if missing:
        raise DataError(
            f"{option} must be a whole version. Received: {number}, which "
            f"lacks {missing[0]}. Released are: "
            f"{', '.join(map(str, released)) or 'none'}."
        )
    found = {name: serving / name / str(number) for name in signatures.BUNDLE}
    return Side(f"version {number}", _Models(found).ask)


def _server(address: str) -> Side:
    limits = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
    ]
    stub = prediction_service_pb2_grpc.PredictionServiceStub(
        grpc.insecure_channel(address, channel.reaching(address, limits))
    )

    def ask(
        request: predict_pb2.PredictRequest,
    ) -> predict_pb2.PredictResponse:
        try:
            return stub.Predict(request, timeout=_TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            raise ServingError(error.details(), error.code().name) from error

    return Side(address, ask)
