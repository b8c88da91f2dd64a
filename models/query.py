"""What every model is told of a batch of requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf


class Query(NamedTuple):
    """Encoded requests, arrays or tensors, in the order models take them.

    Attributes:
        history: int32 `[B, L]`, most recent last, 0 pads on the left.
        user_index: int32 `[B]`.
        user_features: Encoded columns `[B]` or `[B, values]` by name.
        context: The same of the moment of the request.
    """

    history: tf.Tensor
    user_index: tf.Tensor
    user_features: Mapping[str, tf.Tensor]
    context: Mapping[str, tf.Tensor]

    def take(self, rows: np.ndarray | slice) -> Query:
        """Those of some requests, where they are arrays."""
        return Query(
            self.history[rows],
            self.user_index[rows],
            {name: value[rows] for name, value in self.user_features.items()},
            {name: value[rows] for name, value in self.context.items()},
        )
