"""Replays the requests that ship with a model before it answers callers.

`<version>/assets.extra/tf_serving_warmup_requests`, a TFRecord file of
`PredictionLog`. Any failure makes the load fail, as in TensorFlow Serving:
a model that cannot answer its own examples must not replace one that can.
"""

import time
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
)

from serving.errors import ServingError
from serving.server.answers import inference, predict
from serving.server.runtime import bundle as bundles
from serving.server.telemetry import events
from serving.server.telemetry import metrics as monitoring

FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000


def replay(
    bundle: bundles.Bundle,
    limits: predict.Limits,
    metrics: monitoring.Metrics,
    iterations: int = 1,
) -> int:
    """Replays the bundle's warm-up file, if it has one.

    Args:
        bundle: Loaded, answering nobody yet.
        limits: As for requests.
        metrics: Gets the latency.
        iterations: How often each record is replayed.

    Returns:
        Number of records.

    Raises:
        ServingError: If a record fails or the file is wrong.
    """
    path = bundle.directory / FILE
    if not path.exists():
        return 0
    start = time.perf_counter()
    count = 0
    try:
        for record in tf.compat.v1.io.tf_record_iterator(str(path)):
            log = _parse(record, path)
            for _ in range(iterations):
                _run(bundle, log, limits)
            count += 1
            if count > MAX_RECORDS:
                raise ServingError(
                    "Number of warmup records exceeds the maximum "
                    f"({MAX_RECORDS}) at {path}",
                    "INVALID_ARGUMENT",
                )
    except tf.errors.DataLossError as error:
        raise ServingError(
            f"{error.message}. Please verify your warmup data is in TFRecord "
            "format.",
            "DATA_LOSS",
        ) from error
    except tf.errors.OpError as error:
        raise bundles.translate(error) from error
    elapsed = time.perf_counter() - start
    metrics.warmup_latency.add((str(bundle.directory), "OK"), elapsed)
    events.info(
        "warmup_done",
        directory=bundle.directory,
        records=count,
        ms=round(1000 * elapsed),
    )
    return count


def _parse(record: bytes, path: Path) -> prediction_log_pb2.PredictionLog:
    try:
        return prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        raise ServingError(
            f"Failed to parse warmup record: {record[:80]!r} from {path}",
            "INVALID_ARGUMENT",
        ) from error


def _run(
    bundle: bundles.Bundle,
    log: prediction_log_pb2.PredictionLog,
    limits: predict.Limits,
) -> None:
    kind = log.WhichOneof("log_type")
    rest = (None, None, limits)
    if kind == "predict_log":
        request = log.predict_log.request
        predict.run(bundle, request, predict_pb2.PredictResponse(), *rest)
    elif kind == "classify_log":
        inference.infer(
            inference.CLASSIFY,
            bundle,
            log.classify_log.request,
            classification_pb2.ClassificationResponse(),
            *rest,
        )
    elif kind == "regress_log":
        inference.infer(
            inference.REGRESS,
            bundle,
            log.regress_log.request,
            regression_pb2.RegressionResponse(),
            *rest,
        )
    elif kind == "multi_inference_log":
        inference.multi(
            bundle,
            log.multi_inference_log.request,
            inference_pb2.MultiInferenceResponse(),
            *rest,
        )
    elif kind is not None:
        field = log.DESCRIPTOR.fields_by_name[kind].number
        raise ServingError(
            f"Unsupported log_type for warmup: {field}", "UNIMPLEMENTED"
        )
