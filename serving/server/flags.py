"""The server's command line: TensorFlow Serving's flags, and a few limits.

`--name=value` as in the original, and `--name value`, which it ignores. An
unknown flag is an error. Flags for what this server has not (TFLite, XLA, ALTS)
are accepted at their defaults only; those that merely save memory or threads in
the original are accepted and mean nothing.
"""

import argparse
from collections.abc import Sequence

from serving.errors import invalid
from serving.server import cpus
from serving.wire import tensors

# By name: the default, whose type is the flag's, and what it means.
_Flags = dict[str, tuple[bool | int | float | str, str]]
_CPUS = cpus.available()
_ABSENT = "not supported: the default only"
_IGNORED = "without effect"
_MOST_REQUEST_BYTES = 2**31 - 1
# Less would hold no request of many rows.
LEAST_LOG_BYTES = 2**20

_TRANSPORT: _Flags = dict(
    port=(8500, "gRPC port; 0 needs --grpc_socket_path"),
    grpc_socket_path=("", "UNIX socket for gRPC as well"),
    rest_api_port=(0, "REST port, 0 for none"),
    rest_api_num_threads=(
        4 * _CPUS,
        "threads that answer REST requests, 4 a core",
    ),
    rest_api_timeout_in_ms=(30_000, "limit of a REST request"),
    rest_api_enable_cors_support=(False, "CORS headers in REST answers"),
    grpc_max_threads=(
        2 * _CPUS,
        "threads for gRPC requests, 2 a core; more are slower",
    ),
    grpc_channel_arguments=("", "a=1,b=2 for the gRPC server"),
    ssl_config_file=("", "SSLConfig: gRPC over TLS only"),
    enable_grpc_healthcheck_service=(False, "grpc.health.v1.Health"),
    monitoring_config_file=("", "MonitoringConfig: Prometheus"),
)
_MODELS: _Flags = dict(
    model_config_file=("", "ModelServerConfig to serve"),
    model_config_file_poll_wait_seconds=(0.0, "between looks at it, 0 for one"),
    model_name=("default", "of the one model without a config"),
    model_base_path=("", "of the one model without a config"),
    file_system_poll_wait_seconds=(
        1.0,
        "between looks for versions, 0 for one",
    ),
    num_load_threads=(0, "models that load at once, 0 for 4 a core"),
    max_num_load_retries=(5, "attempts after a failed load"),
    load_retry_interval_micros=(60_000_000, "microseconds between attempts"),
    allow_version_labels_for_unavailable_models=(
        False,
        "new labels for versions that are not loaded",
    ),
    enable_model_warmup=(True, "replay warm-up requests"),
    num_request_iterations_for_warmup=(0, "times each is replayed, 0 for once"),
    enable_batching=(False, "join requests into batches"),
    batching_parameters_file=("", "BatchingParameters"),
    enable_per_model_batching_parameters=(
        False,
        "batching_params.pbtxt of each version",
    ),
    enable_signature_method_name_check=(
        False,
        "methods answer only signatures made for them",
    ),
    enable_serialization_as_tensor_content=(
        False,
        "outputs in tensor_content",
    ),
)
_TENSORFLOW: _Flags = dict(
    tensorflow_session_parallelism=(0, "threads of both pools below, if any"),
    tensorflow_intra_op_parallelism=(
        0,
        "threads of one operation, 1 by itself: our operations are small",
    ),
    tensorflow_inter_op_parallelism=(
        0,
        "operations at once, by itself one a processor",
    ),
    tensorflow_session_config_file=(
        "",
        "ConfigProto; graph_options in it replace the server's own",
    ),
    per_process_gpu_memory_fraction=(0.0, "of the GPU's, 0 for automatic"),
    saved_model_tags=("serve", "comma-separated"),
    version=(False, "print versions and end"),
)
_ACCEPTED: _Flags = dict(
    # Whatever these ask for cannot be given.
    use_alts_credentials=(False, _ABSENT),
    platform_config_file=("", _ABSENT),
    thread_pool_factory_config_file=("", _ABSENT),
    mixed_precision=("", _ABSENT),
    prefer_tflite_model=(False, _ABSENT),
    xla_cpu_compilation_enabled=(False, _ABSENT),
    xla_gpu_compilation_enabled=(False, _ABSENT),
    # These change nothing that a caller could see.
    enable_profiler=(True, _IGNORED),
    flush_filesystem_caches=(True, _IGNORED),
    num_unload_threads=(0, _IGNORED),
    num_tflite_pools=(_CPUS, f"{_IGNORED}, 1 a core"),
    num_tflite_interpreters_per_pool=(1, _IGNORED),
    remove_unused_fields_from_bundle_metagraph=(True, _IGNORED),
    skip_initialize_tpu=(False, _IGNORED),
)
_LIMITS: _Flags = dict(
    max_request_bytes=(
        _MOST_REQUEST_BYTES,
        "of a message; over REST at most 2**26",
    ),
    max_batch_rows=(2**25, "first dimension of an input"),
    max_row_width=(2**25, "other dimensions, such as candidates to rank"),
    max_concurrent_requests=(1000, "over gRPC; more are RESOURCE_EXHAUSTED"),
    max_tensor_bytes=(
        tensors.MAX_TENSOR_BYTES,
        "memory for the inputs of a request; a short string takes 200",
    ),
    enable_reload_rpc=(True, "callers of the gRPC port may replace the config"),
    drain_seconds=(30.0, "what requests get to finish after SIGTERM"),
)
_AT_LEAST_ONE = (
    "grpc_max_threads",
    "rest_api_num_threads",
    *(name for name, (default, _) in _LIMITS.items() if type(default) is int),
)
_REQUEST_LOGS: _Flags = dict(
    request_log_bytes=(
        2**30,
        "of the files below one prefix; the oldest make room",
    ),
    request_log_key_file=("", "a key: user ids are logged as its hashes"),
)
_GROUPS = {
    "transport": _TRANSPORT,
    "models": _MODELS,
    "TensorFlow": _TENSORFLOW,
    "accepted for TensorFlow Serving's sake": _ACCEPTED,
    "limits, not in TensorFlow Serving": _LIMITS,
    "request logs, not in TensorFlow Serving": _REQUEST_LOGS,
}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line; ends the process with status 2 on an error."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.server",
        description=(__doc__ or "").splitlines()[0],
        allow_abbrev=False,
    )
    for title, flags in _GROUPS.items():
        group = parser.add_argument_group(title)
        for name, (default, text) in flags.items():
            is_switch = isinstance(default, bool)
            shown = str(default).lower() if is_switch else str(default)
            group.add_argument(
                f"--{name}",
                type=_boolean if is_switch else type(default),
                nargs="?" if is_switch else None,
                const=True if is_switch else None,
                default=default,
                metavar="BOOL" if is_switch else type(default).__name__.upper(),
                help=_help(text, shown),
            )
    return parser.parse_args(arguments)


