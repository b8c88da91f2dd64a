"""Raw request values to model indices, inside the graph.

Exported models take strings and raw numbers; these modules hold the prepared
vocabularies and encode exactly as `prepare` did. Index 0 is padding or
missing, 1 is out of vocabulary.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from models.config import FeatureSpec

# What separates words; the same expression prepares the training data.
WORD_SEPARATORS = r"[^\p{L}\p{N}]+"


class IdLookup(tf.Module):
    """Strings to indices.

    Args:
        values: The strings of indices 2, 3, …
    """

    def __init__(self, values: Sequence[str]) -> None:
        super().__init__(name="id_lookup")
        keys = [b""] + [value.encode() for value in values]
        indices = np.r_[0, np.arange(2, 2 + len(values))]
        self._table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(keys), tf.constant(indices, tf.int32)
            ),
            default_value=1,
        )

    def __call__(self, strings: tf.Tensor) -> tf.Tensor:
        """Returns int32 indices of the same shape."""
        return self._table.lookup(strings)


class FeatureLookup(tf.Module):
    """One raw feature column to what a tower takes.

    Args:
        spec: The encoded column.
        vocabulary: Its values from index 2; empty for numeric features.
    """

    def __init__(self, spec: FeatureSpec, vocabulary: Sequence[str]) -> None:
        super().__init__(name=f"feature_{spec.name}")
        self.spec = spec
        self._lookup = None if spec.kind == "numeric" else IdLookup(vocabulary)

    def signature(self, name: str) -> tf.TensorSpec:
        """The raw input: one value a row, a list for multi_categorical."""
        if self.spec.kind == "numeric":
            return tf.TensorSpec([None], tf.float32, name)
        if self.spec.kind == "multi_categorical":
            return tf.TensorSpec([None, None], tf.string, name)
        return tf.TensorSpec([None], tf.string, name)

    def __call__(self, raw: tf.Tensor) -> tf.Tensor:
        """Returns float32 `[batch_size]` or int32 `[batch_size(, width)]`."""
        if self._lookup is None:
            normal = (raw - self.spec.mean) / self.spec.std
            # A missing number is the mean, as in the prepared tables.
            return tf.where(tf.math.is_finite(normal), normal, 0.0)
        if self.spec.kind == "categorical":
            return self._lookup(raw)
        if self.spec.kind == "text":
            text = tf.strings.lower(raw, encoding="utf-8")
            spaced = tf.strings.regex_replace(text, WORD_SEPARATORS, " ")
            raw = tf.strings.split(spaced).to_tensor(default_value="")
        indices = self._lookup(raw)[:, : self.spec.width]
        missing = self.spec.width - tf.shape(indices)[1]
        indices = tf.pad(indices, [[0, 0], [0, missing]])
        return tf.ensure_shape(indices, [None, self.spec.width])


def make(
    specs: Sequence[FeatureSpec],
    vocabularies: Mapping[str, Sequence[str]],
    table: str,
) -> dict[str, FeatureLookup]:
    """Lookups of one table's features, by feature name.

    Args:
        specs: The encoded columns.
        vocabularies: By "table.feature".
        table: "items", "users" or "context".
    """
    return {
        spec.name: FeatureLookup(
            spec, vocabularies.get(f"{table}.{spec.name}", ())
        )
        for spec in specs
    }


def keep_last(indices: tf.Tensor, length: int) -> tf.Tensor:
    """The last entries that are not padding, padding moved to the left.

    Args:
        indices: int32 `[batch_size, any]`, 0 on either side or in between.
        length: Entries kept at most.

    Returns:
        int32 `[batch_size, n]`, with n the longest kept history of the batch,
        at least 1, so that a short history does not pay for a long one.
    """
    order = tf.argsort(tf.cast(indices != 0, tf.int32), axis=1, stable=True)
    indices = tf.gather(indices, order, batch_dims=1)
    used = tf.reduce_max(tf.math.count_nonzero(indices, axis=1, dtype=tf.int32))
    used = tf.clip_by_value(used, 1, length)
    padded = tf.pad(indices, [[0, 0], [1, 0]])
    return padded[:, -used:]
