"""Logs a share of requests and answers, as `logging_config` asks for.

Enters: `LoggingConfig` of the models, then requests with their answers.
Leaves: TFRecord files of `PredictionLog`, as TensorFlow Serving's request
logger fills them. Its stock build has no collector that writes any and refuses
the config ("No request-logger-creator provided"); the one here is "tfrecord".

A request pays for one message; a thread writes what came together. What
cannot be written, and what comes faster than the disk takes it, is counted
and lost: nobody waits.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from google.protobuf.message import Message
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import logging_config_pb2
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

from serving import signatures
from serving.errors import ServingError, invalid
from serving.prediction_log.collector import TYPE, Collector
from serving.prediction_log.user_ids import UserIds
from serving.server.telemetry import events
from serving.server.telemetry import metrics as monitoring
from serving.wire import tensors

# Between writes: what a killed process loses.
_PAUSE_SECONDS = 0.2
# Memory for what waits to be written, a prefix.
_MOST_WAITING_BYTES = 2**24


@dataclass(eq=False)
class _Sink:
    """Records on their way to the files below one prefix."""

    collector: Collector
    waiting: list[tuple[str, bytes]] = field(default_factory=list)
    size: int = 0
    trouble: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, model: str, record: bytes) -> bool:
        """Takes a record, or has no room for it."""
        most = min(_MOST_WAITING_BYTES, self.collector.file_bytes // 2)
        with self.lock:
            if self.size + len(record) > most:
                return False
            self.waiting.append((model, record))
            self.size += len(record)
            return True

    def take(self) -> list[tuple[str, bytes]]:
        """All that waits."""
        with self.lock:
            found, self.waiting, self.size = self.waiting, [], 0
            return found


@dataclass(frozen=True)
class _Logged:
    """What a model's requests are logged by."""

    sampling: logging_config_pb2.SamplingConfig
    sink: _Sink


