"""One loaded SavedModel and how its signatures are run.

Enters: a version directory. Leaves: NumPy arrays under the signature's output
names. The graph runs in a session, as in TensorFlow Serving: shapes are not
checked against the signature, dtypes are never cast, and errors carry the
runtime's own code and words. Several threads may run one bundle.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import EncodeError

from serving.errors import ServingError
from serving.server.answers import inline
from serving.server.runtime import c_api
from serving.server.runtime.session import Endpoint, Session
from serving.wire import codes

# Calls without a deadline arrive with one centuries away.
_FAR_SECONDS = 1e8


@dataclass
class Signature:
    """One entry of the SavedModel's signature map.

    Attributes:
        name: Its key.
        definition: The `SignatureDef` as it is in the file.
        feeds: Input name to the graph's tensor, in name order.
        fetches: Output name to the graph's tensor, in name order.
        defaults: Values of inputs that callers may leave out.
        quick: Which requests need no deadline; None if none is known to.
    """

    name: str
    definition: Any
    feeds: dict[str, Endpoint]
    fetches: dict[str, Endpoint]
    defaults: dict[str, np.ndarray]
    quick: inline.Quick | None = None


class Bundle:
    """A loaded SavedModel.

    Args:
        directory: Holds `saved_model.pb`.
        tags: Of the meta graph to load.
        session_config: `tf.compat.v1.ConfigProto`.

    Raises:
        ServingError: If it cannot be loaded, with TensorFlow's code.
    """

    def __init__(
        self,
        directory: Path,
        tags: Sequence[str] = ("serve",),
        session_config: Any = None,
    ) -> None:
        self.directory = directory
        if directory.exists() and not directory.is_dir():
            # The loader's own words depend on the file system's order.
            raise ServingError(
                f"{directory}/saved_model.pb; Not a directory",
                "FAILED_PRECONDITION",
            )
        config = session_config or tf.compat.v1.ConfigProto()
        self._session = Session(directory, tags, config.SerializeToString())
        self.signature_defs = self._session.signature_defs
        self._signatures: dict[str, Signature] = {}
        self._inline = _options(inter_op_thread_pool=-1)

    def signature(self, name: str) -> Signature | None:
        """The signature of that name, None if the model has none."""
        found = self._signatures.get(name)
        if found is None and name in self.signature_defs:
            found = self._resolve(name)
            self._signatures[name] = found
        return found

    def _resolve(self, name: str) -> Signature:
        definition = self.signature_defs[name]
        defaults = {
            alias: tf.make_ndarray(tensor)
            for alias, tensor in definition.defaults.items()
        }
        return Signature(
            name,
            definition,
            {
                alias: self._tensor(definition.inputs[alias])
                for alias in sorted(definition.inputs)
            },
            {
                alias: self._tensor(definition.outputs[alias])
                for alias in sorted(definition.outputs)
            },
            defaults,
            None if name in self._session.with_loops else inline.Quick(),
        )

    def _tensor(self, info: Any) -> Endpoint:
        try:
            return self._session.endpoint(info.name)
        except KeyError as error:
            raise ServingError(
                f"Tensor {info.name}, specified in the signature, cannot be "
                f"fed or fetched: {error.args[0]}",
                "INVALID_ARGUMENT",
            ) from error

    def run(
        self,
        signature: Signature,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        timeout_seconds: float | None = None,
    ) -> list[np.ndarray]:
        """Runs a signature.

        Args:
            signature: Of this bundle.
            inputs: Arrays under the signature's input names.
            outputs: Which outputs to compute.
            timeout_seconds: When to give up, None for never.

        Raises:
            ServingError: With the runtime's code and message.
        """
        feeds = {signature.feeds[name]: inputs[name] for name in inputs}
        fetches = [signature.fetches[name] for name in outputs]
        return self.run_tensors(signature, feeds, fetches, timeout_seconds)

    def run_tensors(
        self,
        signature: Signature,
        feeds: dict[Endpoint, np.ndarray],
        fetches: list[Endpoint],
        timeout_seconds: float | None,
    ) -> list[np.ndarray]:
        """`run` by the graph's tensors; `signature` is for the statistics."""
        if timeout_seconds is not None and timeout_seconds <= 0:
            raise ServingError("Deadline Exceeded", "DEADLINE_EXCEEDED")
        timed = None
        quick = signature.quick
        size = inline.size_of(feeds) if quick else ()
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
            raise ServingError(str(error), "INVALID_ARGUMENT") from error
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
    message = tf.compat.v1.RunOptions(**values)
    return c_api.buffer_of(message.SerializeToString())


def translate(error: tf.errors.OpError) -> ServingError:
    """The runtime's error as ours, code and words kept."""
    code = codes.NAMES.get(error.error_code, "UNKNOWN")
    return ServingError(error.message or str(error), code)
