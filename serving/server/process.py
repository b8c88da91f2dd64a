"""The embedded model server: TensorFlow Serving's API from one process.

    python -m serving.server --port=8500 --rest_api_port=8501 \\
        --model_config_file=artifacts/serving/models.config

Loads the models of the config, then opens the ports, then follows the config
file and the version directories until `stop`, which lets requests finish.
"""

import argparse
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.errors import ServingError
from serving.prediction_log.user_ids import UserIds
from serving.releases import config_text, versions
from serving.server import cpus, health
from serving.server.answers.predict import Limits
from serving.server.batching import batcher
from serving.server.lifecycle import catalogue, loader
from serving.server.lifecycle.manager import Manager
from serving.server.lifecycle.source import Source, changes
from serving.server.request_logger import RequestLogger
from serving.server.rest import port as rest
from serving.server.rpc import port as rpc
from serving.server.rpc import tls
from serving.server.servicer import Servicer
from serving.server.telemetry import events
from serving.server.telemetry import metrics as monitoring


class Server:
    """One model server in this process, as a command line asks for it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.metrics = monitoring.Metrics()
        limits = Limits(
            batch_rows=options.max_batch_rows,
            row_width=options.max_row_width,
            tensor_bytes=options.max_tensor_bytes,
            check_method_name=options.enable_signature_method_name_check,
            as_tensor_content=options.enable_serialization_as_tensor_content,
        )
        iterations = max(1, options.num_request_iterations_for_warmup)
        join = None
        if options.enable_batching:
            join = batcher.joiner(
                options.batching_parameters_file,
                options.enable_per_model_batching_parameters,
                self.metrics,
            )
        load = loader.Loader(
            limits,
            self.metrics,
            options.saved_model_tags.split(","),
            session_config(options),
            iterations if options.enable_model_warmup else 0,
            join,
        )
        manager = Manager(
            load,
            options.max_num_load_retries,
            max(0.0, options.load_retry_interval_micros / 1e6),
            options.num_load_threads or 4 * cpus.available(),
        )
        self._logger = _request_logger(options, self.metrics)
        self.core = catalogue.Core(
            manager,
            Source(manager, options.file_system_poll_wait_seconds),
            options.allow_version_labels_for_unavailable_models,
            self._logger.prepare,
        )
        load.is_served = lambda name: name in self.core.names
        self.servicer = Servicer(self.core, limits, self.metrics, self._logger)
        self._stopping = threading.Event()
        self._config_thread: threading.Thread | None = None
        self._grpc: rpc.Transport | None = None
        self._rest: rest.RestServer | None = None

    def start(self, is_given_up: Callable[[], bool] = lambda: False) -> None:
        """Loads the models, then opens the ports.

        Raises:
            ServingError: If a model cannot be loaded or a port is in use.
        """
        options = self._options
        credentials = None
        if options.ssl_config_file:
            credentials = tls.server_credentials(options.ssl_config_file)
        for port in {options.port, options.rest_api_port} - {0}:
            rpc.check_port(port)
        self.core.apply(self._read_config(), is_given_up, "servable(s)")
        self._open_rest()
        self._grpc = rpc.Transport(self.servicer, options)
        if options.port:
            self._grpc.listen(f"0.0.0.0:{options.port}", credentials)
        if options.grpc_socket_path:
            self._grpc.listen(f"unix:{options.grpc_socket_path}", credentials)
        self._grpc.start()
        events.info(
            "server_ready",
            port=options.port,
            rest_api_port=options.rest_api_port,
            pid=os.getpid(),
        )
        pause = options.model_config_file_poll_wait_seconds
        if options.model_config_file and pause > 0:
            self._config_thread = threading.Thread(
                target=self._follow_config, name="poll-config", daemon=True
            )
            self._config_thread.start()

    def _open_rest(self) -> None:
        options = self._options
        if not options.rest_api_port:
            return
        if options.rest_api_port == options.port:
            events.error(
                "rest_refused",
                error="--rest_api_port must differ from --port",
            )
            return
        probed = health.Health(
            self.core, self._stopping.is_set, self._ended_loops
        )
        try:
            self._rest = rest.RestServer(self.servicer, options, probed)
        except OSError as error:
            raise rpc.taken(f"port {options.rest_api_port}") from error

    def _ended_loops(self) -> list[str]:
        loops = [self.core.source.thread, self._config_thread]
        threads = [*filter(None, loops), *self.core.manager.threads()]
        return [thread.name for thread in threads if not thread.is_alive()]

    def _read_config(self) -> ModelServerConfig:
        options = self._options
        if options.model_config_file:
            return config_text.read(
                options.model_config_file,
                ModelServerConfig(),
                "--model_config_file",
                "Publish a version first: make retrain",
            )
        config = ModelServerConfig()
        config.model_config_list.config.add(
            name=options.model_name,
            base_path=options.model_base_path,
            model_platform=versions.PLATFORM,
        )
        return config

    def _follow_config(self) -> None:
        path = Path(self._options.model_config_file)
        pause = self._options.model_config_file_poll_wait_seconds
        told = ""
        for _ in changes(
            self._stopping, pause, lambda: [config_text.stamp(path)]
        ):
            try:
                config = self._read_config()
                if not self.core.is_applied(config):
                    self.core.apply(config, self._moot(path))
                told = ""
            except Exception as error:
                # The old config stays; said once, not with every look.
                if str(error) != told and not self._stopping.is_set():
                    told = str(error)
                    events.error(
                        "config_refused",
                        trace=not isinstance(error, ServingError),
                        path=path,
                        error=error,
                    )

    def _moot(self, path: Path) -> Callable[[], bool]:
        """Whether the file has changed from now on, or nobody needs it."""
        first = config_text.stamp(path)
        return lambda: (
            self._stopping.is_set() or config_text.stamp(path) != first
        )

    def stop(self, grace_seconds: float | None = None) -> None:
        """Refuses new requests, lets those in flight finish, frees all.

        Probes are told first and are answered to the end. After `grace_seconds`
        (None: `--drain_seconds`) requests are cut off, on all ports together.
        """
        self._stopping.set()
        if grace_seconds is None:
            grace_seconds = self._options.drain_seconds
        deadline = time.monotonic() + grace_seconds
        if self._grpc is not None:
            self._grpc.drain(grace_seconds)
        if self._rest is not None:
            self._rest.drain(deadline)
        if self._grpc is not None:
            self._grpc.close()
        self.core.source.stop()
        self.core.manager.stop(max(0.0, deadline - time.monotonic()))
        if self._rest is not None:
            self._rest.close(deadline)
        self._logger.close(deadline - time.monotonic())
        self._grpc = self._rest = None


def _request_logger(
    options: argparse.Namespace, metrics: monitoring.Metrics
) -> RequestLogger:
    user_ids = None
    if options.request_log_key_file:
        path = Path(options.request_log_key_file)
        user_ids = UserIds.read(path, "--request_log_key_file")
    return RequestLogger(
        metrics,
        options.request_log_bytes,
        options.saved_model_tags.split(","),
        user_ids,
    )


def session_config(options: argparse.Namespace) -> config_pb2.ConfigProto:
    """The runtime's settings: those of the file, over which flags win."""
    config = config_pb2.ConfigProto()
    if options.tensorflow_session_config_file:
        config_text.read(
            options.tensorflow_session_config_file,
            config,
            "--tensorflow_session_config_file",
        )
    if not config.HasField("graph_options"):
        # A signature is prepared from the part of the graph that it runs, with
        # what that calls in place. The graph optimizer, which is left out of
        # that, goes through all of the graph for every signature and makes none
        # faster: "Serving" in pipeline/MEASURED.md.
        config.graph_options.place_pruned_graph = True
        config.graph_options.optimizer_options.do_function_inlining = True
    intra = options.tensorflow_intra_op_parallelism
    inter = options.tensorflow_inter_op_parallelism
    both = options.tensorflow_session_parallelism
    if intra > 0 or inter > 0:
        both = 0
    for pool, threads in (("intra_op", intra), ("inter_op", inter)):
        field = f"{pool}_parallelism_threads"
        # By itself the runtime takes threads for all processors of the node.
        # Requests are many and their operations small: to split one costs more
        # than it gains, "Serving" in pipeline/MEASURED.md.
        automatic = cpus.available() if pool == "inter_op" else 1
        found = both or threads or getattr(config, field) or automatic
        setattr(config, field, found)
    if options.per_process_gpu_memory_fraction:
        config.gpu_options.per_process_gpu_memory_fraction = (
            options.per_process_gpu_memory_fraction
        )
    return config
