"""A model's weights as one `.npz`, by their paths in the model.

HDF5, Keras' own format, ends the process with a segmentation fault when the
disk is full; this raises an OSError.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf


def save(model: tf.keras.Model, path: Path) -> None:
    """Writes the weights in the order the model has them.

    Raises:
        OSError: If they cannot be written.
    """
    names = {id(weight): name for name, weight in paths(model).items()}
    np.savez(path, **{names[id(w)]: w.numpy() for w in _kept(model)})


def load(
    model: tf.keras.Model, path: Path, given: Iterable[tf.Variable] = ()
) -> None:
    """Sets the weights of a built model of the same shape.

    Args:
        model: Built.
        path: What `save` wrote.
        given: Variables of the model that nothing was learnt of, such as the
            catalogue's features: they stay as they were built.

    Raises:
        ValueError: If the model has other weights.
    """
    with np.load(path) as saved:
        values = [saved[name] for name in saved.files]
    built = {variable.ref() for variable in given}
    for weight, value in zip(_kept(model), values, strict=True):
        if weight.ref() not in built:
            weight.assign(value)


def paths(model: tf.keras.Model) -> dict[str, tf.Variable]:
    """All weights by the attributes that lead to them, the shortest way."""
    view = tf.train.TrackableView(model)
    found, waiting, known = {}, [("", model)], {id(model)}
    for path, part in waiting:
        for name, child in view.children(part).items():
            # An optimizer has variables of its own, some by keys of no name.
            is_part = not isinstance(child, tf.keras.optimizers.Optimizer)
            if is_part and id(child) not in known:
                known.add(id(child))
                waiting.append((f"{path}/{name}".lstrip("/"), child))
                if isinstance(child, tf.Variable):
                    found[waiting[-1][0]] = child
    return found


def _kept(model: tf.keras.Model) -> list[tf.Variable]:
    """All but the sums of metrics.

    With several workers each holds a part of those, and reading one waits for
    all workers, while only the chief writes.
    """
    on_read = tf.VariableSynchronization.ON_READ
    return [
        weight for weight in model.weights if weight.synchronization != on_read
    ]
