"""Encoded feature columns become vectors.

Columns hold indices (0 missing, 1 out of vocabulary) or normalised numbers,
as prepared; a vector is the sum of what each column says.

Shape letters: W width, V values a row at most.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from models.config import FIRST_ITEM, PADDING, FeatureSpec, check


def select(
    specs: tuple[FeatureSpec, ...], names: tuple[str, ...]
) -> tuple[FeatureSpec, ...]:
    """The features that a config names; `["*"]` is all of them.

    Raises:
        ConfigError: If there is none of such a name.
    """
    if names == ("*",):
        return specs
    known = {spec.name for spec in specs}
    unknown = sorted(set(names) - known)
    check(
        (
            not unknown,
            "`item_features` must name features of the items: "
            f"{', '.join(sorted(known)) or 'there are none'}. Received: "
            f"{', '.join(unknown)}. Correct item_features.",
        )
    )
    return tuple(spec for spec in specs if spec.name in names)


def constants(
    specs: tuple[FeatureSpec, ...], columns: Mapping[str, np.ndarray]
) -> dict[str, tf.Variable]:
    """A catalogue's columns as variables, to travel with a model."""
    return {
        spec.name: tf.Variable(
            columns[spec.name], trainable=False, name=f"{spec.name}_values"
        )
        for spec in specs
    }


def lookup(
    columns: Mapping[str, tf.Tensor], rows: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Some rows of every column."""
    return {name: tf.gather(values, rows) for name, values in columns.items()}


class Rows(tf.keras.initializers.Initializer):
    """Normal draws, but nothing for padding and what is unknown.

    Training may never meet an unknown value: its row would stay a random
    opinion that serving adds to every vector.
    """

    def __init__(self, stddev: float) -> None:
        self._normal = tf.keras.initializers.RandomNormal(stddev=stddev)

    def __call__(
        self,
        shape: tf.TensorShape,
        dtype: tf.DType | None = None,
        **kwargs: object,
    ) -> tf.Tensor:
        """Draws a table `[rows, W]`."""
        values = self._normal(shape, dtype, **kwargs)
        is_known = tf.range(shape[0]) >= FIRST_ITEM
        return tf.where(is_known[:, tf.newaxis], values, 0.0)


class FeatureEncoder(tf.keras.layers.Layer):
    """Sum of what each feature says, one vector a row.

    Args:
        specs: Columns read; others in the input are ignored, missing ones
            count as unknown.
    """

    def __init__(
        self, specs: tuple[FeatureSpec, ...], width: int, **kwargs: object
    ) -> None:
        super().__init__(**kwargs)
        self.specs = specs
        self.width = width
        self.tables = {}
        for spec in specs:
            if spec.kind != "numeric":
                self.tables[spec.name] = self.add_weight(
                    name=f"{spec.name}_table",
                    shape=[spec.size, width],
                    initializer=Rows(0.3 * width**-0.5),
                )
        self.numeric = [spec.name for spec in specs if spec.kind == "numeric"]
        if self.numeric:
            self.inner = tf.keras.layers.Dense(width, activation="gelu")
            self.outer = tf.keras.layers.Dense(width)

    def call(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor | float:
        """Maps columns `[...]` or `[..., values]` to `[..., W]`.

        Returns 0 where no column is given.
        """
        total: tf.Tensor | float = 0.0
        for spec in self.specs:
            if spec.name not in features or spec.kind == "numeric":
                continue
            table = self.tables[spec.name]
            values = features[spec.name]
            if spec.kind == "categorical":
                there = tf.cast(values != PADDING, tf.float32)
                rows = tf.gather(table, values) * there[..., tf.newaxis]
            else:
                rows = _mean_of_values(table, values)
            total += rows
        present = [name for name in self.numeric if name in features]
        if present:
            missing = tf.zeros_like(features[present[0]])
            columns = [
                tf.cast(features.get(name, missing), tf.float32)
                for name in self.numeric
            ]
            total += self.outer(self.inner(tf.stack(columns, axis=-1)))
        return total


def _mean_of_values(table: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Mean row of `table` `[size, W]` over values `[..., V]`: `[..., W]`.

    The mean, because a row with many values must not outweigh others. Only
    values that are there are read: most of a padded row is not.
    """
    shape, static = tf.shape(values), values.shape[:-1] + table.shape[1:]
    values = tf.reshape(values, [-1, shape[-1]])
    places = tf.where(values != PADDING)
    there = tf.gather_nd(values, places)
    total = tf.math.unsorted_segment_sum(
        tf.gather(table, there), places[:, 0], tf.shape(values)[0]
    )
    count = tf.math.count_nonzero(values, axis=1, keepdims=True)
    mean = total / tf.maximum(tf.cast(count, tf.float32), 1.0)
    mean = tf.reshape(mean, tf.concat([shape[:-1], table.shape[1:]], axis=0))
    return tf.ensure_shape(mean, static)
