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
from tensorflow.python.client import pywrap_tf_session

from serving import codes
from serving.errors import ServingError

# A run that takes longer moves off the caller's thread, where a deadline can
# interrupt it. Shorter ones are spared the two thread switches, which cost
# more than a small model itself.
_SHORT_RUN_SECONDS = 0.005
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
        is_short: Whether the last run was short, see `Bundle.run`.
    """

    name: str
    definition: Any
    feeds: dict[str, Any]
    fetches: dict[str, Any]
    defaults: dict[str, np.ndarray]
    is_short: bool = False


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
        _check_files(directory)
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph, config=session_config)
        try:
            with graph.as_default():
                meta = tf.compat.v1.saved_model.loader.load(
                    self._session, list(tags), str(directory)
                )
            # Sends what no run has sent yet: a model without variables.
            self._session._extend_graph()
        except BaseException as error:
            self._session.close()
            raise _translate_load(error, directory, tags) from error
        graph.finalize()
        self.signature_defs = dict(meta.signature_def)
        self._graph = graph
        self._signatures: dict[str, Signature] = {}
        self._inline = _options(inter_op_thread_pool=-1)
        self._pooled = _options()

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
        )

    def _tensor(self, info: Any) -> Any:
        try:
            name = info.name if ":" in info.name else f"{info.name}:0"
            return self._graph.get_tensor_by_name(name)._as_tf_output()
        except (KeyError, ValueError) as error:
            raise ServingError(
                f"Tensor {info.name}, specified in the signature, cannot be "
                f"fed or fetched: {error}",
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
        feeds: dict[Any, np.ndarray],
        fetches: list[Any],
        timeout_seconds: float | None,
    ) -> list[np.ndarray]:
        """`run` by the graph's tensors; `signature` is for the statistics."""
        if timeout_seconds is not None and timeout_seconds <= 0:
            raise ServingError("Deadline Exceeded", "DEADLINE_EXCEEDED")
        timed = None
        if signature.is_short:
            options = self._inline
        elif timeout_seconds is None or timeout_seconds > _FAR_SECONDS:
            options = self._pooled
        else:
            milliseconds = max(1, math.ceil(timeout_seconds * 1000))
            options = timed = _options(timeout_in_ms=milliseconds)
        start = time.perf_counter()
        try:
            arrays = pywrap_tf_session.TF_SessionRun_wrapper(
                self._session._session, options, feeds, fetches, [], None
            )
            # A string without dimensions comes as plain bytes.
            return [
                np.array(array, object) if type(array) is bytes else array
                for array in arrays
            ]
        except tf.errors.OpError as error:
            raise translate(error) from error
        except (TypeError, ValueError) as error:
            # Raised before the runtime is reached: an array it cannot take.
            raise ServingError(str(error), "INVALID_ARGUMENT") from error
        finally:
            if timed is not None:
                pywrap_tf_session.TF_DeleteBuffer(timed)
            elapsed = time.perf_counter() - start
            signature.is_short = elapsed < _SHORT_RUN_SECONDS

    def close(self) -> None:
        """Frees the model; nothing may run it any more."""
        self._session.close()
        pywrap_tf_session.TF_DeleteBuffer(self._inline)
        pywrap_tf_session.TF_DeleteBuffer(self._pooled)


def _options(**values: int) -> Any:
    message = tf.compat.v1.RunOptions(**values)
    return pywrap_tf_session.TF_NewBufferFromString(message.SerializeToString())


def translate(error: tf.errors.OpError) -> ServingError:
    """The runtime's error as ours, code and words kept."""
    code = codes.NAMES.get(error.error_code, "UNKNOWN")
    return ServingError(error.message or str(error), code)


def _check_files(directory: Path) -> None:
    # The words and codes of TensorFlow's C++ loader; Python's has others.
    if directory.exists() and not directory.is_dir():
        raise ServingError(
            f"{directory}/saved_model.pb; Not a directory",
            "FAILED_PRECONDITION",
        )
    names = ("saved_model.pb", "saved_model.pbtxt")
    if not any((directory / name).exists() for name in names):
        raise ServingError(
            "Could not find SavedModel .pb or .pbtxt at supplied export "
            f"directory path: {directory}. Check that the directory exists "
            "and that you have the right permissions for accessing it.",
            "NOT_FOUND",
        )


def _translate_load(
    error: BaseException, directory: Path, tags: Sequence[str]
) -> BaseException:
    if isinstance(error, tf.errors.OpError):
        return translate(error)
    if isinstance(error, OSError):
        return ServingError(
            f"Can't parse {directory}/saved_model.pb as binary proto",
            "DATA_LOSS",
        )
    if isinstance(error, RuntimeError) and "tags" in str(error):
        return ServingError(
            "Could not find meta graph def matching supplied tags: { "
            f"{' '.join(tags)} }}. {error}",
            "NOT_FOUND",
        )
    if isinstance(error, Exception):
        return ServingError(f"{type(error).__name__}: {error}", "INTERNAL")
    return error
