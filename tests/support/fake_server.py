"""A model server of plain Python for the client's tests, with faults to order.

Speaks the wire format and paths of TensorFlow Serving through our messages
and answers from arithmetic: item "i7" scores 7 for retrieval, and ranking
turns the order round. So every right answer can be written down in a test,
and a server starts in milliseconds.
"""

import copy
import time
from collections import Counter
from concurrent import futures

import grpc
import numpy as np
from google.protobuf import any_pb2

from serving.wire import serving_pb2, tensor_pb2, tensors

STRING, FLOAT, INT64 = (
    tensor_pb2.DT_STRING,
    tensor_pb2.DT_FLOAT,
    tensor_pb2.DT_INT64,
)
QUERY = {
    "user_id": (STRING, 1),
    "history": (STRING, 2),
    "age": (FLOAT, 1),
    "hour": (INT64, 1),
    "tags": (STRING, 2),
    "country": (STRING, 1),
}
EXCLUDED = {"excluded_ids": (STRING, 2)}
CANDIDATES = {"candidate_ids": (STRING, 2)}
ITEM = {"item_id": (STRING, 1)}
FILTERS = {"allowed_parity": (STRING, 2), "allowed_tens": (STRING, 2)}
SIGNATURES = {
    "retrieval": {
        "serving_default": QUERY,
        "with_exclusions": QUERY | EXCLUDED,
        "similar_items": ITEM,
        "with_options": QUERY | EXCLUDED | FILTERS,
    },
    "ranking": {
        "serving_default": QUERY | CANDIDATES,
        "score": QUERY | CANDIDATES,
    },
    "recommender": {
        "serving_default": QUERY | EXCLUDED,
        "with_diversity": QUERY | EXCLUDED | {"diversity": (FLOAT, 1)},
        "with_options": QUERY | EXCLUDED | FILTERS | {"diversity": (FLOAT, 2)},
    },
}
# What an item has of each feature that can be filtered by.
HAS = {
    "allowed_parity": lambda number: (b"even", b"odd")[number % 2],
    "allowed_tens": lambda number: str(number // 10).encode(),
}
CATALOGUE = [f"i{index}" for index in range(20)]
WIDTH = 8  # Items that retrieval and the fused model return.


class FakeServer:
    """Serves the named models until stopped.

    Attributes:
        versions: Loaded versions by model; change them to swap.
        calls: Counter of (method, model).
        requests: Decoded inputs of every Predict, oldest first.
        faults: By model, or model and version: a list of codes to fail the
            next calls with, or one code to fail them all.
        delays: By model, or model and version: seconds before answering.
        signatures: What each model takes, by model and signature.
        labels: By model: versions by label.
        metadata: Headers of every call, gRPC's own left out, oldest first.
    """

    def __init__(self, models=("retrieval", "ranking"), port=0, **server):
        self.versions = {model: [1] for model in models}
        self.calls = Counter()
        self.requests = []
        self.faults = {}
        self.delays = {}
        self.labels = {}
        self.metadata = []
        # Its own, down to each input: tests change them.
        self.signatures = copy.deepcopy(SIGNATURES)
        self._credentials = server.pop("credentials", None)
        self._start(port)

    def _start(self, port):
        self._server = grpc.server(
            futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)]
        )
        for service, methods in {
            "PredictionService": ("Predict", "GetModelMetadata"),
            "ModelService": ("GetModelStatus",),
        }.items():
            self._server.add_generic_rpc_handlers(
                (
                    grpc.method_handlers_generic_handler(
                        f"tensorflow.serving.{service}",
                        {method: self._handler(method) for method in methods},
                    ),
                )
            )
        address = f"127.0.0.1:{port}"
        if self._credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, self._credentials)
        self.target = f"127.0.0.1:{self.port}"
        self._server.start()

    def stop(self):
        self._server.stop(None).wait()

    def restart(self):
        self._start(self.port)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _handler(self, method):
        def answer(request, context):
            model = request.model_spec.name
            self.calls[method, model] += 1
            self.metadata.append(
                [
                    (key, value)
                    for key, value in context.invocation_metadata()
                    if key != "user-agent"
                ]
            )
            if method != "GetModelStatus":
                self._fail(model, context)
                time.sleep(self.delays.get(model, 0))
                version = self._version(request.model_spec, context)
                if method == "Predict":
                    self._fail((model, version), context)
                    time.sleep(self.delays.get((model, version), 0))
                return getattr(self, f"_{method}")(request, version, context)
            return self._status(model, context)

        return grpc.unary_unary_rpc_method_handler(
            answer,
            getattr(serving_pb2, f"{method}Request").FromString,
            getattr(serving_pb2, f"{method}Response").SerializeToString,
        )

    def _fail(self, model, context):
        fault = self.faults.get(model)
        if isinstance(fault, list):
            fault = fault.pop(0) if fault else None
        if fault:
            context.abort(getattr(grpc.StatusCode, fault), "ordered fault")

    def _version(self, spec, context):
        loaded = self.versions.get(spec.name, [])
        if spec.version_label:
            found = self.labels.get(spec.name, {}).get(spec.version_label)
            if found is None:
                context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    "Unrecognized servable version label: "
                    f"{spec.version_label}",
                )
            if found in loaded:
                return found
            wanted = f"Specific({spec.name}, {found})"
        elif spec.HasField("version"):
            if spec.version.value in loaded:
                return spec.version.value
            wanted = f"Specific({spec.name}, {spec.version.value})"
        elif loaded:
            return max(loaded)
        else:
            wanted = f"Latest({spec.name})"
        context.abort(
            grpc.StatusCode.NOT_FOUND,
            f"Servable not found for request: {wanted}",
        )

    def _status(self, model, context):
        if model not in self.versions:
            context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"Could not find any versions of model {model}",
            )
        response = serving_pb2.GetModelStatusResponse()
        for version in sorted(self.versions[model], reverse=True):
            response.model_version_status.add(version=version, state=30)
        return response

    def _GetModelMetadata(self, request, version, context):  # noqa: N802
        model = request.model_spec.name
        found = serving_pb2.SignatureDefMap()
        for name, inputs in self.signatures[model].items():
            for key, (dtype, rank) in inputs.items():
                info = found.signature_def[name].inputs[key]
                info.dtype = dtype
                for _ in range(rank):
                    info.tensor_shape.dim.add(size=-1)
        response = serving_pb2.GetModelMetadataResponse()
        response.model_spec.name = model
        response.model_spec.version.value = version
        response.metadata["signature_def"].CopyFrom(
            any_pb2.Any(
                type_url="type.googleapis.com/"
                "tensorflow.serving.SignatureDefMap",
                value=found.SerializeToString(),
            )
        )
        return response

    def _Predict(self, request, version, context):  # noqa: N802
        model = request.model_spec.name
        signature = request.model_spec.signature_name
        takes = self.signatures[model][signature]
        inputs = {
            name: tensors.decode(tensor)
            for name, tensor in request.inputs.items()
        }
        self.requests.append((model, signature, inputs))
        if inputs.keys() != takes.keys():
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"input size does not match signature: {len(inputs)}!="
                f"{len(takes)}",
            )
        response = serving_pb2.PredictResponse()
        response.model_spec.name = model
        response.model_spec.signature_name = signature
        response.model_spec.version.value = version
        for name, value in answers(model, signature, inputs).items():
            tensors.encode(value, response.outputs[name])
        return response


