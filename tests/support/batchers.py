"""Batchers over a model that only doubles, and callers at the same time."""

import threading
import time
from types import SimpleNamespace

from google.protobuf import text_format

from serving.errors import ServingError
from serving.server.batching import batcher as batching
from serving.server.batching import rules as batch_rules
from serving.server.telemetry import metrics
from serving.wire import server_config_pb2

SIGNATURE = SimpleNamespace(
    feeds={"x": "x"},
    definition=SimpleNamespace(inputs={"x": SimpleNamespace(name="x:0")}),
)


class Model:
    """Doubles; records the rows of every run."""

    def __init__(self, seconds=0.0, answer=lambda x: [x * 2]):
        self.runs = []
        self.timeouts = []
        self._seconds = seconds
        self._answer = answer

    def __call__(self, signature, feeds, fetches, timeout_seconds):
        self.runs.append(len(feeds["x"]))
        self.timeouts.append(timeout_seconds)
        time.sleep(self._seconds)
        return self._answer(feeds["x"])


def rules(text):
    return batch_rules.rules_of(
        text_format.Parse(text, server_config_pb2.BatchingParameters())
    )


def batcher_of(model, text="", threads=1):
    return batching.Batcher(
        model,
        "m",
        rules(text),
        batching.Scheduler(threads),
        metrics.Metrics(),
    )


def ask_all(batcher, requests, timeout_seconds=None):
    """Answers or errors of requests sent at the same time."""
    found = [None] * len(requests)
    barrier = threading.Barrier(len(requests))

    def ask(place):
        barrier.wait()
        try:
            (found[place],) = batcher.run_tensors(
                SIGNATURE, {"x": requests[place]}, ["y"], timeout_seconds
            )
        except ServingError as error:
            found[place] = error

    threads = [
        threading.Thread(target=ask, args=(place,))
        for place in range(len(requests))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
