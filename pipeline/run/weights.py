"""A model's weights as one `.npz`.

HDF5, Keras' own format, ends the process with a segmentation fault when the
disk is full; this raises an OSError.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf


def save(model: tf.keras.Model, path: Path) -> None:
    """Writes the weights in the order the model has them.

    Raises:
        OSError: If they cannot be written.
    """
    np.savez(path, *[weight.numpy() for weight in _kept(model)])


def load(model: tf.keras.Model, path: Path) -> None:
    """Sets the weights of a built model of the same shape.

    Raises:
        ValueError: If the model has other weights.
    """
    with np.load(path) as saved:
        values = [saved[name] for name in saved.files]
    for weight, value in zip(_kept(model), values, strict=True):
        weight.assign(value)


def _kept(model: tf.keras.Model) -> list[tf.Variable]:
    """All but the sums of metrics.

    With several workers each holds a part of those, and reading one waits for
    all workers, while only the chief writes.
    """
    on_read = tf.VariableSynchronization.ON_READ
    return [
        weight for weight in model.weights if weight.synchronization != on_read
    ]
