"""Predicted ratings: what this user would give this item.

Biases of user and item, the product of their factors, and the items of the
history on the user's side (SVD++, Koren 2008), so that a user who is unknown
but has a history is answered too. It stands beside the listwise scores: what
a user would rate highly is not what the user takes next.

Shape letters: B queries, C candidates, L history, R factors.
"""

from typing import Any

import tensorflow as tf

from models.towers import PADDING


class RatingHead(tf.keras.Model):
    """Rating from user, history and item.

    Args:
        num_users: First user index without a bias of its own.
        num_items: First item index without a bias of its own.
        mean: Rating of the training interactions.
        low: Smallest rating there is.
        high: Largest rating there is.
        width: R.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        mean: float,
        low: float,
        high: float,
        width: int = 32,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_users = num_users
        self.num_items = num_items
        self.mean = mean
        self.low = low
        self.high = high
        self.user_bias = self._table("user_bias", [num_users], 0.0)
        self.item_bias = self._table("item_bias", [num_items], 0.0)
        self.users = self._table("users", [num_users, width], 0.1 * width**-0.5)
        self.items = self._table("items", [num_items, width], width**-0.5)
        self.implicit = self._table("implicit", [num_items, width], 0.0)

    def call(
        self, history: tf.Tensor, user_index: tf.Tensor, candidates: tf.Tensor
    ) -> tf.Tensor:
        """Ratings `[B, C]` within the range that ratings have.

        Args:
            history: int32 `[B, L]`, 0 pads.
            user_index: int32 `[B]`.
            candidates: int32 `[B, C]`.
        """
        users = tf.where(user_index < self.num_users, user_index, 1)
        query = tf.gather(self.users, users) + self._past(history)
        items = tf.where(candidates < self.num_items, candidates, 1)
        rating = (
            self.mean
            + tf.gather(self.user_bias, users)[:, tf.newaxis]
            + tf.gather(self.item_bias, items)
            + tf.einsum("bd,bcd->bc", query, tf.gather(self.items, items))
        )
        return tf.clip_by_value(rating, self.low, self.high)

    def _past(self, history: tf.Tensor) -> tf.Tensor:
        known = tf.where(history < self.num_items, history, 1)
        there = tf.cast(history != PADDING, tf.float32)[..., tf.newaxis]
        total = tf.reduce_sum(tf.gather(self.implicit, known) * there, axis=1)
        return total / tf.sqrt(tf.maximum(tf.reduce_sum(there, axis=1), 1.0))

    def _table(self, name: str, shape: list[int], stddev: float) -> Any:
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=tf.keras.initializers.RandomNormal(stddev=stddev),
        )