class RequestLogger:
    """Samples and writes; of one server.

    Args:
        metrics: Counts records by model and gRPC code, under TensorFlow
            Serving's name: OK, RESOURCE_EXHAUSTED (no room), UNAVAILABLE (not
            written), INTERNAL (a fault of ours).
        limit_bytes: That the files below one prefix may take.
        tags: Of the SavedModels, for the record.
        user_ids: Hides users; only Predict is logged then, since ids inside
            serialized examples would not be hidden.
    """

    def __init__(
        self,
        metrics: monitoring.Metrics,
        limit_bytes: int,
        tags: Sequence[str],
        user_ids: UserIds | None = None,
    ) -> None:
        self._count = metrics.request_log_count
        self._limit = limit_bytes
        self._tags = tags
        self._user_ids = user_ids
        self._models: Mapping[str, _Logged] = {}
        self._sinks: Mapping[str, _Sink] = {}
        self._retired: list[_Sink] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._told = ""

    def prepare(self, models: Sequence[ModelConfig]) -> Callable[[], None]:
        """Checks what a config asks for; returns what puts it into force.

        A place that cannot be written is told and counted, as one that fails
        later: no log stands in the way of a start or a release.

        Raises:
            ServingError: If it cannot be done as asked; nothing changes.
        """
        sinks: dict[str, _Sink] = {}
        logged = {}
        for model in models:
            if not model.HasField("logging_config"):
                continue
            config = model.logging_config
            _check(model.name, config)
            prefix = config.log_collector_config.filename_prefix
            if prefix not in sinks:
                sinks[prefix] = self._sinks.get(prefix) or self._new(prefix)
            sampling = logging_config_pb2.SamplingConfig()
            sampling.CopyFrom(config.sampling_config)
            logged[model.name] = _Logged(sampling, sinks[prefix])

        def apply() -> None:
            retired = [
                sink
                for prefix, sink in self._sinks.items()
                if prefix not in sinks
            ]
            self._models, self._sinks = logged, sinks
            self._retired += retired
            if sinks and self._thread is None:
                self._thread = threading.Thread(
                    target=self._write, name="request-log", daemon=True
                )
                self._thread.start()

        return apply

    def _new(self, prefix: str) -> _Sink:
        """A place for records; one that cannot be written now is told."""
        sink = _Sink(Collector(prefix, self._limit))
        try:
            sink.collector.check()
        except OSError as error:
            self._fail(sink, [], error)
        return sink

    def log(
        self,
        kind: str,
        spec: tuple[str, int],
        request: Message,
        response: Message,
    ) -> None:
        """Takes a request and its answer if the config and chance say so.

        Args:
            kind: The field of `PredictionLog`, such as "predict_log".
            spec: Model and version that answered.
        """
        logged = self._models.get(spec[0])
        if logged is None or random.random() >= logged.sampling.sampling_rate:
            return
        if self._user_ids is not None and kind != "predict_log":
            return
        try:
            record = self._record(kind, spec, request, response, logged)
        except Exception as error:
            # Whatever it is, the answer goes out.
            self._count.add((spec[0], "INTERNAL"))
            if str(error) != self._told:
                self._told = str(error)
                events.error("request_log_crashed", trace=True, error=error)
            return
        if not logged.sink.put(spec[0], record):
            self._count.add((spec[0], "RESOURCE_EXHAUSTED"))

    def _record(
        self,
        kind: str,
        spec: tuple[str, int],
        request: Message,
        response: Message,
        logged: _Logged,
    ) -> bytes:
        found = prediction_log_pb2.PredictionLog()
        metadata = found.log_metadata
        metadata.model_spec.name, metadata.model_spec.version.value = spec
        metadata.sampling_config.CopyFrom(logged.sampling)
        metadata.saved_model_tags.extend(self._tags)
        metadata.timestamp_secs = int(time.time())
        pair = getattr(found, kind)
        pair.request.CopyFrom(request)
        pair.response.CopyFrom(response)
        if self._user_ids and signatures.USER_ID in pair.request.inputs:
            tensor = pair.request.inputs[signatures.USER_ID]
            ids = tensors.decode(tensor)
            hidden = [
                self._user_ids.hidden(one.decode("utf-8", "surrogateescape"))
                for one in ids.ravel()
            ]
            tensor.Clear()
            names = np.array([one.encode() for one in hidden], object)
            tensors.encode(names.reshape(ids.shape), tensor)
        return found.SerializeToString()

    def _write(self) -> None:
        while not self._stop.wait(_PAUSE_SECONDS):
            self._flush()
        self._retired += self._sinks.values()
        self._flush()

    def _flush(self) -> None:
        retired, self._retired = self._retired, []
        for sink in (*self._sinks.values(), *retired):
            taken = sink.take()
            try:
                if taken:
                    sink.collector.write([record for _, record in taken])
                if sink in retired:
                    sink.collector.close()
            except OSError as error:
                self._fail(sink, taken, error)
            else:
                if taken:
                    self._succeed(sink, taken)

    def _succeed(self, sink: _Sink, taken: list[tuple[str, bytes]]) -> None:
        for model, count in Counter(model for model, _ in taken).items():
            self._count.add((model, "OK"), count)
        if sink.trouble:
            sink.trouble = ""
            events.info("request_log_resumed", prefix=sink.collector.prefix)

    def _fail(
        self, sink: _Sink, taken: list[tuple[str, bytes]], error: OSError
    ) -> None:
        for model, count in Counter(model for model, _ in taken).items():
            self._count.add((model, "UNAVAILABLE"), count)
        told = error.strerror or str(error)
        if told != sink.trouble:
            sink.trouble = told
            events.error(
                "request_log_failed",
                prefix=sink.collector.prefix,
                error=told,
                effect="requests are answered; what is not logged is counted",
            )

    def close(self, patience_seconds: float) -> None:
        """Writes what waits, when no more requests come."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(max(1.0, patience_seconds))


def _check(model: str, config: logging_config_pb2.LoggingConfig) -> None:
    collector, sampling = config.log_collector_config, config.sampling_config
    if collector.type != TYPE:
        # TensorFlow Serving's words.
        raise ServingError(
            "Cannot find LogCollector::Factory for type: "
            f"{collector.type} (of model {model}). This server has "
            f'"{TYPE}".',
            "NOT_FOUND",
        )
    prefix = collector.filename_prefix
    if not Path(prefix).is_absolute() or "\0" in prefix:
        raise invalid(
            "`filename_prefix` must be an absolute path. Received: "
            f"{prefix!r} (in logging_config of {model}). "
            "Such as /logs/requests: files are named /logs/requests-..."
        )
    if not 0.0 <= sampling.sampling_rate <= 1.0:
        raise invalid(
            "`sampling_rate` must be between 0 and 1. Received: "
            f"{sampling.sampling_rate:g} (in logging_config of {model})."
        )
    for message, name in (
        (config, "custom_logging_config"),
        (sampling, "per_task_sampling_configs"),
        (sampling, "attributes"),
    ):
        if name in {found.name for found, _ in message.ListFields()}:
            raise invalid(
                f"`{name}` is not supported by this server. Received: it in "
                f"logging_config of {model}. Leave it out."
            )
