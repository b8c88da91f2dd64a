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
from concurrent.futures import ThreadPoolExecutor as _Pool
from types import SimpleNamespace

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.predict_pb2 import PredictRequest

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

_Method = Callable[..., Message]


class Transport:
    """A gRPC server that is made, started and stopped."""

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
            _Pool(options.grpc_max_threads, "request"),
            _Pool(2, "reload"),
            _Pool(2, "status"),
        ]
        try:
            self._server = grpc.server(
                self._pools[0],
                options=list(settings.items()),
                maximum_concurrent_rpcs=options.max_concurrent_requests,
            )
        except OverflowError as error:
            raise invalid(
                "--grpc_channel_arguments must be numbers that gRPC can take. "
                f"Received: {options.grpc_channel_arguments} ({error})."
            ) from error
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            _prediction(servicer), self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            _models(servicer, options.enable_reload_rpc, self._pools[1:]),
            self._server,
        )
        if options.enable_grpc_healthcheck_service:
            self._server.add_generic_rpc_handlers(
                [_health(servicer, self._pools[2])]
            )
        self._drained = threading.Event()

    def listen(
        self, address: str, credentials: grpc.ServerCredentials | None = None
    ) -> int:
        """Binds "0.0.0.0:8500", "unix:/path" or the like; returns the port."""
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
    """Fails before the models are loaded instead of after."""
    with socket.socket() as probe:
        # As the server will bind: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except (OSError, OverflowError) as error:
            raise taken(f"0.0.0.0:{port}") from error


def _prediction(servicer: Servicer) -> SimpleNamespace:
    def timed(api: str, answer: _Method) -> _Method:
        return _method(
            api,
            lambda request, context: answer(request, _timeout(context)),
            servicer,
        )

    return SimpleNamespace(
        Predict=timed("Predict", servicer.predict),
        Classify=timed("Classify", servicer.classify),
        Regress=timed("Regress", servicer.regress),
        MultiInference=timed("MultiInference", servicer.multi_inference),
        GetModelMetadata=_method(
            "GetModelMetadata",
            lambda request, context: servicer.get_model_metadata(request),
            servicer,
        ),
    )


def _models(
    servicer: Servicer, may_reload: bool, pools: list[_Pool]
) -> SimpleNamespace:
    def reload(
        request: ReloadConfigRequest, context: grpc.ServicerContext
    ) -> Message:
        if not may_reload:
            raise ServingError(
                "This server takes its config from its file alone. Start it "
                "with --enable_reload_rpc=true to change that.",
                "PERMISSION_DENIED",
            )
        # Deadline passed or caller gone: nobody waits for the answer.
        return servicer.reload_config(request, lambda: not context.is_active())

    return SimpleNamespace(
        GetModelStatus=_method(
            "GetModelStatus",
            lambda request, context: servicer.get_model_status(request),
            servicer,
            pools[1],
        ),
        HandleReloadConfigRequest=_method(
            "HandleReloadConfigRequest", reload, servicer, pools[0]
        ),
    )


def _timeout(context: grpc.ServicerContext) -> float | None:
    remaining = context.time_remaining()
    if remaining is None or remaining > _FAR_SECONDS:
        return None
    if remaining <= 0:
        raise ServingError("Deadline Exceeded", "DEADLINE_EXCEEDED")
    return remaining


def _method(
    api: str,
    answer: _Method,
    servicer: Servicer,
    pool: _Pool | None = None,
) -> _Method:
    """A method as gRPC calls it, counted and timed where the original's is."""
    is_counted = api in _COUNTED
    latency = servicer.metrics.request_latency

    def serve(
        request: PredictRequest, context: grpc.ServicerContext
    ) -> Message:
        start = time.perf_counter()
        try:
            response = answer(request, context)
        except Exception as error:
            told = as_serving_error(error, api)
        else:
            if is_counted:
                name = request.model_spec.name
                servicer.count(name, "OK")
                latency.add((name, api, "GRPC"), time.perf_counter() - start)
            return response
        if is_counted:
            servicer.count(request.model_spec.name, told.code)
        context.abort(_STATUSES[told.code], codes.truncate(str(told)))
        raise told

    if pool is not None:
        serve.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return serve


def _health(servicer: Servicer, pool: _Pool) -> grpc.GenericRpcHandler:
    """gRPC's own service with TensorFlow Serving's short names."""
    service = health.HealthServicer()
    for name in ("", "ModelService", "PredictionService"):
        service.set(name, health_pb2.HealthCheckResponse.SERVING)
    # Beside requests, or a busy server would look dead.
    check = _method("Check", service.Check, servicer, pool)
    message = (
        health_pb2.HealthCheckRequest.FromString,
        health_pb2.HealthCheckResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(
        health.SERVICE_NAME,
        {
            "Check": grpc.unary_unary_rpc_method_handler(check, *message),
            "Watch": grpc.unary_stream_rpc_method_handler(
                service.Watch, *message
            ),
        },
    )
