"""Replays the requests that ship with a model before it answers callers.

`<version>/assets.extra/tf_serving_warmup_requests`, a TFRecord file of
`PredictionLog`. Any failure makes the load fail, as in TensorFlow Serving:
a model that cannot answer its own examples must not replace one that can.
"""

import time
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from serving import signatures
from serving.errors import ServingError, invalid
from serving.server.answers import inference, predict
from serving.server.runtime.bundle import Bundle
from serving.server.telemetry import events
from serving.server.telemetry import metrics as monitoring
from serving.wire import codes

FILE = Path(signatures.EXTRA_ASSETS) / signatures.WARMUP_REQUESTS
MAX_RECORDS = 1000
_METHODS = {
    "classify_log": inference.CLASSIFY,
    "regress_log": inference.REGRESS,
}


def replay(
    bundle: Bundle,
    limits: predict.Limits,
    metrics: monitoring.Metrics,
    iterations: int = 1,
) -> None:
    """Replays the bundle's warm-up file, if it has one."""
    path = bundle.directory / FILE
    if not path.exists():
        return
    start = time.perf_counter()
    count = 0
    try:
        for record in tf.compat.v1.io.tf_record_iterator(str(path)):
            log = _parse(record, path)
            for _ in range(iterations):
                _run(bundle, log, limits)
            count += 1
            if count > MAX_RECORDS:
                raise invalid(
                    "Number of warmup records exceeds the maximum "
                    f"({MAX_RECORDS}) at {path}"
                )
    except tf.errors.DataLossError as error:
        raise ServingError(
            f"{error.message}. Please verify your warmup data is in TFRecord "
            "format.",
            "DATA_LOSS",
        ) from error
    except tf.errors.OpError as error:
        code = codes.NAMES.get(error.error_code, "UNKNOWN")
        raise ServingError(error.message or str(error), code) from error
    elapsed = time.perf_counter() - start
    metrics.warmup_latency.add((str(bundle.directory), "OK"), elapsed)
    events.info(
        "warmup_done",
        directory=bundle.directory,
        records=count,
        ms=round(1000 * elapsed),
    )


def _parse(record: bytes, path: Path) -> prediction_log_pb2.PredictionLog:
    try:
        return prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        raise invalid(
            f"Failed to parse warmup record: {record[:80]!r} from {path}"
        ) from error


def _run(
    bundle: Bundle,
    log: prediction_log_pb2.PredictionLog,
    limits: predict.Limits,
) -> None:
    kind = log.WhichOneof("log_type")
    if kind is None:
        return
    request = getattr(getattr(log, kind), "request", None)
    if kind == "predict_log":
        predict.run(bundle, request, None, None, limits)
    elif kind in _METHODS:
        inference.infer(_METHODS[kind], bundle, request, None, None, limits)
    elif kind == "multi_inference_log":
        inference.multi(bundle, request, None, None, limits)
    else:
        field = log.DESCRIPTOR.fields_by_name[kind].number
        raise ServingError(
            f"Unsupported log_type for warmup: {field}", "UNIMPLEMENTED"
        )