def _help(text: str, default: str) -> str:
    """A flag's meaning with its default, the same on every machine."""
    return f"{text} ({default})" if default and " a core" not in text else text


def _boolean(text: str) -> bool:
    if text.lower() in {"true", "1"}:
        return True
    if text.lower() in {"false", "0"}:
        return False
    raise argparse.ArgumentTypeError(f"must be true or false, not {text!r}")


def check(flags: argparse.Namespace) -> None:
    """Refuses flags that exclude or need each other."""
    if flags.port == 0 and not flags.grpc_socket_path:
        raise invalid(
            "At least one of server_options.grpc_port or "
            "server_options.grpc_socket_path must be set."
        )
    for name, (default, text) in _ACCEPTED.items():
        if text == _ABSENT and getattr(flags, name) != default:
            raise invalid(
                f"--{name} is not supported by this server. Received: "
                f"{getattr(flags, name)}. Leave it out."
            )
    if not (flags.model_config_file or flags.model_base_path):
        raise invalid(
            "Both server_options.model_base_path and "
            "server_options.model_config_file are empty!"
        )
    if flags.batching_parameters_file and not flags.enable_batching:
        raise invalid(
            "server_options.batching_parameters_file is set without setting "
            "server_options.enable_batching to true."
        )
    for name in _AT_LEAST_ONE:
        if getattr(flags, name) < 1:
            raise invalid(
                f"--{name} must be at least 1. Received: "
                f"{getattr(flags, name)}."
            )
    if flags.request_log_bytes < LEAST_LOG_BYTES:
        raise invalid(
            f"--request_log_bytes must be at least {LEAST_LOG_BYTES}. "
            f"Received: {flags.request_log_bytes}."
        )
    if flags.max_request_bytes > _MOST_REQUEST_BYTES:
        raise invalid(
            f"--max_request_bytes must be at most {_MOST_REQUEST_BYTES}, the "
            f"largest message of gRPC. Received: {flags.max_request_bytes}."
        )
    pools = ("session", "intra_op", "inter_op")
    if all(
        getattr(flags, f"tensorflow_{one}_parallelism") > 0 for one in pools
    ):
        raise invalid(
            "Either configure server_options.tensorflow_session_parallelism "
            "or (server_options.tensorflow_intra_op_parallelism, "
            "server_options.tensorflow_inter_op_parallelism) separately. You "
            "cannot configure all."
        )
