"""Loads one version so that it is ready to answer: ops, graph, warm-up."""

import functools
import importlib
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path

from tensorflow.core.protobuf import config_pb2

from serving import signatures
from serving.errors import ServingError
from serving.releases import versions
from serving.server import cpus
from serving.server.answers.predict import Limits
from serving.server.lifecycle import warmup
from serving.server.runtime import inline
from serving.server.runtime.bundle import Bundle
from serving.server.telemetry import events
from serving.server.telemetry import metrics as monitoring


@dataclass
class Loader:
    """What the manager calls to load a version.

    Attributes:
        warmup_iterations: How often a record is replayed; 0 skips warm-up.
        join: Makes requests to a bundle share runs; None for no batching.
        is_served: Whether this server has a model of that name.
    """

    limits: Limits
    metrics: monitoring.Metrics
    tags: Sequence[str] = ("serve",)
    config: config_pb2.ConfigProto | None = None
    warmup_iterations: int = 1
    join: Callable[[str, Bundle], None] | None = None
    is_served: Callable[[str], bool] = lambda name: False
    _has_loaded: bool = field(default=False, init=False)
    _wholes: dict[Path, Bundle] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __call__(self, name: str, directory: Path) -> Bundle:
        """Loads a version and replays its warm-up requests."""
        _register_ops()
        status = "fail"
        try:
            if self._has_loaded:
                # A priority cannot be raised again: it takes a thread.
                with futures.ThreadPoolExecutor(
                    1, "load", cpus.give_way
                ) as pool:
                    bundle = pool.submit(self._load, name, directory).result()
            else:
                bundle = self._load(name, directory)
                self._has_loaded = True
            status = "success"
        finally:
            self.metrics.load_attempts.add((str(directory), status))
        return bundle

    def _load(self, name: str, directory: Path) -> Bundle:
        bundle = self._open(name, directory)
        try:
            if self.warmup_iterations:
                with bundle.loading():
                    warmup.replay(
                        bundle,
                        self.limits,
                        self.metrics,
                        self.warmup_iterations,
                    )
            if self.join is not None:
                self.join(name, bundle)
        except BaseException:
            bundle.close()
            raise
        return bundle

    def _open(self, name: str, directory: Path) -> Bundle:
        """Loads a version, or takes it from what another one has loaded.

        Of a release that this server has the fused model of, all models run on
        that one's tables: a large catalogue is in memory once.
        """
        whole = None
        if self.is_served(signatures.RECOMMENDER):
            whole = versions.whole_of(name, directory)
        if whole is not None:
            try:
                return self._part(name, directory, whole)
            except ServingError as error:
                events.warning("loaded_apart", model=name, error=error)
        return Bundle(directory, self.tags, self.config)

    def _part(self, name: str, directory: Path, whole: Path) -> Bundle:
        with self._lock:
            loaded = self._wholes.get(whole)
            if loaded is None or not loaded.join():
                loaded = Bundle(whole, self.tags, self.config)
                others = self._wholes.items()
                self._wholes = {
                    path: other for path, other in others if other.is_loaded
                } | {whole: loaded}
            return loaded.part(name, directory)


@functools.cache
def _register_ops() -> None:
    """ScaNN's ops must be known before a graph that uses them loads.

    Then those that call functions are found, before there are requests.
    """
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
    inline.callers()
