"""Raw request values to model indices, inside the graph.

Exported models take strings and raw numbers; these modules hold the prepared
vocabularies and encode exactly as `prepare` did. Index 0 is padding or
missing, 1 is out of vocabulary.
"""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from models.config import FIRST_ITEM, PADDING, UNKNOWN
from pipeline.tables.columns import FeatureColumn

# What separates words; the same expression prepares the training data.
WORD_SEPARATORS = r"[^\p{L}\p{N}]+"


class IdLookup(tf.Module):
    """Strings to indices.

    The strings are a variable, not constants of the graph: a server copies
    a graph for every signature, and a million strings with it.

    Args:
        values: The strings of indices 2, 3, …

    Attributes:
        ids: The strings by index, "" for 0 and 1.
    """

    def __init__(self, values: Sequence[str]) -> None:
        super().__init__(name="id_lookup")
        self.ids = tf.Variable(["", "", *values], trainable=False, name="ids")
        self._table = tf.lookup.StaticHashTable(
            _Indices(self.ids), default_value=UNKNOWN
        )

    def __call__(self, strings: tf.Tensor) -> tf.Tensor:
        """Returns int32 indices of the same shape."""
        return self._table.lookup(strings)


class _Indices(tf.lookup.KeyValueTensorInitializer):
    """Fills a table with the indices of strings when a model is loaded."""

    def __init__(self, ids: tf.Variable) -> None:
        super().__init__(tf.zeros([0], tf.string), tf.zeros([0], tf.int32))
        self._ids = ids

    def initialize(self, table: tf.lookup.StaticHashTable) -> tf.Operation:
        """Returns what fills the table."""
        # The second "" stands for the first: nothing is padding, not unknown.
        known = tf.range(FIRST_ITEM, tf.size(self._ids))
        return tf.raw_ops.LookupTableImportV2(
            table_handle=table.resource_handle,
            keys=self._ids[UNKNOWN:],
            values=tf.concat([[PADDING], known], axis=0),
        )


class FeatureLookup(tf.Module):
    """One raw feature column to what a tower takes, as `column` encodes it."""

    def __init__(self, column: FeatureColumn) -> None:
        super().__init__(name=f"feature_{column.spec.name}")
        self.spec = column.spec
        if column.spec.kind != "numeric":
            self._lookup = IdLookup(column.vocabulary)

    def signature(self, name: str) -> tf.TensorSpec:
        """The raw input: one value a row, a list for multi_categorical."""
        is_number = self.spec.kind == "numeric"
        is_list = self.spec.kind == "multi_categorical"
        return tf.TensorSpec(
            [None, None] if is_list else [None],
            tf.float32 if is_number else tf.string,
            name,
        )

    def __call__(self, raw: tf.Tensor) -> tf.Tensor:
        """Returns float32 `[batch_size]` or int32 `[batch_size(, width)]`."""
        if self.spec.kind == "numeric":
            centred = tf.cast(raw, tf.float64) - self.spec.mean
            normal = tf.cast(centred / self.spec.std, tf.float32)
            # A missing number is the mean, as in the prepared tables.
            return tf.where(tf.math.is_finite(normal), normal, 0.0)
        if self.spec.kind == "categorical":
            return self._lookup(raw)
        if self.spec.kind == "multi_categorical":
            values = tf.ragged.boolean_mask(raw, raw != "")
        else:
            # Lowering ends a text at its first NUL.
            text = tf.strings.regex_replace(raw, r"\x00", " ")
            text = tf.strings.lower(text, encoding="utf-8")
            spaced = tf.strings.regex_replace(text, WORD_SEPARATORS, " ")
            values = tf.strings.split(spaced)
        return self._lookup(values.to_tensor("", shape=[None, self.spec.width]))


def make(columns: Mapping[str, FeatureColumn]) -> dict[str, FeatureLookup]:
    """Lookups by the name of their columns."""
    return {name: FeatureLookup(column) for name, column in columns.items()}


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
