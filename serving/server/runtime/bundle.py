"""One loaded SavedModel and how its signatures are run.

Enters: a version directory. Leaves: NumPy arrays under the signature's output
names. All of it goes through the C API, as TensorFlow Serving goes through C++:
the same loader, Python's lock is free meanwhile, shapes are not checked against
the signature, dtypes are never cast, and errors carry the runtime's own code
and words. Several threads may run one bundle.
"""

import contextlib
import copy
import ctypes
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf.message import EncodeError
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from serving import signatures
from serving.errors import ServingError, invalid
from serving.server.runtime import c_api, c_tensors, inline
from serving.server.runtime.c_api import checked, locked, unlocked
from serving.wire import meta_graph_pb2 as light_pb2


class Endpoint(NamedTuple):
    """What can be fed or fetched: an operation's address, an output of it."""

    operation: int
    output: int


Feeds = dict[Endpoint, np.ndarray]


@dataclass
class Signature:
    """One entry of the SavedModel's signature map.

    Attributes:
        definition: The `SignatureDef` as it is in the file.
        feeds: Input name to the graph's tensor, in name order.
        fetches: Output name to the graph's tensor, in name order.
        defaults: Values of inputs that callers may leave out.
        quick: Which requests need no deadline; None if none is known to.
    """

    definition: meta_graph_pb2.SignatureDef
    feeds: dict[str, Endpoint]
    fetches: dict[str, Endpoint]
    defaults: dict[str, np.ndarray]
    quick: inline.Quick | None = None


# Computes outputs of a signature; the last argument is the seconds it may take.
Run = Callable[
    [Signature, Feeds, list[Endpoint], float | None], list[np.ndarray]
]


