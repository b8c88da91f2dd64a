"""A SavedModel in a session of TensorFlow's runtime.

Enters: a version directory. Leaves: signatures, and arrays for arrays. All of
it goes through the C API, as TensorFlow Serving goes through C++: the same
loader, the same words for what is wrong, and Python's lock is free meanwhile.
"""

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tensorflow.core.protobuf import meta_graph_pb2

from serving.errors import ServingError
from serving.server.runtime import c_api, c_tensors, inline
from serving.server.runtime.c_api import checked, locked, unlocked
from serving.wire import meta_graph_pb2 as light_pb2


class Endpoint(NamedTuple):
    """What can be fed or fetched: an operation's address, an output of it."""

    operation: int
    output: int


class Session:
    """A loaded SavedModel; several threads may run it.

    Args:
        directory: Holds `saved_model.pb`.
        tags: Of the meta graph to load.
        config: Serialized `ConfigProto`.

    Attributes:
        signature_defs: By name, as the file has them.
        with_loops: Names of the signatures that have loops.

    Raises:
        ServingError: If it cannot be loaded, with TensorFlow's code.
    """

    def __init__(
        self, directory: Path, tags: Sequence[str], config: bytes = b""
    ) -> None:
        self._graph = locked.TF_NewGraph()
        self._session = 0
        meta = locked.TF_NewBuffer()
        options = locked.TF_NewSessionOptions()
        try:
            checked(locked.TF_SetConfig, options, config, len(config))
            names = [tag.encode() for tag in tags]
            self._session = checked(
                unlocked.TF_LoadSessionFromSavedModel,
                options,
                None,
                str(directory).encode(),
                (ctypes.c_char_p * len(names))(*names),
                len(names),
                self._graph,
                meta,
            )
            content = c_api.Buffer.from_address(meta)
            data = ctypes.string_at(content.data, content.length)
            self.signature_defs = {
                name: meta_graph_pb2.SignatureDef.FromString(definition)
                for name, definition in sorted(
                    light_pb2.MetaGraphDef.FromString(
                        data
                    ).signature_def.items()
                )
            }
            self.with_loops = inline.with_loops(data)
            self._check_variables(directory)
        except BaseException:
            self.close()
            raise
        finally:
            locked.TF_DeleteSessionOptions(options)
            locked.TF_DeleteBuffer(meta)

    def _check_variables(self, directory: Path) -> None:
        # Without this file the loader takes it that nothing is to be
        # restored: half a copy would answer with an error for ever.
        index = directory / "variables" / "variables.index"
        if index.exists():
            return
        place = ctypes.c_size_t()
        while operation := locked.TF_GraphNextOperation(self._graph, place):
            if locked.TF_OperationOpType(operation) == b"VarHandleOp":
                raise ServingError(
                    f"{index}; No such file or directory", "NOT_FOUND"
                )

    def endpoint(self, name: str) -> Endpoint:
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

    def run(
        self,
        feeds: Mapping[Endpoint, np.ndarray],
        fetches: Sequence[Endpoint],
        options: int | None = None,
    ) -> list[np.ndarray]:
        """Computes outputs.

        Args:
            feeds: Inputs.
            fetches: Outputs to compute.
            options: Buffer of serialized `RunOptions`, see
                `c_api.buffer_of`.

        Raises:
            ServingError: With the runtime's code and message.
            TypeError: For an array that the runtime cannot take or give.
        """
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
        if self._session:
            checked(unlocked.TF_CloseSession, self._session)
            checked(unlocked.TF_DeleteSession, self._session)
        self._session = 0
        if self._graph:
            unlocked.TF_DeleteGraph(self._graph)
        self._graph = 0
