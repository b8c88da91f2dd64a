"""Loads one version so that it is ready to answer: ops, graph, warm-up."""

import functools
import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from pathlib import Path

from tensorflow.core.protobuf import config_pb2

from serving.server.answers.predict import Limits
from serving.server.lifecycle import warmup
from serving.server.runtime.bundle import Bundle
from serving.server.telemetry import events
from serving.server.telemetry import metrics as monitoring

# Loading computes for seconds; requests go first. Lower than 10 a load would
# hardly come forward beside busy requests, and hold locks that they wait for.
_NICE = 10


class Loader:
    """What the manager calls to load a version.

    Args:
        limits: For warm-up requests.
        metrics: Get warm-up latencies.
        tags: Of the meta graph.
        config: Of every session.
        warmup_iterations: How often a record is replayed; 0 skips warm-up.
        join: Makes requests to a bundle share runs; None for no batching.
    """

    def __init__(
        self,
        limits: Limits,
        metrics: monitoring.Metrics,
        tags: Sequence[str] = ("serve",),
        config: config_pb2.ConfigProto | None = None,
        warmup_iterations: int = 1,
        join: Callable[[str, Bundle], None] | None = None,
    ) -> None:
        self._limits = limits
        self._metrics = metrics
        self._tags = tuple(tags)
        self._config = config
        self._iterations = warmup_iterations
        self._join = join
        self._has_loaded = False

    def __call__(self, name: str, number: int, directory: Path) -> Bundle:
        """Loads a version and replays its warm-up requests.

        Raises:
            ServingError: If any of it fails.
        """
        del number
        _register_ops()
        status = "fail"
        try:
            if self._has_loaded:
                # A priority cannot be raised again: it takes a thread.
                with futures.ThreadPoolExecutor(1, "load", _give_way) as pool:
                    bundle = pool.submit(self._load, name, directory).result()
            else:
                bundle = self._load(name, directory)
                self._has_loaded = True
            status = "success"
        finally:
            self._metrics.load_attempts.add((str(directory), status))
        return bundle

    def _load(self, name: str, directory: Path) -> Bundle:
        bundle = Bundle(directory, self._tags, self._config)
        try:
            if self._iterations:
                warmup.replay(
                    bundle, self._limits, self._metrics, self._iterations
                )
            if self._join is not None:
                self._join(name, bundle)
        except BaseException:
            bundle.close()
            raise
        return bundle


@functools.cache
def _register_ops() -> None:
    """ScaNN's ops must be known before a graph that uses them loads."""
    # TensorFlow's Python layer speaks of deprecations only here.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        importlib.import_module("scann")
    except Exception as error:
        events.warning(
            "scann_ops_absent",
            error=error,
            effect="models with ScaNN ops cannot load",
        )


def _give_way() -> None:
    """Lets requests go before this thread."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
