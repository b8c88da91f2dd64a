"""Hard negatives: the nearest neighbours of what the model has to find.

The catalogue is embedded as it is now and each item's nearest items become
negatives of the steps to come, as in https://arxiv.org/abs/2007.00808 but by
item, so that mining costs one search of the catalogue an epoch and not one a
query.

Shape letters: N + 2 rows of the catalogue, D width, M neighbours.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from models.config import FIRST_ITEM
from models.layers import draws

NUM_NEIGHBOURS = 32
# Neighbours are looked for among so many items, drawn anew each time: the
# whole of a large catalogue would take longer than the epoch.
_SEARCHED = 50_000
_BLOCK = 1024


class Mined(tf.Module):
    """Neighbours of each item, and how often a draw finds each.

    Args:
        probabilities: Share of each item among the targets `[N + 2]`.
    """

    def __init__(self, probabilities: np.ndarray) -> None:
        super().__init__(name="mined")
        self._probabilities = probabilities
        rows = len(probabilities)
        self._width = max(1, min(NUM_NEIGHBOURS, rows - FIRST_ITEM - 1))
        self.near = tf.Variable(
            np.full((rows, self._width), FIRST_ITEM, np.int32),
            trainable=False,
        )
        self.chance = tf.Variable(np.zeros(rows, np.float32), trainable=False)

    def refresh(self, vectors: np.ndarray, seed: int | Sequence[int]) -> None:
        """Finds the neighbours by dot product.

        Args:
            vectors: `[N + 2, D]`.
            seed: Of the items that are looked through.
        """
        rows = len(vectors)
        among = np.arange(FIRST_ITEM, rows)
        if len(among) > _SEARCHED:
            rng = np.random.default_rng(seed)
            among = np.sort(rng.choice(among, _SEARCHED, replace=False))
        found = np.full((rows, self._width), FIRST_ITEM, np.int32)
        for start in range(FIRST_ITEM, rows, _BLOCK):
            stop = min(start + _BLOCK, rows)
            scores = vectors[start:stop] @ vectors[among].T
            # Nobody is a negative of his own.
            scores[np.arange(start, stop)[:, None] == among] = -np.inf
            best = np.argpartition(-scores, self._width - 1, axis=1)
            found[start:stop] = among[best[:, : self._width]]
        self.near.assign(found)
        chance = np.bincount(
            found.ravel(),
            np.repeat(self._probabilities, self._width) / self._width,
            minlength=rows,
        )
        self.chance.assign(chance.astype(np.float32))

    def draw(self, targets: tf.Tensor, count: int) -> tf.Tensor:
        """Neighbours of random targets, int32 `[count]`."""
        who = draws.uniform([count], 0, tf.size(targets), tf.int32)
        which = draws.uniform([count], 0, self._width, tf.int32)
        return tf.gather_nd(
            self.near, tf.stack([tf.gather(targets, who), which], axis=1)
        )
