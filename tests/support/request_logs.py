"""Logs of requests as a server writes them, made by hand."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.prediction_log import records
from serving.wire import tensors

PredictionLog = prediction_log_pb2.PredictionLog


def response(
    items: Sequence[Sequence[str]],
    scores: Sequence[Sequence[float]] | None = None,
    name: str = "item_ids",
) -> predict_pb2.PredictResponse:
    """An answer with a list a row; equally long, "" pads."""
    found = predict_pb2.PredictResponse()
    names = np.array([[one.encode() for one in row] for row in items], object)
    if scores is None:
        scores = [[-float(place) for place, _ in enumerate(r)] for r in items]
    tensors.encode(names.reshape(len(items), -1), found.outputs[name])
    tensors.encode(np.array(scores, np.float32), found.outputs["scores"])
    return found


def logged(
    user: str,
    answer: predict_pb2.PredictResponse,
    seconds: int = 1_000,
    model: str = "recommender",
    version: int = 1,
    label: str = "",
) -> PredictionLog:
    """One record."""
    found = PredictionLog()
    spec = found.log_metadata.model_spec
    spec.name, spec.version.value = model, version
    found.log_metadata.timestamp_secs = seconds
    asked = found.predict_log.request
    asked.model_spec.name = model
    if label:
        asked.model_spec.version_label = label
    tensors.encode(np.array([user.encode()], object), asked.inputs["user_id"])
    found.predict_log.response.CopyFrom(answer)
    return found


def warm_up(model: Path, user: str = "") -> list[PredictionLog]:
    """What a published model is warmed up with, as if somebody had asked it."""
    path = model / "assets.extra" / "tf_serving_warmup_requests"
    found = []
    for one in records.read(path):
        asked = PredictionLog.FromString(one.data).predict_log.request
        record = logged(user, response([["a"]]), 0, model.parent.name)
        record.predict_log.request.CopyFrom(asked)
        if user and "user_id" in asked.inputs:
            names = record.predict_log.request.inputs["user_id"].string_val
            names[:] = [user.encode()]
        found.append(record)
    return found


def write(path: Path, found: Iterable[PredictionLog]) -> Path:
    """Writes a file of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = (records.frame(one.SerializeToString()) for one in found)
    path.write_bytes(b"".join(data))
    return path
