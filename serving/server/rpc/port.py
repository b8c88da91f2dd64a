"""The servicer behind gRPC: handlers, threads, health.

Method paths are TensorFlow Serving's. Two small pools keep operators' calls
apart from requests: a reload may wait for minutes, and a busy server still
tells its status.
"""

import argparse
import resource
import socket
import threading
import time
from collections.abc import Callable
from concurrent import futures

import grpc
from google.protobuf.message import Message
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

from serving.errors import ServingError, invalid
from serving.server.servicer import Servicer, as_serving_error
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

# What TensorFlow Serving counts and times.
_COUNTED = ("Predict", "Classify", "Regress")

_Behaviour = Callable[[Message, grpc.ServicerContext], Message]


class Transport:
    """A gRPC server that is made, started and stopped.

    Args:
        servicer: Answers.
        options: The command line.
    """

    def __init__(self, servicer: Servicer, options: argparse.Namespace) -> None:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        settings: dict[str, int | str] = {
            "grpc.max_allowed_incoming_connections": min(
                _MAX_CONNECTIONS, files // _SHARE_OF_FILES
            ),
            "grpc.max_connection_idle_ms": _MAX_IDLE_MS,
            # Two servers on one port would share its requests unnoticed.
            "grpc.so_reuseport": 0,
            "grpc.max_send_message_length": -1,
            "grpc.max_receive_message_length": options.max_request_bytes,
        }
        for part in filter(None, options.grpc_channel_arguments.split(",")):
            name, _, value = part.partition("=")
            is_number = value.lstrip("+-").isdecimal()
            settings[name] = int(value) if is_number else value
        self._pools = [
            futures.ThreadPoolExecutor(options.grpc_max_threads, "request"),
            futures.ThreadPoolExecutor(2, "reload"),
            futures.ThreadPoolExecutor(2, "status"),
        ]
        _, reload_pool, status_pool = self._pools
        self._server = grpc.server(
            self._pools[0],
            options=list(settings.items()),
            maximum_concurrent_rpcs=options.max_concurrent_requests,
        )
        services = {
            "tensorflow.serving.PredictionService": _prediction(servicer),
            "tensorflow.serving.ModelService": {
                "GetModelStatus": _handler(
                    _timed(servicer.get_model_status),
                    get_model_status_pb2.GetModelStatusRequest,
                    status_pool,
                ),
                "HandleReloadConfigRequest": _handler(
                    _reload(servicer, options.enable_reload_rpc),
                    model_management_pb2.ReloadConfigRequest,
                    reload_pool,
                ),
            },
        }
        if options.enable_grpc_healthcheck_service:
            services[health.SERVICE_NAME] = _health(status_pool)
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(name, handlers)
                for name, handlers in services.items()
            ]
        )
        self._drained = threading.Event()

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
    return invalid(
        f"The server must be able to listen on {address}, which is taken or "
        "not permitted. End what listens there or choose another port."
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


def _prediction(servicer: Servicer) -> dict[str, grpc.RpcMethodHandler]:
    methods: dict[str, tuple[Callable[..., Message], type[Message]]] = {
        "Predict": (servicer.predict, predict_pb2.PredictRequest),
        "Classify": (
            servicer.classify,
            classification_pb2.ClassificationRequest,
        ),
        "Regress": (servicer.regress, regression_pb2.RegressionRequest),
        "MultiInference": (
            servicer.multi_inference,
            inference_pb2.MultiInferenceRequest,
        ),
        "GetModelMetadata": (
            servicer.get_model_metadata,
            get_model_metadata_pb2.GetModelMetadataRequest,
        ),
    }
    return {
        api: _handler(
            _counted(servicer, method, api)
            if api in _COUNTED
            else _timed(method),
            request,
        )
        for api, (method, request) in methods.items()
    }


def _counted(
    servicer: Servicer, method: Callable[..., Message], api: str
) -> _Behaviour:
    """A method that TensorFlow Serving counts and times."""
    count = servicer.count
    latency = servicer.metrics.request_latency

    def answer(
        request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> Message:
        start = time.perf_counter()
        name = request.model_spec.name
        try:
            response = method(request, _timeout(context))
        except Exception as error:
            told = as_serving_error(error, api)
            count(name, told.code)
            raise told from error
        count(name, "OK")
        latency.add((name, api, "GRPC"), time.perf_counter() - start)
        return response

    return answer


def _timed(method: Callable[..., Message]) -> _Behaviour:
    return lambda request, context: method(request, _timeout(context))


def _reload(servicer: Servicer, is_permitted: bool) -> _Behaviour:
    def answer(
        request: model_management_pb2.ReloadConfigRequest,
        context: grpc.ServicerContext,
    ) -> model_management_pb2.ReloadConfigResponse:
        if not is_permitted:
            raise ServingError(
                "This server takes its config from its file alone. Start it "
                "with --enable_reload_rpc=true to change that.",
                "PERMISSION_DENIED",
            )
        # Deadline passed or caller gone: nobody waits for the answer.
        return servicer.reload_config(request, lambda: not context.is_active())

    return answer


def _timeout(context: grpc.ServicerContext) -> float | None:
    remaining = context.time_remaining()
    if remaining is None or remaining > _FAR_SECONDS:
        return None
    if remaining <= 0:
        raise ServingError("Deadline Exceeded", "DEADLINE_EXCEEDED")
    return remaining


def _handler(
    behaviour: _Behaviour,
    request: type[Message],
    pool: futures.ThreadPoolExecutor | None = None,
) -> grpc.RpcMethodHandler:
    def answer(message: Message, context: grpc.ServicerContext) -> Message:
        try:
            return behaviour(message, context)
        except Exception as error:
            told = as_serving_error(error, request.__name__)
        context.abort(_STATUSES[told.code], codes.truncate(str(told)))
        raise told

    if pool is not None:
        answer.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return grpc.unary_unary_rpc_method_handler(
        answer, request.FromString, _serialize
    )


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _health(
    pool: futures.ThreadPoolExecutor,
) -> dict[str, grpc.RpcMethodHandler]:
    """gRPC's own service with TensorFlow Serving's short names."""
    service = health.HealthServicer()
    for name in ("", "ModelService", "PredictionService"):
        service.set(name, health_pb2.HealthCheckResponse.SERVING)

    return {
        # Beside requests, or a busy server would look dead.
        "Check": _handler(service.Check, health_pb2.HealthCheckRequest, pool),
        "Watch": grpc.unary_stream_rpc_method_handler(
            service.Watch, health_pb2.HealthCheckRequest.FromString, _serialize
        ),
    }
