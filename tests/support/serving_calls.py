"""Requests and three ways to send them: in process, and over gRPC twice."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.errors import ServingError
from serving.server import flags as flag_parser
from serving.server import process as server
from serving.wire import tensors
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
UNLIMITED = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_reconnect_backoff_ms", 200),
]


def spec(target, name=None, version=None, label=None, signature=None):
    if name is not None:
        target.name = name
    if version is not None:
        target.version.value = version
    if label is not None:
        target.version_label = label
    if signature is not None:
        target.signature_name = signature


def predict_request(name="affine", inputs=None, outputs=(), **chosen):
    request = predict_pb2.PredictRequest(output_filter=outputs)
    if name is not None:
        spec(request.model_spec, name, **chosen)
    if inputs is None:
        inputs = {"x": np.float32([1, 2])}
    for alias, value in inputs.items():
        tensors.encode(np.asarray(value), request.inputs[alias])
    return request


def example(**features):
    from tensorflow.core.example import example_pb2

    found = example_pb2.Example()
    for name, value in features.items():
        feature = found.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        else:
            feature.float_list.value.append(value)
    return found


def example_request(kind, name="examples", rows=(0.25, 0.5), **chosen):
    request = kind()
    if name is not None:
        spec(request.model_spec, name, **chosen)
    for row in rows:
        request.input.example_list.examples.append(example(x=row))
    return request


def classify_request(**options):
    return example_request(classification_pb2.ClassificationRequest, **options)


def regress_request(**options):
    options.setdefault("signature", "regress")
    return example_request(regression_pb2.RegressionRequest, **options)


def multi_request(*tasks, rows=(0.25,)):
    """`tasks`: (name, signature, method) each."""
    request = inference_pb2.MultiInferenceRequest()
    for name, signature, method in tasks:
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        spec(task.model_spec, name, signature=signature)
    for row in rows:
        request.input.example_list.examples.append(example(x=row))
    return request


def metadata_request(name="affine", fields=("signature_def",), **chosen):
    request = get_model_metadata_pb2.GetModelMetadataRequest(
        metadata_field=fields
    )
    if name is not None:
        spec(request.model_spec, name, **chosen)
    return request


def status_request(name="affine", **chosen):
    request = get_model_status_pb2.GetModelStatusRequest()
    if name is not None:
        spec(request.model_spec, name, **chosen)
    return request


def reload_request(*models, **options):
    """`models`: dicts of ModelConfig's fields."""
    request = model_management_pb2.ReloadConfigRequest(**options)
    request.config.model_config_list.SetInParent()
    for model in models:
        request.config.model_config_list.config.add(
            **{"model_platform": "tensorflow"} | model
        )
    return request


METHODS = {
    predict_pb2.PredictRequest: ("Predict", "predict"),
    classification_pb2.ClassificationRequest: ("Classify", "classify"),
    regression_pb2.RegressionRequest: ("Regress", "regress"),
    inference_pb2.MultiInferenceRequest: ("MultiInference", "multi_inference"),
    get_model_metadata_pb2.GetModelMetadataRequest: (
        "GetModelMetadata",
        "get_model_metadata",
    ),
    get_model_status_pb2.GetModelStatusRequest: (
        "GetModelStatus",
        "get_model_status",
    ),
    model_management_pb2.ReloadConfigRequest: (
        "HandleReloadConfigRequest",
        "reload_config",
    ),
}


class InProcess:
    """Calls a servicer without a network."""

    def __init__(self, servicer):
        self._servicer = servicer

    def __call__(self, request):
        method = getattr(self._servicer, METHODS[type(request)][1])
        return method(request)

    def error(self, request):
        """Code and message of a request that must fail."""
        try:
            answer = self(request)
        except ServingError as error:
            return error.code, str(error)
        raise AssertionError(f"answered {answer}")


class Remote:
    """Calls a server over gRPC."""

    def __init__(self, target, credentials=None):
        self.target = target
        if credentials is None:
            self.channel = grpc.insecure_channel(target, UNLIMITED)
        else:
            self.channel = grpc.secure_channel(target, credentials, UNLIMITED)
        self._stubs = [
            prediction_service_pb2_grpc.PredictionServiceStub(self.channel),
            model_service_pb2_grpc.ModelServiceStub(self.channel),
        ]

    def __call__(self, request, timeout=30):
        name = METHODS[type(request)][0]
        stub = self._stubs[0 if hasattr(self._stubs[0], name) else 1]
        return getattr(stub, name)(request, timeout=timeout)

    def error(self, request, timeout=30):
        try:
            answer = self(request, timeout)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        raise AssertionError(f"answered {answer}")

    def close(self):
        self.channel.close()


@contextlib.contextmanager
def spawned(*arguments, port):
    """That server and what asks it; both end with the block."""
    process = spawn(f"--port={port}", *arguments)
    remote = Remote(f"127.0.0.1:{port}")
    try:
        yield process, remote
    finally:
        remote.close()
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def running(*arguments, port=None):
    """Our server in this process; gives `server.Server` and a `Remote`."""
    port = port or free_port()
    found = server.Server(
        flag_parser.parse(
            [f"--port={port}", "--max_num_load_retries=0", *arguments]
        )
    )
    remote = None
    try:
        found.start()
        remote = Remote(f"127.0.0.1:{port}")
        yield found, remote
    finally:
        if remote is not None:
            remote.close()
        found.stop(0)


def spawn(*arguments, **options):
    """Our server as operators start it; the caller ends it."""
    return subprocess.Popen(
        [sys.executable, "-m", "serving.server", *arguments],
        cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def states(call, name="affine"):
    """{version: state name} of a model, empty when it was never seen."""
    try:
        answer = call(status_request(name))
    except (grpc.RpcError, ServingError):
        return {}
    return {
        entry.version: get_model_status_pb2.ModelVersionStatus.State.Name(
            entry.state
        )
        for entry in answer.model_version_status
    }
