"""The filters of a request: `allowed_<feature>` inputs, values to numbers.

Every categorical feature of the items can be filtered by, with all values
that the catalogue has: also those that no trained item has, and those beyond
what a model reads of a cell.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from models.config import FIRST_ITEM
from models.layers import filters
from pipeline.export.encode import IdLookup
from serving import signatures


class FilterInputs(tf.Module):
    """Encodes the filters of a request.

    Args:
        cells: The values of each item by feature, from
            `Prepared.item_values`.

    Attributes:
        features: Which items have which values, a feature each.
        values: The values of each feature, in the order of their numbers.
    """

    def __init__(self, cells: Mapping[str, pa.ListArray]) -> None:
        super().__init__(name="filter_inputs")
        self.features: list[filters.FeatureValues] = []
        self.values: dict[str, list[str]] = {}
        for name, column in cells.items():
            coded = column.flatten().dictionary_encode()
            rows = pc.list_parent_indices(column).to_numpy()
            # A cell may name a value twice.
            pairs = np.unique(
                np.stack([rows, coded.indices.to_numpy()]).astype(np.int32),
                axis=1,
            )
            self.values[name] = coded.dictionary.to_pylist()
            self.features.append(
                filters.FeatureValues(
                    pairs[0] + FIRST_ITEM, pairs[1], len(self.values[name])
                )
            )
        self._lookups = [IdLookup(values) for values in self.values.values()]

    def signature(self) -> dict[str, tf.TensorSpec]:
        """The inputs by name, strings [B, F]."""
        names = [f"{signatures.ALLOWED}{name}" for name in self.values]
        return {
            name: tf.TensorSpec([None, None], tf.string, name) for name in names
        }

    def encode(
        self, inputs: Mapping[str, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns `allowed` int32 [B, F] and `features` int32 [F].

        See `FilteredIndex`; F are the values of all filters side by side.
        """
        first, values, features = 0, [], []
        for number, name in enumerate(self.signature()):
            found = self._lookups[number](inputs[name])
            features.append(tf.fill(tf.shape(found)[1:], number))
            is_value = found >= filters.FIRST_VALUE
            values.append(tf.where(is_value, found + first, found))
            first += self.features[number].count
        return tf.concat(values, axis=1), tf.concat(features, axis=0)
