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
    np.savez(path, *model.get_weights())


def load(model: tf.keras.Model, path: Path) -> None:
    """Sets the weights of a built model of the same shape.

    Raises:
        ValueError: If the model has other weights.
    """
    with np.load(path) as saved:
        model.set_weights([saved[name] for name in saved.files])
