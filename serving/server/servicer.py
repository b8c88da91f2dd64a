"""PredictionService and ModelService over a `Core`, without a network.

Each method takes a request message and returns a response message or raises
`ServingError` with the gRPC code. `server` puts them behind gRPC, `rest`
behind HTTP; tests call them directly.
"""

import time
from typing import Any

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
from serving.server.answers import inference, predict
from serving.server.answers.predict import Limits
from serving.server.lifecycle.catalogue import Core
from serving.server.telemetry import metrics as monitoring
from serving.wire import codes

_SIGNATURE_FIELD = "signature_def"
_INVALID = "INVALID_ARGUMENT"


class Servicer:
    """Answers requests.

    Args:
        core: Resolves and holds the models.
        limits: What one request may ask for.
        metrics: Counts requests.
    """

    def __init__(
        self,
        core: Core,
        limits: Limits | None = None,
        metrics: monitoring.Metrics | None = None,
    ) -> None:
        self.core = core
        self.limits = limits or Limits()
        self.metrics = metrics or monitoring.Metrics()

    def count(self, model: str, code: str) -> None:
        """Counts a request, one for a model that nobody knows included."""
        if not self.core.knows(model):
            model = self.metrics.unknown_name(model)
        self.metrics.request_count.add((model, code))

    def predict(
        self, request: Any, timeout_seconds: float | None = None
    ) -> Any:
        """`PredictionService.Predict`."""
        _check_spec(request)
        response = predict_pb2.PredictResponse()
        version = self.core.acquire(request.model_spec)
        try:
            model: Any = version.servable
            start = time.perf_counter()
            predict.run(
                model.bundle,
                request,
                response,
                version.number,
                timeout_seconds,
                self.limits,
                model.run_tensors,
            )
            self.metrics.runtime_latency.add(
                (version.model, "Predict", "TF1"), time.perf_counter() - start
            )
        finally:
            version.release()
        return response

    def classify(
        self, request: Any, timeout_seconds: float | None = None
    ) -> Any:
        """`PredictionService.Classify`."""
        _check_spec(request)
        response = classification_pb2.ClassificationResponse()
        self._infer(inference.CLASSIFY, request, response, timeout_seconds)
        return response

    def regress(
        self, request: Any, timeout_seconds: float | None = None
    ) -> Any:
        """`PredictionService.Regress`."""
        _check_spec(request)
        response = regression_pb2.RegressionResponse()
        self._infer(inference.REGRESS, request, response, timeout_seconds)
        return response

    def _infer(
        self,
        method: inference.Method,
        request: Any,
        response: Any,
        timeout_seconds: float | None,
    ) -> None:
        version = self.core.acquire(request.model_spec)
        try:
            model: Any = version.servable
            start = time.perf_counter()
            count = inference.infer(
                method,
                model.bundle,
                request,
                response,
                version.number,
                timeout_seconds,
                self.limits,
                model.run_tensors,
            )
            self.metrics.runtime_latency.add(
                (version.model, method.api, "TF1"), time.perf_counter() - start
            )
            self.metrics.count_examples(version.model, count)
        finally:
            version.release()

    def multi_inference(
        self, request: Any, timeout_seconds: float | None = None
    ) -> Any:
        """`PredictionService.MultiInference`."""
        response = inference_pb2.MultiInferenceResponse()
        spec = inference.first_spec(request)
        version = self.core.acquire(spec)
        try:
            model: Any = version.servable
            count = inference.multi(
                model.bundle,
                request,
                response,
                version.number,
                timeout_seconds,
                self.limits,
                model.run_tensors,
            )
            self.metrics.count_examples(version.model, count)
        finally:
            version.release()
        return response

    def get_model_metadata(
        self, request: Any, timeout_seconds: float | None = None
    ) -> Any:
        """`PredictionService.GetModelMetadata`."""
        del timeout_seconds
        _check_spec(request)
        if not request.metadata_field:
            raise ServingError(
                "GetModelMetadataRequest must specify at least one "
                "metadata_field",
                _INVALID,
            )
        for field in request.metadata_field:
            if field != _SIGNATURE_FIELD:
                raise ServingError(
                    f"Metadata field {field} is not supported", _INVALID
                )
        version = self.core.acquire(request.model_spec)
        try:
            model: Any = version.servable
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for name, definition in model.bundle.signature_defs.items():
                signatures.signature_def[name].CopyFrom(definition)
            number = version.number
        finally:
            version.release()
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = number
        response.metadata[_SIGNATURE_FIELD].Pack(signatures)
        return response

    def get_model_status(
        self, request: Any, timeout_seconds: float | None = None
    ) -> Any:
        """`ModelService.GetModelStatus`."""
        del timeout_seconds
        _check_spec(request)
        response = get_model_status_pb2.GetModelStatusResponse()
        found = self.core.statuses(request.model_spec)
        for number, status in found.items():
            entry = response.model_version_status.add()
            entry.version = number
            entry.state = int(status.state)
            entry.status.error_code = codes.NUMBERS[status.code]
            entry.status.error_message = status.message
        return response

    def reload_config(self, request: Any, is_given_up: Any = None) -> Any:
        """`ModelService.HandleReloadConfigRequest`."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise ServingError(
                "ServerModelConfig type not supported by "
                "HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported",
                _INVALID,
            )
        names = list(dict.fromkeys(request.metric_names))
        before = {name: self.metrics.value(name) for name in names}
        self.core.reload(request.config, is_given_up or (lambda: False))
        response = model_management_pb2.ReloadConfigResponse()
        # Presence of the status is part of the answer; OK is its default.
        response.status.SetInParent()
        for name in names:
            increase = self.metrics.value(name) - before[name]
            response.metric.add(name=name, int64_value_increase=increase)
        return response


def _check_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise ServingError("Missing ModelSpec", _INVALID)
