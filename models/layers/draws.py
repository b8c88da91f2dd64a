"""Random numbers of training, which a training that goes on draws again.

What TensorFlow draws in a graph cannot be set to where it was. Inside
`by_step` a draw depends on a seed, on the number of the step and on its place
among the draws of the step, and on nothing else; outside it is TensorFlow's.
"""

import contextlib
import contextvars
import zlib
from collections.abc import Iterator

import tensorflow as tf


class _Draws:
    """Seeds for the draws of one step, in the order of its graph."""

    def __init__(self, seed: int, step: tf.Variable) -> None:
        self._seed, self._step, self._count = seed, step, 0

    def seed(self) -> tf.Tensor:
        """Of the next draw, int64 `[2]`; copies of a model draw apart."""
        self._count += 1
        own = zlib.crc32(f"{self._seed}/{self._count}".encode())
        context = tf.distribute.get_replica_context()
        copy = context.replica_id_in_sync_group if context else 0
        first = tf.cast(copy, tf.int64) * 2**32 + own
        return tf.stack([first, tf.cast(self._step, tf.int64)])


_CURRENT: contextvars.ContextVar[_Draws | None] = contextvars.ContextVar(
    "draws", default=None
)


@contextlib.contextmanager
def by_step(seed: int | None, step: tf.Variable) -> Iterator[None]:
    """Draws of a step that is traced inside come from its number.

    Args:
        seed: Of all steps; None leaves the draws to TensorFlow.
        step: Counts the steps.
    """
    token = _CURRENT.set(None if seed is None else _Draws(seed, step))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def uniform(
    shape: tf.Tensor,
    low: int = 0,
    high: int | tf.Tensor | None = None,
    dtype: tf.DType = tf.float32,
) -> tf.Tensor:
    """As `tf.random.uniform`."""
    if (draws := _CURRENT.get()) is None:
        return tf.random.uniform(shape, low, high, dtype)
    return tf.random.stateless_uniform(shape, draws.seed(), low, high, dtype)


class Dropout(tf.keras.layers.Dropout):
    """As Keras' own."""

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Drops a share of the inputs in training."""
        draws = _CURRENT.get()
        if draws is None or not training or not self.rate:
            return super().call(inputs, training=training)
        seed = draws.seed()
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, seed)
