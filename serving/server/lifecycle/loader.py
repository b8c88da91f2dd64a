"""Loads one version so that it is ready to answer: ops, graph, warm-up."""

import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.server.answers.predict import Limits
from serving.server.lifecycle import warmup
from serving.server.runtime.bundle import Bundle, Signature
from serving.server.telemetry import events
from serving.server.telemetry import metrics as monitoring

# Loading computes for seconds; requests go first. Lower than 10 a load would
# hardly come forward beside busy requests, and hold locks that they wait for.
_NICE = 10

# Runs a graph: signature, feeds, fetches, timeout in seconds.
RunTensors = Callable[
    [Signature, dict[Any, Any], list[Any], float | None], list[Any]
]


@dataclass(frozen=True)
class Model:
    """A version that is ready to answer.

    Attributes:
        bundle: Its graph and signatures.
        run_tensors: Runs the graph, batched or not.
        stop: Called before the bundle is closed.
    """

    bundle: Bundle
    run_tensors: RunTensors
    stop: Callable[[], None]

    def close(self) -> None:
        """Frees the model."""
        self.stop()
        self.bundle.close()


class Loader:
    """What the manager calls to load a version.

    Args:
        limits: For warm-up requests.
        metrics: Get warm-up latencies.
        tags: Of the meta graph.
        session_config: `ConfigProto` of every session.
        warmup_iterations: How often a record is replayed; 0 skips warm-up.
        batcher: Wraps a bundle so that requests share runs: model name,
            bundle -> run function and stop function.
    """

    def __init__(
        self,
        limits: Limits,
        metrics: monitoring.Metrics,
        tags: Sequence[str] = ("serve",),
        session_config: Any = None,
        warmup_iterations: int = 1,
        batcher: Any = None,
    ) -> None:
        self._limits = limits
        self._metrics = metrics
        self._tags = tuple(tags)
        self._session_config = session_config
        self._iterations = warmup_iterations
        self._batcher = batcher
        self._lock = threading.Lock()
        self._ops_tried = False
        self._has_loaded = False

    def __call__(self, name: str, number: int, directory: Path) -> Model:
        """Loads a version and replays its warm-up requests.

        Raises:
            ServingError: If any of it fails.
        """
        del number
        self._register_ops()
        status = "fail"
        try:
            model = self._load_aside(name, directory)
            status = "success"
        finally:
            self._metrics.load_attempts.add((str(directory), status))
        return model

    def _load_aside(self, name: str, directory: Path) -> Model:
        if not self._has_loaded:
            model = self._load(name, directory)
            self._has_loaded = True
            return model
        # A priority cannot be raised again, so it takes a thread of its own.
        with futures.ThreadPoolExecutor(1, "load", _give_way) as pool:
            return pool.submit(self._load, name, directory).result()

    def _load(self, name: str, directory: Path) -> Model:
        bundle = Bundle(directory, self._tags, self._session_config)
        try:
            if self._iterations:
                warmup.replay(
                    bundle, self._limits, self._metrics, self._iterations
                )
            if self._batcher is None:
                return Model(bundle, bundle.run_tensors, _nothing)
            run, stop = self._batcher(name, bundle)
            return Model(bundle, run, stop)
        except BaseException:
            bundle.close()
            raise

    def _register_ops(self) -> None:
        """ScaNN's ops must be known before a graph that uses them loads."""
        with self._lock:
            if self._ops_tried:
                return
            self._ops_tried = True
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


def _nothing() -> None:
    """Without batching there is nothing to stop."""
