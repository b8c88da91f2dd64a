"""The servicer behind gRPC: handlers, credentials, threads, health.

Method paths are TensorFlow Serving's. Two small pools keep operators' calls
apart from requests: a reload may wait for minutes, and a busy server still
tells its status.
"""

import resource
import socket
import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.errors import ServingError
from serving.server.servicer import Servicer
from serving.server.telemetry import events
from serving.wire import codes

_STATUSES = {status.name: status for status in grpc.StatusCode}
# Deadlines beyond this are none: gRPC gives callers without one centuries.
_FAR_SECONDS = 1e8
# Each connection takes a file; without one left nothing loads and no probe is
# answered. The REST port takes up to half of the process's files.
_MAX_CONNECTIONS = 10_000
_SHARE_OF_FILES = 4
# An idle caller is told to connect anew, which it does with its next call.
_MAX_IDLE_MS = 300_000


class Transport:
    """A gRPC server that is made, started and stopped.

    Args:
        servicer: Answers.
        threads: That answer requests.
        max_request_bytes: Larger messages are RESOURCE_EXHAUSTED.
        max_concurrent_requests: More are RESOURCE_EXHAUSTED.
        channel_arguments: "a=1,b=2", further options of gRPC.
        with_health: Whether to offer grpc.health.v1.Health.
        with_reload: Whether callers may replace the config.
    """

    def __init__(
        self,
        servicer: Servicer,
        threads: int = 4,
        max_request_bytes: int = 2**31 - 1,
        max_concurrent_requests: int | None = None,
        channel_arguments: str = "",
        with_health: bool = False,
        with_reload: bool = True,
    ) -> None:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        ours: list[tuple[str, int | str]] = [
            (
                "grpc.max_allowed_incoming_connections",
                min(_MAX_CONNECTIONS, files // _SHARE_OF_FILES),
            ),
            ("grpc.max_connection_idle_ms", _MAX_IDLE_MS),
            # Two servers on one port would share its requests unnoticed.
            ("grpc.so_reuseport", 0),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", max_request_bytes),
        ]
        # gRPC takes the first of two values for one name.
        options = list(
            {**dict(ours), **dict(_options(channel_arguments))}.items()
        )
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
        self._server.add_generic_rpc_handlers(
            _handlers(servicer, with_reload, *self._pools[1:])
        )
        self._drained = threading.Event()
        if with_health:
            _add_health(self._server, self._pools[2])

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

    def drain(self, grace_seconds: float) -> None:
        """Refuses new requests; those under way get that long to end."""
        self._drained = self._server.stop(grace_seconds)

    def close(self) -> None:
        """Waits until `drain` is over."""
        self._drained.wait()
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
        # As the server will bind: a port in TIME_WAIT is free.
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
    with_reload: bool,
    reload_pool: futures.ThreadPoolExecutor,
    status_pool: futures.ThreadPoolExecutor,
) -> tuple[grpc.GenericRpcHandler, ...]:
    prediction = {
        "Predict": _counted(
            servicer, servicer.predict, predict_pb2.PredictRequest, "Predict"
        ),
        "Classify": _counted(
            servicer,
            servicer.classify,
            classification_pb2.ClassificationRequest,
            "Classify",
        ),
        "Regress": _counted(
            servicer,
            servicer.regress,
            regression_pb2.RegressionRequest,
            "Regress",
        ),
        "MultiInference": _plain(
            servicer.multi_inference, inference_pb2.MultiInferenceRequest
        ),
        "GetModelMetadata": _plain(
            servicer.get_model_metadata,
            get_model_metadata_pb2.GetModelMetadataRequest,
        ),
    }
    model = {
        "GetModelStatus": _plain(
            servicer.get_model_status,
            get_model_status_pb2.GetModelStatusRequest,
            status_pool,
        ),
        "HandleReloadConfigRequest": _unary(
            _reload(servicer) if with_reload else _refuse_reload,
            model_management_pb2.ReloadConfigRequest,
            reload_pool,
        ),
    }
    return (
        grpc.method_handlers_generic_handler(
            "tensorflow.serving.PredictionService", prediction
        ),
        grpc.method_handlers_generic_handler(
            "tensorflow.serving.ModelService", model
        ),
    )


