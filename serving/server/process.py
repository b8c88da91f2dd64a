"""The embedded model server: TensorFlow Serving's API from one process.

    python -m serving.server --port=8500 --rest_api_port=8501 \\
        --model_config_file=artifacts/serving/models.config

Loads the models of the config, then opens the port, then follows the config
file and the version directories until SIGTERM, which lets requests finish.
`--help` lists the flags.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# TensorFlow reads that level once, when it is imported.
import argparse  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import grpc  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorflow.core.protobuf import rewriter_config_pb2  # noqa: E402

from serving.errors import ServingError  # noqa: E402
from serving.releases import config_text
from serving.server import cpus
from serving.server.answers.predict import Limits  # noqa: E402
from serving.server.lifecycle import catalogue as cores  # noqa: E402
from serving.server.lifecycle import loader
from serving.server.lifecycle.manager import Manager  # noqa: E402
from serving.server.lifecycle.source import GLANCE_SECONDS, Source, stamp  # noqa: E402
from serving.server.rpc import port as transport
from serving.server.servicer import Servicer  # noqa: E402
from serving.server.telemetry import events
from serving.server.telemetry import metrics as monitoring


class Server:
    """One model server in this process.

    Args:
        options: The command line.

    Raises:
        ServingError: If the options contradict each other or a file that
            they name cannot be read.
    """

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
        load = loader.Loader(
            limits,
            self.metrics,
            options.saved_model_tags.split(","),
            _session_config(options),
            max(1, options.num_request_iterations_for_warmup)
            if options.enable_model_warmup
            else 0,
            _batcher(options, self.metrics),
        )
        manager = Manager(
            load,
            options.max_num_load_retries,
            max(0.0, options.load_retry_interval_micros / 1e6),
            options.num_load_threads or 4 * cpus.available(),
        )
        self.core = cores.Core(
            manager,
            Source(manager, options.file_system_poll_wait_seconds),
            options.allow_version_labels_for_unavailable_models,
        )
        self.servicer = Servicer(self.core, limits, self.metrics)
        self._stopping = threading.Event()
        self._config_thread: threading.Thread | None = None
        self._grpc: transport.Transport | None = None
        self._rest: Any = None

    def start(self, is_given_up: Callable[[], bool] = lambda: False) -> None:
        """Loads the models, then opens the ports.

        Args:
            is_given_up: Polled; ends the wait for the models.

        Raises:
            ServingError: If a model cannot be loaded or a port is in use.
        """
        options = self._options
        credentials = None
        if options.ssl_config_file:
            from serving.server.rpc import tls

            credentials = tls.server_credentials(options.ssl_config_file)
        for port in {options.port, options.rest_api_port} - {0}:
            transport.check_port(port)
        self.core.start(self._read_config(), is_given_up)
        self._open_rest()
        self._grpc = self._open_grpc(credentials)
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
        from serving.server import health
        from serving.server.rest import port as rest

        probed = health.Health(
            self.core, self._stopping.is_set, self._ended_loops
        )
        try:
            self._rest = rest.start(self.servicer, options, probed)
        except OSError as error:
            raise transport.taken(f"port {options.rest_api_port}") from error

    def _ended_loops(self) -> list[str]:
        thread = self._config_thread
        is_ended = thread is not None and not thread.is_alive()
        return self.core.ended_loops() + ["poll-config"] * is_ended

    def _open_grpc(
        self, credentials: grpc.ServerCredentials | None
    ) -> transport.Transport:
        options = self._options
        opened = transport.Transport(
            self.servicer,
            options.grpc_max_threads,
            options.max_request_bytes,
            options.max_concurrent_requests,
            options.grpc_channel_arguments,
            options.enable_grpc_healthcheck_service,
            options.enable_reload_rpc,
        )
        if options.port:
            opened.listen(f"0.0.0.0:{options.port}", credentials)
        if options.grpc_socket_path:
            opened.listen(f"unix:{options.grpc_socket_path}", credentials)
        opened.start()
        return opened

    def _read_config(self) -> Any:
        options = self._options
        if options.model_config_file:
            return cores.read_config(Path(options.model_config_file))
        config = cores.ModelServerConfig()
        config.model_config_list.config.add(
            name=options.model_name,
            base_path=options.model_base_path,
            model_platform="tensorflow",
        )
        return config

    def _follow_config(self) -> None:
        path = Path(self._options.model_config_file)
        pause = self._options.model_config_file_poll_wait_seconds
        told = ""
        read, seen = time.monotonic(), stamp(path)
        while not self._stopping.wait(min(pause, GLANCE_SECONDS)):
            now, present = time.monotonic(), stamp(path)
            if present == seen and now - read < pause:
                continue
            read, seen = now, present
            try:
                config = cores.read_config(path)
                if not self.core.is_applied(config):
                    self.core.reload(config, _changes(path, self._stopping))
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

    def stop(self, grace_seconds: float | None = None) -> None:
        """Refuses new requests, lets those in flight finish, frees all.

        Probes are told first and are answered to the end.

        Args:
            grace_seconds: After which they are cut off, on all ports
                together; None for `--drain_seconds`.
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
        self.core.stop(max(0.0, deadline - time.monotonic()))
        if self._rest is not None:
            self._rest.close(deadline)
        self._grpc = self._rest = None


def _changes(path: Path, stopping: threading.Event) -> Any:
    """Whether a wait for the file's models is moot: the file changed."""

    first = stamp(path)
    return lambda: stopping.is_set() or stamp(path) != first


def _session_config(options: argparse.Namespace) -> Any:
    config = tf.compat.v1.ConfigProto()
    # The graph optimizer's second pass takes a fifth of a load and gains
    # nothing measurable on our models.
    config.graph_options.rewrite_options.meta_optimizer_iterations = (
        rewriter_config_pb2.RewriterConfig.ONE
    )
    if options.tensorflow_session_config_file:
        config_text.read(
            options.tensorflow_session_config_file,
            config,
            "--tensorflow_session_config_file",
        )
    # Flags win over the file.
    both = options.tensorflow_session_parallelism
    intra = options.tensorflow_intra_op_parallelism
    inter = options.tensorflow_inter_op_parallelism
    if intra > 0 or inter > 0:
        both = 0
    if both or intra:
        config.intra_op_parallelism_threads = both or intra
    if both or inter:
        config.inter_op_parallelism_threads = both or inter
    # By itself the runtime takes threads for all of the node's processors.
    for pool in ("intra_op", "inter_op"):
        if not getattr(config, f"{pool}_parallelism_threads"):
            setattr(config, f"{pool}_parallelism_threads", cpus.available())
    if options.per_process_gpu_memory_fraction:
        config.gpu_options.per_process_gpu_memory_fraction = (
            options.per_process_gpu_memory_fraction
        )
    return config


def _batcher(options: argparse.Namespace, metrics: monitoring.Metrics) -> Any:
    if not options.enable_batching:
        return None
    from serving.server.batching import batcher

    return batcher.load(
        options.batching_parameters_file,
        options.enable_per_model_batching_parameters,
        metrics,
    )
