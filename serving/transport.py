"""The servicer behind gRPC: handlers, credentials, threads, health.

Method paths are TensorFlow Serving's. Two small pools keep operators' calls
apart from requests: a reload may wait for minutes, and a busy server still
tells its status.
"""

import socket
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from serving import codes, events
from serving.errors import ServingError
from serving.servicer import Servicer

_SERVICE = "tensorflow.serving."
_STATUSES = {status.name: status for status in grpc.StatusCode}


class Transport:
    """A gRPC server that is made, started and stopped.

    Args:
        servicer: Answers.
        threads: That answer requests.
        max_request_bytes: Larger messages are RESOURCE_EXHAUSTED.
        max_concurrent_requests: More are RESOURCE_EXHAUSTED.
        channel_arguments: "a=1,b=2", further options of gRPC.
        with_health: Whether to offer grpc.health.v1.Health.
    """

    def __init__(
        self,
        servicer: Servicer,
        threads: int = 4,
        max_request_bytes: int = 2**31 - 1,
        max_concurrent_requests: int | None = None,
        channel_arguments: str = "",
        with_health: bool = False,
    ) -> None:
        options = [
            # Two servers on one port would share its requests unnoticed.
            ("grpc.so_reuseport", 0),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", max_request_bytes),
            *_options(channel_arguments),
        ]
        self._pools = [
            futures.ThreadPoolExecutor(count, name)
            for count, name in (
                (threads, "request"),
                (2, "reload"),
                (2, "status"),
            )
        ]
        self._server = grpc.server(
            self._pools[0],
            options=options,
            maximum_concurrent_rpcs=max_concurrent_requests,
        )
        for handler in _handlers(servicer, *self._pools[1:]):
            self._server.add_generic_rpc_handlers((handler,))
        if with_health:
            _add_health(self._server)

    def listen(
        self, address: str, credentials: grpc.ServerCredentials | None = None
    ) -> int:
        """Binds an address such as "0.0.0.0:8500" or "unix:/path".

        Returns:
            The port.

        Raises:
            ServingError: If it cannot be bound.
        """
        try:
            if credentials is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise taken(address) from error

    def start(self) -> None:
        """Starts answering."""
        self._server.start()

    def stop(self, grace_seconds: float | None) -> None:
        """Refuses new requests and waits for those under way."""
        self._server.stop(grace_seconds).wait()
        for pool in self._pools:
            pool.shutdown(wait=False)


def taken(address: str) -> ServingError:
    """The error for an address that another process listens on."""
    return ServingError(
        f"The server must be able to listen on {address}, which is taken or "
        "not permitted. End what listens there or choose another port.",
        "INVALID_ARGUMENT",
    )


def check_port(port: int) -> None:
    """Fails before the models are loaded instead of after.

    Raises:
        ServingError: If the port is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except (OSError, OverflowError) as error:
            raise taken(f"0.0.0.0:{port}") from error


def _options(arguments: str) -> list[tuple[str, int | str]]:
    found: list[tuple[str, int | str]] = []
    for part in filter(None, arguments.split(",")):
        name, _, value = part.partition("=")
        is_number = value.lstrip("+-").isdecimal()
        found.append((name, int(value) if is_number else value))
    return found


def _handlers(
    servicer: Servicer,
    reload_pool: futures.ThreadPoolExecutor,
    status_pool: futures.ThreadPoolExecutor,
) -> list[grpc.GenericRpcHandler]:
    def handler(method: Callable[..., Any], request: Any, api: str = "") -> Any:
        behaviour = _behaviour(servicer, method, api)
        if request is model_management_pb2.ReloadConfigRequest:
            behaviour.experimental_thread_pool = reload_pool  # type: ignore
        elif request is get_model_status_pb2.GetModelStatusRequest:
            behaviour.experimental_thread_pool = status_pool  # type: ignore
        return grpc.unary_unary_rpc_method_handler(
            behaviour, request.FromString, _serialize
        )

    prediction = {
        "Predict": handler(
            servicer.predict, predict_pb2.PredictRequest, "Predict"
        ),
        "Classify": handler(
            servicer.classify,
            classification_pb2.ClassificationRequest,
            "Classify",
        ),
        "Regress": handler(
            servicer.regress, regression_pb2.RegressionRequest, "Regress"
        ),
        "MultiInference": handler(
            servicer.multi_inference, inference_pb2.MultiInferenceRequest
        ),
        "GetModelMetadata": handler(
            servicer.get_model_metadata,
            get_model_metadata_pb2.GetModelMetadataRequest,
        ),
    }
    model = {
        "GetModelStatus": handler(
            servicer.get_model_status,
            get_model_status_pb2.GetModelStatusRequest,
        ),
        "HandleReloadConfigRequest": handler(
            servicer.reload_config, model_management_pb2.ReloadConfigRequest
        ),
    }
    return [
        grpc.method_handlers_generic_handler(_SERVICE + name, methods)
        for name, methods in (
            ("PredictionService", prediction),
            ("ModelService", model),
        )
    ]


def _serialize(message: Any) -> bytes:
    return message.SerializeToString()


def _behaviour(
    servicer: Servicer, method: Callable[..., Any], api: str
) -> Callable[[Any, grpc.ServicerContext], Any]:
    """A method with deadline, status codes and counting."""
    metrics = servicer.metrics
    is_reload = method == servicer.reload_config

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        start = time.perf_counter()
        try:
            if is_reload:
                response = method(request, lambda: not context.is_active())
            else:
                response = method(request, context.time_remaining())
        except ServingError as error:
            code, message = error.code or "UNKNOWN", str(error)
        except Exception as error:
            events.error("request_failed", trace=True, error=error)
            code, message = "INTERNAL", f"{type(error).__name__}: {error}"
        else:
            if api:
                name = request.model_spec.name
                metrics.request_count.add((name, "OK"))
                metrics.request_latency.add(
                    (name, api, "GRPC"), time.perf_counter() - start
                )
            return response
        if api:
            metrics.request_count.add((request.model_spec.name, code))
        context.abort(_STATUSES[code], codes.truncate(message))

    return answer


def _add_health(server: grpc.Server) -> None:
    """gRPC's own service with TensorFlow Serving's short names."""
    service = health.HealthServicer()
    for name in ("", "ModelService", "PredictionService"):
        service.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(service, server)
