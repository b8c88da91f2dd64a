"""One loaded SavedModel and how its signatures are run.

Enters: a version directory. Leaves: NumPy arrays under the signature's output
names. The graph runs in a session, as in TensorFlow Serving: shapes are not
checked against the signature, dtypes are never cast, and errors carry the
runtime's own code and words. Several threads may run one bundle.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import EncodeError
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from serving.errors import ServingError, invalid
from serving.server.runtime import c_api, inline
from serving.server.runtime.session import Endpoint, Session

# Calls without a deadline arrive with one centuries away.
_FAR_SECONDS = 1e8

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


class Bundle:
    """A loaded SavedModel.

    Args:
        directory: Holds `saved_model.pb`.
        tags: Of the meta graph to load.
        config: Of its session.

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
        if directory.exists() and not directory.is_dir():
            # The loader's own words depend on the file system's order.
            raise ServingError(
                f"{directory}/saved_model.pb; Not a directory",
                "FAILED_PRECONDITION",
            )
        config = config or config_pb2.ConfigProto()
        self._session = Session(directory, tags, config.SerializeToString())
        self.signature_defs = self._session.signature_defs
        self._signatures: dict[str, Signature] = {}
        self._inline = _options(inter_op_thread_pool=-1)

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
                None if name in self._session.with_loops else inline.Quick(),
            )
        return found

    def _endpoints(
        self, infos: dict[str, meta_graph_pb2.TensorInfo]
    ) -> dict[str, Endpoint]:
        found = {}
        for alias in sorted(infos):
            name = infos[alias].name
            try:
                found[alias] = self._session.endpoint(name)
            except KeyError as error:
                raise invalid(
                    f"Tensor {name}, specified in the signature, cannot be "
                    f"fed or fetched: {error.args[0]}"
                ) from error
        return found

    def run_alone(
        self,
        signature: Signature,
        feeds: Feeds,
        fetches: list[Endpoint],
        timeout_seconds: float | None,
    ) -> list[np.ndarray]:
        """Runs the graph for one caller.

        Args:
            signature: Of this bundle, whose run times are remembered.
            feeds: Inputs.
            fetches: Outputs to compute.
            timeout_seconds: When to give up, None for never.

        Raises:
            ServingError: With the runtime's code and message.
        """
        if timeout_seconds is not None and timeout_seconds <= 0:
            raise ServingError("Deadline Exceeded", "DEADLINE_EXCEEDED")
        timed = None
        quick = signature.quick
        size = inline.size_of(feeds.values()) if quick else ()
        is_quick = quick is not None and quick.knows(fetches, size)
        if is_quick:
            options = self._inline
        elif timeout_seconds is None or timeout_seconds > _FAR_SECONDS:
            options = None
        else:
            milliseconds = max(1, math.ceil(timeout_seconds * 1000))
            options = timed = _options(timeout_in_ms=milliseconds)
        start = time.perf_counter()
        try:
            return self._session.run(feeds, fetches, options)
        except (TypeError, ValueError, EncodeError) as error:
            # An array that the runtime cannot take or give.
            raise invalid(str(error)) from error
        finally:
            if timed is not None:
                c_api.locked.TF_DeleteBuffer(timed)
            elapsed = time.perf_counter() - start
            # What was known and is true needs no note.
            if quick and is_quick != (elapsed < inline.QUICK_SECONDS):
                quick.learn(fetches, size, elapsed)

    def close(self) -> None:
        """Frees the model; nothing may run it any more."""
        self._session.close()
        if self._inline:
            c_api.locked.TF_DeleteBuffer(self._inline)
        self._inline = 0


def _options(**values: int) -> int:
    message = config_pb2.RunOptions(**values)
    return c_api.buffer_of(message.SerializeToString())
