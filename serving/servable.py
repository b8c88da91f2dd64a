"""One loaded version of a model, and how a session runs its tensors.

What TensorFlow Serving does: the MetaGraph is loaded into a session and run by
tensor names, so nothing is cast, no shape is compared with the signature, and
errors carry TensorFlow's own code and text.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.client import pywrap_tf_session

from serving.errors import ServingError

# Feeds by tensor name, tensor names to fetch, timeout in seconds.
Run = Callable[
    [Mapping[str, np.ndarray], Sequence[str], float | None], list[np.ndarray]
]
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}
# A run that took longer goes to TensorFlow's thread pool the next time, where
# a deadline can stop it; a faster one spares the change of threads (14 us).
_SLOW_SECONDS = 0.02


class Batcher(Protocol):
    """Runs several requests as one; `close` waits for those under way."""

    def __call__(
        self,
        feeds: Mapping[str, np.ndarray],
        fetches: Sequence[str],
        timeout_seconds: float | None,
    ) -> list[np.ndarray]: ...

    def close(self) -> None: ...


class Servable:
    """A version that answers, until its last user has released it.

    Used as a context by whoever acquired it from the manager.

    Attributes:
        name: Of the model.
        version: Its number.
        signatures: SignatureDef messages by name, as in the SavedModel.
        batcher: Set once at load when requests are to be batched.
    """

    def __init__(
        self,
        name: str,
        version: int,
        session: tf.compat.v1.Session,
        signatures: Mapping[str, Any],
        caller_thread: bool = True,
    ) -> None:
        self.name = name
        self.version = version
        self.signatures = dict(signatures)
        self.batcher: Batcher | None = None
        self._session = session
        self._raw_session = session._session
        self._ends: dict[str, Any] = {}
        self._slow: dict[tuple[str, ...], bool] = {}
        self._fast_options = (
            _options(inter_op_thread_pool=-1) if caller_thread else None
        )
        self._users = 0
        self._closing = False
        self._changed = threading.Condition()

    def run(
        self,
        feeds: Mapping[str, np.ndarray],
        fetches: Sequence[str],
        timeout_seconds: float | None = None,
    ) -> list[np.ndarray]:
        """Runs the graph, in a batch with others where that is set up.

        Args:
            feeds: Arrays by tensor name; strings are objects that are bytes.
            fetches: Tensor names.
            timeout_seconds: None for no limit.

        Returns:
            One array for each fetch.

        Raises:
            ServingError: With the code and text of TensorFlow.
        """
        if self.batcher is not None:
            return self.batcher(feeds, fetches, timeout_seconds)
        return self.run_alone(feeds, fetches, timeout_seconds)

    def run_alone(
        self,
        feeds: Mapping[str, np.ndarray],
        fetches: Sequence[str],
        timeout_seconds: float | None = None,
    ) -> list[np.ndarray]:
        """As `run`, without batching."""
        if timeout_seconds is not None and timeout_seconds <= 0:
            raise ServingError("Deadline exceeded", "DEADLINE_EXCEEDED")
        key = tuple(fetches)
        options, owned = self._fast_options, False
        if self._slow.get(key, True) or options is None:
            limit = 0 if timeout_seconds is None else timeout_seconds
            options = _options(timeout_in_ms=int(min(limit * 1000, 2**53)))
            owned = True
        started = time.perf_counter()
        try:
            found = pywrap_tf_session.TF_SessionRun_wrapper(
                self._raw_session,
                options,
                {self._end(name): array for name, array in feeds.items()},
                [self._end(name) for name in key],
                [],
                None,
            )
        except tf.errors.OpError as error:
            raise ServingError(
                error.message, _CODES.get(error.error_code, "UNKNOWN")
            ) from error
        except (ValueError, TypeError, KeyError) as error:
            raise ServingError(str(error), "INVALID_ARGUMENT") from error
        finally:
            if owned:
                pywrap_tf_session.TF_DeleteBuffer(options)
            self._slow[key] = time.perf_counter() - started > _SLOW_SECONDS
        return [
            value if isinstance(value, np.ndarray) else _scalar(value)
            for value in found
        ]

    def _end(self, name: str) -> Any:
        found = self._ends.get(name)
        if found is None:
            tensor = self._session.graph.get_tensor_by_name(name)
            found = self._ends[name] = tensor._as_tf_output()
        return found

    def retain(self) -> bool:
        """Adds a user; False when the version is being unloaded."""
        with self._changed:
            if self._closing:
                return False
            self._users += 1
            return True

    def release(self) -> None:
        """Takes a user away."""
        with self._changed:
            self._users -= 1
            if self._closing and not self._users:
                self._changed.notify_all()

    def __enter__(self) -> "Servable":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def close(self) -> None:
        """Frees the version when its last user is done."""
        with self._changed:
            self._closing = True
            while self._users:
                self._changed.wait()
        if self.batcher is not None:
            self.batcher.close()
        self._session.close()
        self._ends.clear()


def _options(**fields: int) -> Any:
    return pywrap_tf_session.TF_NewBufferFromString(
        config_pb2.RunOptions(**fields).SerializeToString()
    )


def _scalar(value: Any) -> np.ndarray:
    if isinstance(value, bytes):
        # np.array(value) would drop trailing zero bytes.
        found = np.empty((), object)
        found[()] = value
        return found
    return np.asarray(value)
