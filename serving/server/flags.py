"""The server's command line: TensorFlow Serving's flags, and a few limits.

`--name=value` as in the original, and `--name value`, which it ignores. An
unknown flag is an error. Flags for what this server has not (TFLite, XLA, ALTS)
are accepted at their defaults only; those that merely save memory or threads in
the original are accepted and mean nothing.
"""

import argparse
from collections.abc import Sequence

from serving.errors import ServingError
from serving.server import cpus
from serving.wire import tensors

_INT32_MAX = 2**31 - 1
_CPUS = cpus.available()
# Whatever these ask for cannot be given: only the default is taken.
_ABSENT: dict[str, bool | str] = {
    "use_alts_credentials": False,
    "platform_config_file": "",
    "thread_pool_factory_config_file": "",
    "mixed_precision": "",
    "prefer_tflite_model": False,
    "xla_cpu_compilation_enabled": False,
    "xla_gpu_compilation_enabled": False,
}
# These change nothing that a caller could see.
_IGNORED: dict[str, bool | int] = {
    "enable_profiler": True,
    "flush_filesystem_caches": True,
    "num_unload_threads": 0,
    "num_tflite_pools": _CPUS,
    "num_tflite_interpreters_per_pool": 1,
    "remove_unused_fields_from_bundle_metagraph": True,
    "skip_initialize_tpu": False,
}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line; ends the process with status 2 on an error."""
    return _parser().parse_args(arguments)


def check(flags: argparse.Namespace) -> None:
    """Looks at flags that exclude or need each other.

    Raises:
        ServingError: In TensorFlow Serving's words.
    """
    problem = _problem(flags)
    if problem:
        raise ServingError(problem, "INVALID_ARGUMENT")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.server",
        description=(__doc__ or "").splitlines()[0],
        allow_abbrev=False,
    )
    _add_transport(parser)
    _add_models(parser)
    _add_tensorflow(parser)
    _add_absent(parser)
    _add_limits(parser)
    return parser


def _boolean(text: str) -> bool:
    if text.lower() in {"true", "1"}:
        return True
    if text.lower() in {"false", "0"}:
        return False
    raise argparse.ArgumentTypeError(f"must be true or false, not {text!r}")


def _flag(
    parser: argparse._ActionsContainer,
    name: str,
    default: bool | int | float | str,
    text: str,
) -> None:
    kind = type(default)
    if kind is bool:
        parser.add_argument(
            f"--{name}",
            type=_boolean,
            nargs="?",
            const=True,
            default=default,
            metavar="BOOL",
            help=f"{text} ({str(default).lower()})",
        )
    else:
        shown = "" if default == "" else f" ({default})"
        parser.add_argument(
            f"--{name}",
            type=kind,
            default=default,
            metavar=kind.__name__.upper(),
            help=text + shown,
        )


def _add_transport(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("transport")
    _flag(group, "port", 8500, "gRPC port; 0 needs --grpc_socket_path")
    _flag(group, "grpc_socket_path", "", "UNIX socket for gRPC as well")
    _flag(group, "rest_api_port", 0, "REST port, 0 for none")
    _flag(
        group,
        "rest_api_num_threads",
        4 * _CPUS,
        "threads that answer REST requests",
    )
    _flag(group, "rest_api_timeout_in_ms", 30_000, "limit of a REST request")
    _flag(
        group,
        "rest_api_enable_cors_support",
        False,
        "CORS headers in REST answers",
    )
    _flag(
        group,
        "grpc_max_threads",
        2 * _CPUS,
        "threads that answer gRPC requests; more of them are slower",
    )
    _flag(group, "grpc_channel_arguments", "", "a=1,b=2 for the gRPC server")
    _flag(group, "ssl_config_file", "", "SSLConfig: gRPC over TLS only")
    _flag(
        group,
        "enable_grpc_healthcheck_service",
        False,
        "grpc.health.v1.Health",
    )
    _flag(group, "monitoring_config_file", "", "MonitoringConfig: Prometheus")


def _add_models(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("models")
    _flag(group, "model_config_file", "", "ModelServerConfig to serve")
    _flag(
        group,
        "model_config_file_poll_wait_seconds",
        0.0,
        "seconds between looks at that file, 0 for one look",
    )
    _flag(group, "model_name", "default", "of the one model without a config")
    _flag(group, "model_base_path", "", "of the one model without a config")
    _flag(
        group,
        "file_system_poll_wait_seconds",
        1.0,
        "seconds between looks for versions, 0 for one look",
    )
    _flag(
        group,
        "num_load_threads",
        0,
        "models that load at once, 0 for 4 a core",
    )
    _flag(group, "max_num_load_retries", 5, "attempts after a failed load")
    _flag(
        group,
        "load_retry_interval_micros",
        60_000_000,
        "microseconds between attempts",
    )
    _flag(
        group,
        "allow_version_labels_for_unavailable_models",
        False,
        "new labels for versions that are not loaded",
    )
    _flag(group, "enable_model_warmup", True, "replay warm-up requests")
    _flag(
        group,
        "num_request_iterations_for_warmup",
        0,
        "times each warm-up request is replayed, 0 for once",
    )
    _flag(group, "enable_batching", False, "join requests into batches")
    _flag(group, "batching_parameters_file", "", "BatchingParameters")
    _flag(
        group,
        "enable_per_model_batching_parameters",
        False,
        "batching_params.pbtxt of each version",
    )
    _flag(
        group,
        "enable_signature_method_name_check",
        False,
        "methods answer only signatures made for them",
    )
    _flag(
        group,
        "enable_serialization_as_tensor_content",
        False,
        "outputs in tensor_content",
    )


def _add_tensorflow(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("TensorFlow")
    for name in ("session", "intra_op", "inter_op"):
        _flag(
            group,
            f"tensorflow_{name}_parallelism",
            0,
            "threads, 0 for automatic",
        )
    _flag(group, "tensorflow_session_config_file", "", "ConfigProto")
    _flag(
        group,
        "per_process_gpu_memory_fraction",
        0.0,
        "of the GPU's memory, 0 for automatic",
    )
    _flag(group, "saved_model_tags", "serve", "comma-separated")
    parser.add_argument(
        "--version", action="store_true", help="print versions and end"
    )


def _add_absent(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("accepted for TensorFlow Serving's sake")
    for name, absent in _ABSENT.items():
        _flag(group, name, absent, "not supported: the default only")
    for name, ignored in _IGNORED.items():
        _flag(group, name, ignored, "without effect")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits, not in TensorFlow Serving")
    _flag(
        group,
        "max_request_bytes",
        _INT32_MAX,
        "of one request message; over REST at most 2**26",
    )
    _flag(group, "max_batch_rows", 2**25, "first dimension of an input")
    _flag(
        group,
        "max_row_width",
        2**25,
        "other dimensions of an input, such as candidates to rank",
    )
    _flag(
        group,
        "max_concurrent_requests",
        1000,
        "gRPC requests under way; more are RESOURCE_EXHAUSTED",
    )
    _flag(
        group,
        "max_tensor_bytes",
        tensors.MAX_TENSOR_BYTES,
        "memory for the inputs of a request; a short string takes 200",
    )
    _flag(
        group,
        "enable_reload_rpc",
        True,
        "whoever reaches the gRPC port may replace the config",
    )
    _flag(
        group,
        "drain_seconds",
        30.0,
        "what requests under way get to finish after SIGTERM",
    )


def _problem(flags: argparse.Namespace) -> str:
    """What is wrong with the combination, in TensorFlow Serving's words."""
    if flags.port == 0 and not flags.grpc_socket_path:
        return (
            "At least one of server_options.grpc_port or "
            "server_options.grpc_socket_path must be set."
        )
    for name, default in _ABSENT.items():
        if getattr(flags, name) != default:
            return (
                f"--{name} is not supported by this server. Received: "
                f"{getattr(flags, name)}. Leave it out."
            )
    if not (flags.version or flags.model_config_file or flags.model_base_path):
        return (
            "Both server_options.model_base_path and "
            "server_options.model_config_file are empty!"
        )
    if flags.batching_parameters_file and not flags.enable_batching:
        return (
            "server_options.batching_parameters_file is set without setting "
            "server_options.enable_batching to true."
        )
    if (
        flags.tensorflow_session_parallelism > 0
        and flags.tensorflow_intra_op_parallelism > 0
        and flags.tensorflow_inter_op_parallelism > 0
    ):
        return (
            "Either configure server_options.tensorflow_session_parallelism "
            "or (server_options.tensorflow_intra_op_parallelism, "
            "server_options.tensorflow_inter_op_parallelism) separately. You "
            "cannot configure all."
        )
    return ""