def answers(model, signature, inputs):
    """The models: arithmetic on the numbers in the ids."""
    if signature == "score":
        scores = -_numbers(inputs["candidate_ids"])
        return {"scores": scores, "predicted_rating": scores / 4}
    if model == "ranking":
        ids = inputs["candidate_ids"]
        scores = np.where(ids == b"", -np.inf, -_numbers(ids))
        order = np.argsort(-scores, axis=1, kind="stable")
        return {
            "candidate_ids": np.take_along_axis(ids, order, 1),
            "scores": np.take_along_axis(scores, order, 1).astype(np.float32),
        }
    hidden = (
        inputs["item_id"][:, None]
        if signature == "similar_items"
        else np.concatenate(
            [
                inputs[name]
                for name in ("history", "excluded_ids")
                if name in inputs
            ],
            axis=1,
        )
    )
    rows = []
    for number, row in enumerate(hidden.tolist()):
        kept = [
            item
            for item in CATALOGUE
            if item.encode() not in row
            and all(
                has(int(item[1:])) in set(inputs[name][number].tolist())
                for name, has in HAS.items()
                if name in inputs and inputs[name][number].any()
            )
        ]
        rows.append([*kept[::-1], *[""] * WIDTH][:WIDTH])
    ids = np.array([[item.encode() for item in row] for row in rows], object)
    name = "item_ids" if model == "recommender" else "candidate_ids"
    return {name: ids, "scores": _numbers(ids)}


def _numbers(ids):
    return np.array(
        [[float(item[1:] or 0) for item in row] for row in ids.tolist()],
        np.float32,
    )
