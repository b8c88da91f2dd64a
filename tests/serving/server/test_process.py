"""The server as operators start it: flags, ports, health, the end."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.errors import ServingError
from serving.server import cpus, flags
from serving.server import process as server
from serving.server.answers import predict
from serving.server.lifecycle import loader
from serving.server.telemetry import metrics
from tests.support import serving_models
from tests.support.ports import free_port
from tests.support.serving_calls import (
    ROOT,
    Remote,
    predict_request,
    running,
    spawn,
)


@pytest.fixture
def base(tmp_path):
    serving_models.publish(
        serving_models.originals()["affine"], tmp_path / "affine", 1
    )
    return tmp_path / "affine"


def test_flags_take_both_forms_and_refuse_what_is_unknown(capsys):
    found = flags.parse(
        ["--port=1", "--rest_api_port", "2", "--enable_batching"]
    )
    assert (found.port, found.rest_api_port, found.enable_batching) == (
        1,
        2,
        True,
    )
    assert found.enable_model_warmup
    found = flags.parse(
        ["--enable_model_warmup=false", "--file_system_poll_wait_seconds", "-1"]
    )
    assert not found.enable_model_warmup
    assert found.file_system_poll_wait_seconds == -1
    for wrong in (
        ["--bogus=1"],
        ["--por=1"],
        ["stray"],
        ["--port=x"],
        ["--enable_batching=perhaps"],
    ):
        with pytest.raises(SystemExit) as caught:
            flags.parse(wrong)
        assert caught.value.code != 0
        assert wrong[0].split("=")[0] in capsys.readouterr().err


def test_flags_have_the_original_names_and_defaults():
    found = vars(flags.parse([]))
    defaults = {
        "port": 8500,
        "grpc_socket_path": "",
        "rest_api_port": 0,
        "rest_api_timeout_in_ms": 30000,
        "rest_api_enable_cors_support": False,
        "model_name": "default",
        "model_base_path": "",
        "model_config_file": "",
        "model_config_file_poll_wait_seconds": 0,
        "file_system_poll_wait_seconds": 1,
        "num_load_threads": 0,
        "num_unload_threads": 0,
        "max_num_load_retries": 5,
        "load_retry_interval_micros": 60_000_000,
        "flush_filesystem_caches": True,
        "enable_batching": False,
        "batching_parameters_file": "",
        "enable_per_model_batching_parameters": False,
        "allow_version_labels_for_unavailable_models": False,
        "tensorflow_session_parallelism": 0,
        "tensorflow_intra_op_parallelism": 0,
        "tensorflow_inter_op_parallelism": 0,
        "tensorflow_session_config_file": "",
        "platform_config_file": "",
        "per_process_gpu_memory_fraction": 0,
        "saved_model_tags": "serve",
        "ssl_config_file": "",
        "use_alts_credentials": False,
        "monitoring_config_file": "",
        "grpc_channel_arguments": "",
        "enable_model_warmup": True,
        "num_request_iterations_for_warmup": 0,
        "enable_signature_method_name_check": False,
        "enable_grpc_healthcheck_service": False,
        "enable_serialization_as_tensor_content": False,
        "enable_profiler": True,
        "prefer_tflite_model": False,
        "num_tflite_interpreters_per_pool": 1,
        "remove_unused_fields_from_bundle_metagraph": True,
        "xla_cpu_compilation_enabled": False,
        "xla_gpu_compilation_enabled": False,
        "thread_pool_factory_config_file": "",
        "mixed_precision": "",
        "skip_initialize_tpu": False,
        "version": False,
        # The original has no flag for this and takes as much.
        "max_request_bytes": 2**31 - 1,
    }
    assert {name: found[name] for name in defaults} == defaults
    for name in ("grpc_max_threads", "rest_api_num_threads"):
        assert found[name] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "model_base_path and server_options.model_config_file are empty"),
        (["--model_base_path=/m", "--port=0"], "grpc_port or"),
        (
            ["--model_base_path=/m", "--batching_parameters_file=/b"],
            "without setting server_options.enable_batching",
        ),
        (
            [
                "--model_base_path=/m",
                "--tensorflow_session_parallelism=1",
                "--tensorflow_intra_op_parallelism=1",
                "--tensorflow_inter_op_parallelism=1",
            ],
            "cannot configure all",
        ),
        (
            ["--model_base_path=/m", "--prefer_tflite_model"],
            "--prefer_tflite_model is not supported",
        ),
        (
            ["--model_base_path=/m", "--platform_config_file=/p"],
            "--platform_config_file is not supported",
        ),
        (
            ["--model_base_path=/m", "--grpc_max_threads=0"],
            "--grpc_max_threads must be at least 1. Received: 0",
        ),
        (
            ["--model_base_path=/m", "--max_concurrent_requests=-1"],
            "--max_concurrent_requests must be at least 1",
        ),
        (
            ["--model_base_path=/m", f"--max_request_bytes={2**31}"],
            "--max_request_bytes must be at most 2147483647",
        ),
    ],
)
def test_flags_that_cannot_be(arguments, message):
    with pytest.raises(ServingError) as caught:
        flags.check(flags.parse(arguments))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (None, "NOT_FOUND"),
        ("model_config_list {", "INVALID_ARGUMENT"),
        ("\xff", "INVALID_ARGUMENT"),
        ("custom_model_config { type_url: 'x' }", "INVALID_ARGUMENT"),
    ],
)
def test_a_config_that_cannot_be_used_fails_the_start(tmp_path, text, code):
    path = tmp_path / "models.config"
    if text is not None:
        path.write_text(text, encoding="latin-1")
    with pytest.raises(ServingError) as caught:
        with running(f"--model_config_file={path}"):
            pass
    assert caught.value.code == code


def test_a_config_without_models_serves_nothing(tmp_path):
    path = tmp_path / "models.config"
    path.write_text("model_config_list {}")
    with running(f"--model_config_file={path}") as (_, remote):
        assert remote.error(predict_request("m")) == (
            "NOT_FOUND",
            "Servable not found for request: Latest(m)",
        )


def test_a_taken_port_is_named_before_models_load(tmp_path):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServingError, match=f"{port}, which is taken"):
            with running(f"--model_base_path={tmp_path}", port=port):
                pass


def test_the_port_opens_when_the_models_answer(tmp_path, base):
    port = free_port()
    found = server.Server(
        flags.parse(
            [
                f"--port={port}",
                "--model_name=late",
                f"--model_base_path={tmp_path / 'late'}",
            ]
        )
    )
    (tmp_path / "late").mkdir()
    thread = threading.Thread(target=found.start)
    thread.start()
    remote = Remote(f"127.0.0.1:{port}")
    try:
        time.sleep(0.5)
        assert remote.error(predict_request("late"))[0] == "UNAVAILABLE"
        serving_models.publish(base / "1", tmp_path / "late", 1)
        thread.join(20)
        remote.close()
        remote = Remote(f"127.0.0.1:{port}")
        # Channels share what they know of an address: after a refusal a new
        # one waits too before it tries again.
        grpc.channel_ready_future(remote.channel).result(20)
        assert remote(predict_request("late")).model_spec.version.value == 1
    finally:
        remote.close()
        found.stop(0)


def test_health_is_off_unless_asked_for(base):
    flag = f"--model_base_path={base}"
    with running(flag) as (_, remote):
        stub = health_pb2_grpc.HealthStub(remote.channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest())
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    with running(flag, "--enable_grpc_healthcheck_service") as (_, remote):
        stub = health_pb2_grpc.HealthStub(remote.channel)
        for name in ("", "ModelService", "PredictionService"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(
                health_pb2.HealthCheckRequest(
                    service="tensorflow.serving.PredictionService"
                )
            )
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_unix_socket_answers_too(base, tmp_path):
    path = tmp_path / "grpc.sock"
    with running(
        f"--model_base_path={base}",
        "--model_name=affine",
        f"--grpc_socket_path={path}",
    ):
        remote = Remote(f"unix:{path}")
        assert remote(predict_request()).model_spec.version.value == 1
        remote.close()


def test_a_start_that_fails_says_so_once(tmp_path):
    process = spawn(f"--model_config_file={tmp_path / 'none.config'}")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 255
    told = [line for line in output.splitlines() if "none.config" in line]
    assert len(told) == 1
    assert told[0].startswith("Failed to start server. Error: NOT_FOUND: ")


@pytest.mark.parametrize("arguments", [["--help"], ["--no_such_flag"]])
def test_help_does_not_wait_for_tensorflow(arguments):
    code = "import sys, serving.server.__main__ as command\n"
    code += f"try:\n    command.main({arguments})\n"
    code += "finally:\n    print('tensorflow' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert found.stdout.splitlines()[-1] == "False", found.stderr
    assert "usage: python -m serving.server" in found.stdout + found.stderr


def test_version_tells_of_tensorflow_without_waiting_for_it():
    code = "import sys, serving.server.__main__ as command\n"
    code += "command.main(['--version'])\nprint('tensorflow' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    server, library, waited = found.stdout.splitlines()
    assert waited == "False"
    assert server.startswith("TensorFlow ModelServer: 2.")
    assert library.startswith("TensorFlow Library: 2.")


def test_many_operations_run_at_once_and_none_is_split():
    found = server.session_config(flags.parse([]))
    assert found.inter_op_parallelism_threads == cpus.available()
    assert found.intra_op_parallelism_threads == 1


def test_a_signature_is_prepared_from_its_own_part_of_the_graph():
    found = server.session_config(flags.parse([])).graph_options
    assert found.place_pruned_graph
    assert found.optimizer_options.do_function_inlining


def test_flags_win_over_the_session_config_file(tmp_path):
    path = tmp_path / "session.txt"
    path.write_text(
        "intra_op_parallelism_threads: 3 inter_op_parallelism_threads: 4 "
        "graph_options { }"
    )
    found = server.session_config(
        flags.parse(
            [
                f"--tensorflow_session_config_file={path}",
                "--tensorflow_inter_op_parallelism=2",
            ]
        )
    )
    assert found.intra_op_parallelism_threads == 3
    assert found.inter_op_parallelism_threads == 2
    assert not found.graph_options.place_pruned_graph
    path.write_text("nonsense: 1")
    with pytest.raises(ServingError, match="session.txt"):
        server.session_config(
            flags.parse([f"--tensorflow_session_config_file={path}"])
        )


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority")
def test_only_later_loads_give_way_to_requests(monkeypatch):
    found = []

    class Bundle:
        def __init__(self, directory, *unused):
            self.directory = directory
            thread = threading.get_native_id()
            found.append(os.getpriority(os.PRIO_PROCESS, thread))

        loading = contextlib.nullcontext

    monkeypatch.setattr(loader, "Bundle", Bundle)
    load = loader.Loader(predict.Limits(), metrics.Metrics())
    here = os.getpriority(os.PRIO_PROCESS, 0)
    for number in (1, 2, 3):
        load("m", Path(f"/absent/{number}"))
    assert found[0] == here
    # A server that was started lower still stays where it is.
    assert found[1:] == [max(here, 10)] * 2
    assert os.getpriority(os.PRIO_PROCESS, 0) == here