class _Users:
    """The bundles that run one session.

    Attributes:
        first_runs: Held by the one that prepares its signatures.
        count: How many there are.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.first_runs = threading.Lock()
        self.count = 1

    def join(self) -> bool:
        """Counts one more, unless the last one has left."""
        with self._lock:
            self.count += bool(self.count)
            return bool(self.count)

    def leave(self) -> bool:
        """Counts one less; whether that was the last one."""
        with self._lock:
            self.count -= 1
            return not self.count


class Bundle:
    """A loaded SavedModel, or the part of one that is another model.

    Attributes:
        run: What requests call: `run_alone`, or what joins them in batches.

    Raises:
        ServingError: If it cannot be loaded, with TensorFlow's code.
    """

    def __init__(
        self,
        directory: Path,
        tags: Sequence[str] = ("serve",),
        config: config_pb2.ConfigProto | None = None,
    ) -> None:
        self.directory = directory
        self.run: Run = self.run_alone
        self._is_loading = False
        if directory.exists() and not directory.is_dir():
            # The loader's own words depend on the file system's order.
            raise ServingError(
                f"{directory}/saved_model.pb; Not a directory",
                "FAILED_PRECONDITION",
            )
        settings = config.SerializeToString() if config else b""
        self._users = _Users()
        self._graph = locked.TF_NewGraph()
        self._session = 0
        self._inline = _options(inter_op_thread_pool=-1)
        meta = locked.TF_NewBuffer()
        options = locked.TF_NewSessionOptions()
        try:
            checked(locked.TF_SetConfig, options, settings, len(settings))
            names = [tag.encode() for tag in tags]
            self._session = checked(
                unlocked.TF_LoadSessionFromSavedModel,
                options,
                # On this thread: the pool's are for requests.
                self._inline,
                str(directory).encode(),
                (ctypes.c_char_p * len(names))(*names),
                len(names),
                self._graph,
                meta,
            )
            light = light_pb2.MetaGraphDef.FromString(c_api.content(meta))
            self.signature_defs = {
                name: meta_graph_pb2.SignatureDef.FromString(definition)
                for name, definition in sorted(light.signature_def.items())
            }
            self._with_loops = inline.with_loops(
                light.graph_def, self.signature_defs
            )
            self._check_variables()
        except BaseException:
            self.close()
            raise
        finally:
            locked.TF_DeleteSessionOptions(options)
            locked.TF_DeleteBuffer(meta)
        self._signatures: dict[str, Signature] = {}

    @property
    def is_loaded(self) -> bool:
        """Whether it, or a part of it, is not closed yet."""
        return bool(self._users.count)

    def join(self) -> bool:
        """Holds what is loaded for one more part; False if it was freed."""
        return self._users.join()

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """What is run inside gives way to requests, however long it takes.

        It stays on the caller's thread, and parts of one session take turns:
        the runtime prepares one signature at a time anyway.
        """
        with self._users.first_runs:
            self._is_loading = True
            try:
                yield
            finally:
                self._is_loading = False

    def part(self, model: str, directory: Path) -> "Bundle":
        """Another model of the release, on this one's session.

        Each is closed by itself and takes one `join`; the first takes over
        what this bundle holds.

        Args:
            model: Its name, see `signatures.part_of`.
            directory: Where that model lies itself.
        """
        found = copy.copy(self)
        found.directory, found.run = directory, found.run_alone
        found._signatures = {}
        prefix = signatures.part_of(model, "")
        found.signature_defs = {
            name.removeprefix(prefix): definition
            for name, definition in self.signature_defs.items()
            if name.startswith(prefix)
        }
        found._with_loops = {
            name.removeprefix(prefix)
            for name in self._with_loops
            if name.startswith(prefix)
        }
        return found

    def _check_variables(self) -> None:
        # Without this file the loader takes it that nothing is to be
        # restored: half a copy would answer with an error for ever.
        index = self.directory / "variables" / "variables.index"
        if index.exists():
            return
        place = ctypes.c_size_t()
        while operation := locked.TF_GraphNextOperation(self._graph, place):
            if locked.TF_OperationOpType(operation) == b"VarHandleOp":
                raise ServingError(
                    f"{index}; No such file or directory", "NOT_FOUND"
                )

    def signature(self, name: str) -> Signature | None:
        """The signature of that name, None if the model has none."""
        found = self._signatures.get(name)
        if found is None and name in self.signature_defs:
            definition = self.signature_defs[name]
            found = self._signatures[name] = Signature(
                definition,
                self._endpoints(definition.inputs),
                self._endpoints(definition.outputs),
                {
                    alias: tf.make_ndarray(tensor)
                    for alias, tensor in definition.defaults.items()
                },
                None if name in self._with_loops else inline.Quick(),
            )
        return found

    def _endpoints(
        self, infos: dict[str, meta_graph_pb2.TensorInfo]
    ) -> dict[str, Endpoint]:
        found = {}
        for alias in sorted(infos):
            name = infos[alias].name
            try:
                found[alias] = self._endpoint(name)
            except KeyError as error:
                raise invalid(
                    f"Tensor {name}, specified in the signature, cannot be "
                    f"fed or fetched: {error.args[0]}"
                ) from error
        return found

    def _endpoint(self, name: str) -> Endpoint:
        """Finds what a signature calls `operation:output`.

        Raises:
            KeyError: If the graph has no such output.
        """
        operation_name, _, number = name.partition(":")
        operation = locked.TF_GraphOperationByName(
            self._graph, operation_name.encode()
        )
        if not operation:
            raise KeyError(f"the graph has no operation {operation_name!r}")
        count = locked.TF_OperationNumOutputs(operation)
        index = int(number or 0) if (number or "0").isdecimal() else count
        if index >= count:
            raise KeyError(f"{operation_name!r} has {count} outputs")
        return Endpoint(operation, index)

    def run_alone(
        self,
        signature: Signature,
        feeds: Feeds,
        fetches: list[Endpoint],
        timeout_seconds: float | None,
    ) -> list[np.ndarray]:
        """Runs the graph for one caller; remembers which signatures were quick.

        Raises:
            ServingError: With the runtime's code and message.
        """
        if timeout_seconds is not None and timeout_seconds <= 0:
            raise ServingError("Deadline Exceeded", "DEADLINE_EXCEEDED")
        timed = None
        quick = signature.quick
        size = inline.size_of(feeds.values()) if quick else ()
        is_quick = quick is not None and quick.knows(fetches, size)
        if is_quick or self._is_loading:
            options = self._inline
        elif timeout_seconds is None:
            options = None
        else:
            milliseconds = max(1, math.ceil(timeout_seconds * 1000))
            options = timed = _options(timeout_in_ms=milliseconds)
        start = time.perf_counter()
        try:
            return self._compute(feeds, fetches, options)
        except (TypeError, ValueError, EncodeError) as error:
            # An array that the runtime cannot take or give.
            raise invalid(str(error)) from error
        finally:
            if timed is not None:
                locked.TF_DeleteBuffer(timed)
            elapsed = time.perf_counter() - start
            # What was known and is true needs no note.
            if quick and is_quick != (elapsed < inline.QUICK_SECONDS):
                quick.learn(fetches, size, elapsed)

    def _compute(
        self, feeds: Feeds, fetches: list[Endpoint], options: int | None
    ) -> list[np.ndarray]:
        values = (ctypes.c_void_p * len(feeds))()
        found = (ctypes.c_void_p * len(fetches))()
        try:
            for place, array in enumerate(feeds.values()):
                values[place] = c_tensors.make(array)
            checked(
                unlocked.TF_SessionRun,
                self._session,
                options,
                c_api.outputs(feeds),
                values,
                len(feeds),
                c_api.outputs(fetches),
                found,
                len(fetches),
                None,
                0,
                None,
            )
            return [c_tensors.read(tensor or 0) for tensor in found]
        finally:
            for tensor in (*values, *found):
                if tensor:
                    locked.TF_DeleteTensor(tensor)

    def close(self) -> None:
        """Frees the model; nothing may run it any more."""
        if not self._users.leave():
            return
        if self._session:
            checked(unlocked.TF_CloseSession, self._session)
            checked(unlocked.TF_DeleteSession, self._session)
        self._session = 0
        if self._graph:
            unlocked.TF_DeleteGraph(self._graph)
        self._graph = 0
        if self._inline:
            locked.TF_DeleteBuffer(self._inline)
        self._inline = 0


def _options(**values: int) -> int:
    message = config_pb2.RunOptions(**values)
    return c_api.buffer_of(message.SerializeToString())