def _timeout(context: grpc.ServicerContext) -> float | None:
    remaining = context.time_remaining()
    if remaining is None or remaining > _FAR_SECONDS:
        return None
    if remaining <= 0:
        raise ServingError("Deadline Exceeded", "DEADLINE_EXCEEDED")
    return remaining


def _counted(
    servicer: Servicer, method: Callable[..., Any], request: Any, api: str
) -> Any:
    """A method that TensorFlow Serving counts and times."""
    count = servicer.count
    latency = servicer.metrics.request_latency

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        start = time.perf_counter()
        name = request.model_spec.name
        try:
            response = method(request, _timeout(context))
        except Exception as error:
            found = as_serving_error(error, api)
            count(name, found.code)
            _abort(context, found)
        else:
            count(name, "OK")
            latency.add((name, api, "GRPC"), time.perf_counter() - start)
            return response

    return _unary(answer, request)


def _plain(
    method: Callable[..., Any],
    request: Any,
    pool: futures.ThreadPoolExecutor | None = None,
) -> Any:
    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(request, _timeout(context))
        except Exception as error:
            _abort(context, as_serving_error(error, method.__name__))

    return _unary(answer, request, pool)


def _reload(servicer: Servicer) -> Callable[..., Any]:
    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            # Deadline passed or caller gone: nobody waits for the answer.
            return servicer.reload_config(
                request, lambda: not context.is_active()
            )
        except Exception as error:
            _abort(context, as_serving_error(error, "reload"))

    return answer


def _refuse_reload(request: Any, context: grpc.ServicerContext) -> None:
    del request
    _abort(
        context,
        ServingError(
            "This server takes its config from its file alone. Start it with "
            "--enable_reload_rpc=true to change that.",
            "PERMISSION_DENIED",
        ),
    )


def as_serving_error(error: Exception, where: str) -> ServingError:
    """What a caller is told; a fault of ours is logged."""
    if isinstance(error, ServingError):
        if not error.code:
            error.code = "UNKNOWN"
        return error
    if isinstance(error, MemoryError):
        return ServingError("Out of memory", "RESOURCE_EXHAUSTED")
    events.error("request_crashed", trace=True, api=where, error=error)
    # Its words may tell of paths and of other callers' requests.
    return ServingError("The server failed: its log says how.", "INTERNAL")


def _abort(context: grpc.ServicerContext, error: ServingError) -> None:
    context.abort(_STATUSES[error.code], codes.truncate(str(error)))


def _unary(
    behaviour: Callable[..., Any],
    request: Any,
    pool: futures.ThreadPoolExecutor | None = None,
) -> Any:
    if pool is not None:
        behaviour.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return grpc.unary_unary_rpc_method_handler(
        behaviour, request.FromString, _serialize
    )


def _serialize(message: Any) -> bytes:
    return message.SerializeToString()


def _add_health(server: grpc.Server, pool: futures.ThreadPoolExecutor) -> None:
    """gRPC's own service with TensorFlow Serving's short names."""
    service = health.HealthServicer()
    for name in ("", "ModelService", "PredictionService"):
        service.set(name, health_pb2.HealthCheckResponse.SERVING)

    def check(request: Any, context: grpc.ServicerContext) -> Any:
        return service.Check(request, context)

    methods = {
        # Beside requests, or a busy server would look dead.
        "Check": _unary(check, health_pb2.HealthCheckRequest, pool),
        "Watch": grpc.unary_stream_rpc_method_handler(
            service.Watch,
            health_pb2.HealthCheckRequest.FromString,
            _serialize,
        ),
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(health.SERVICE_NAME, methods),)
    )
