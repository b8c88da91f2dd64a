"""PredictionService and ModelService over a `Core`, without a network.

Each method takes a request message, and the seconds it may take where it runs
a graph, and returns a response message or raises
`ServingError` with the gRPC code. `rpc` puts them behind gRPC, `rest` behind
HTTP; tests call them directly.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partialmethod

from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
)

from serving.errors import ServingError, invalid
from serving.server.answers import inference, predict
from serving.server.answers.predict import Limits
from serving.server.lifecycle.catalogue import Core
from serving.server.lifecycle.states import Version
from serving.server.request_logger import RequestLogger
from serving.server.telemetry import events
from serving.server.telemetry import metrics as monitoring
from serving.wire import codes

_SIGNATURE_FIELD = "signature_def"


@dataclass
class Servicer:
    """Answers requests."""

    core: Core
    limits: Limits
    metrics: monitoring.Metrics
    logger: RequestLogger

    def count(self, model: str, code: str) -> None:
        """Counts a request, one for a model that nobody knows included."""
        if model not in self.core.names:
            model = self.metrics.unknown_name(model)
        self.metrics.request_count.add((model, code))

    def predict(
        self,
        request: predict_pb2.PredictRequest,
        timeout_seconds: float | None = None,
    ) -> predict_pb2.PredictResponse:
        """`PredictionService.Predict`."""
        with self._version(_spec(request)) as version:
            start = time.perf_counter()
            response = predict.run(
                version.bundle,
                request,
                version.number,
                timeout_seconds,
                self.limits,
            )
            self._time("Predict", version.model, start)
            answered = (version.model, version.number)
        self.logger.log("predict_log", answered, request, response)
        return response

    def infer(
        self,
        method: inference.Method,
        request: inference.Request,
        timeout_seconds: float | None = None,
    ) -> inference.Response:
        """`PredictionService.Classify` or `Regress`."""
        with self._version(_spec(request)) as version:
            start = time.perf_counter()
            response, count = inference.infer(
                method,
                version.bundle,
                request,
                version.number,
                timeout_seconds,
                self.limits,
            )
            self._time(method.api, version.model, start)
            answered = (version.model, version.number)
        self.metrics.count_examples(version.model, count)
        kind = f"{method.api.lower()}_log"
        self.logger.log(kind, answered, request, response)
        return response

    classify = partialmethod(infer, inference.CLASSIFY)
    regress = partialmethod(infer, inference.REGRESS)

    @contextlib.contextmanager
    def _version(self, spec: model_pb2.ModelSpec) -> Iterator[Version]:
        """The version that answers a request; counts how it went."""
        with self.core.acquire(spec) as version:
            code = "OK"
            try:
                yield version
            except ServingError as error:
                code = error.code or "UNKNOWN"
                raise
            except BaseException:
                code = "INTERNAL"
                raise
            finally:
                row = (version.model, str(version.number), code)
                self.metrics.version_request_count.add(row)

    def _time(self, api: str, model: str, start: float) -> None:
        self.metrics.runtime_latency.add(
            (model, api, "TF1"), time.perf_counter() - start
        )

    def multi_inference(
        self,
        request: inference_pb2.MultiInferenceRequest,
        timeout_seconds: float | None = None,
    ) -> inference_pb2.MultiInferenceResponse:
        """`PredictionService.MultiInference`, by the first task's model."""
        tasks = request.tasks
        spec = tasks[0].model_spec if tasks else model_pb2.ModelSpec()
        with self._version(spec) as version:
            response, count = inference.multi(
                version.bundle,
                request,
                version.number,
                timeout_seconds,
                self.limits,
            )
            answered = (version.model, version.number)
        self.metrics.count_examples(version.model, count)
        self.logger.log("multi_inference_log", answered, request, response)
        return response

    def get_model_metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """`PredictionService.GetModelMetadata`."""
        spec = _spec(request)
        if not request.metadata_field:
            raise invalid(
                "GetModelMetadataRequest must specify at least one "
                "metadata_field"
            )
        for field in request.metadata_field:
            if field != _SIGNATURE_FIELD:
                raise invalid(f"Metadata field {field} is not supported")
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with self.core.acquire(spec) as version:
            for name, definition in version.bundle.signature_defs.items():
                signatures.signature_def[name].CopyFrom(definition)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = version.number
        response.metadata[_SIGNATURE_FIELD].Pack(signatures)
        return response

    def get_model_status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """`ModelService.GetModelStatus`."""
        response = get_model_status_pb2.GetModelStatusResponse()
        for number, status in self.core.statuses(_spec(request)).items():
            entry = response.model_version_status.add()
            entry.version = number
            entry.state = int(status.state)
            entry.status.error_code = codes.NUMBERS[status.code]
            entry.status.error_message = status.message
        return response

    def reload_config(
        self,
        request: model_management_pb2.ReloadConfigRequest,
        is_given_up: Callable[[], bool] = lambda: False,
    ) -> model_management_pb2.ReloadConfigResponse:
        """`ModelService.HandleReloadConfigRequest`."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by "
                "HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        names = list(dict.fromkeys(request.metric_names))
        before = {name: self.metrics.value(name) for name in names}
        self.core.apply(request.config, is_given_up)
        response = model_management_pb2.ReloadConfigResponse()
        # Presence of the status is part of the answer; OK is its default.
        response.status.SetInParent()
        for name in names:
            increase = self.metrics.value(name) - before[name]
            response.metric.add(name=name, int64_value_increase=increase)
        return response


def _spec(
    request: predict_pb2.PredictRequest
    | inference.Request
    | get_model_metadata_pb2.GetModelMetadataRequest
    | get_model_status_pb2.GetModelStatusRequest,
) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return request.model_spec


def as_serving_error(error: Exception, where: str) -> ServingError:
    """What a caller is told; a fault of ours is logged."""
    if isinstance(error, ServingError):
        error.code = error.code or "UNKNOWN"
        return error
    if isinstance(error, MemoryError):
        return ServingError("Out of memory", "RESOURCE_EXHAUSTED")
    events.error("request_crashed", trace=True, api=where, error=error)
    # Its words may tell of paths and of other callers' requests.
    return ServingError("The server failed: its log says how.", "INTERNAL")
