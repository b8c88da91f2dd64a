"""Predicted ratings: what this user would give this item.

Biases of user and item, the product of their factors, and the items of the
history on the user's side (SVD++, Koren 2008), so that a user who is unknown
but has a history is answered too. It stands beside the listwise scores: what
a user would rate highly is not what the user takes next.

Shape letters: B queries, C candidates, L history, R factors.
"""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from models.config import PADDING
from models.lazy_adam import Read


class RatingHead(tf.keras.Model):
    """Rating from user, history and item.

    Args:
        num_users: First user index without a bias of its own.
        num_items: First item index without a bias of its own.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        mean: float,
        low: float,
        high: float,
        width: int = 32,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self.num_users = num_users
        self.num_items = num_items
        self.mean = mean
        self.low = low
        self.high = high
        self.width = width
        self.user_bias = self._table("user_bias", [num_users], 0.0)
        self.item_bias = self._table("item_bias", [num_items], 0.0)
        self.users = self._table("users", [num_users, width], 0.1 * width**-0.5)
        self.items = self._table("items", [num_items, width], width**-0.5)
        self.implicit = self._table("implicit", [num_items, width], 0.0)

    def shape(self) -> dict[str, float]:
        """Arguments that make a head of the same shape."""
        names = ("num_users", "num_items", "mean", "low", "high", "width")
        return {name: getattr(self, name) for name in names}

    def complete(self, users: np.ndarray, items: np.ndarray) -> None:
        """Gives what has no rating of its own the mean of those that have.

        The first draw of a row that nothing trained is no opinion: unknown
        users and items, and those without a rating, are like any other.
        """
        for table, learnt in (
            (self.user_bias, users),
            (self.users, users),
            (self.item_bias, items),
            (self.items, items),
            (self.implicit, items),
        ):
            rows = table.numpy()
            mean = rows[learnt].mean(axis=0)
            blank = np.ones(len(rows), bool)
            blank[learnt] = False
            rows[blank] = mean
            table.assign(rows)

    def reads(
        self, history: tf.Tensor, user: tf.Tensor, item: tf.Tensor
    ) -> Iterator[Read]:
        """The rows of the tables that the loss of a batch needs."""
        users, items = self._known(user, item)
        past = tf.where(history < self.num_items, history, 1)
        yield Read(self.user_bias, users)
        yield Read(self.users, users)
        yield Read(self.item_bias, items)
        yield Read(self.items, items)
        yield Read(self.implicit, tf.unique(tf.reshape(past, [-1]))[0])

    def call(
        self, history: tf.Tensor, user_index: tf.Tensor, candidates: tf.Tensor
    ) -> tf.Tensor:
        """Ratings `[B, C]` of int32 `[B, L]`, `[B]` and `[B, C]`, in range."""
        users, items = self._known(user_index, candidates)
        query = tf.gather(self.users, users) + self._past(history)
        rating = (
            self.mean
            + tf.gather(self.user_bias, users)[:, tf.newaxis]
            + tf.gather(self.item_bias, items)
            + tf.einsum("bd,bcd->bc", query, tf.gather(self.items, items))
        )
        return tf.clip_by_value(rating, self.low, self.high)

    def loss(
        self,
        history: tf.Tensor,
        user_index: tf.Tensor,
        item: tf.Tensor,
        rating: tf.Tensor,
        factor_l2: float,
        bias_l2: float,
    ) -> tf.Tensor:
        """Mean squared error with L2 on what each prediction used, a scalar.

        The rated item is taken out of the history, where a request for its
        rating does not have it.

        Args:
            history: int32 `[B, L]`, 0 pads; the others are `[B]`.
            factor_l2: Weight of the factors' squares.
            bias_l2: Weight of the biases' squares.
        """
        history = tf.where(history == item[:, tf.newaxis], PADDING, history)
        users, items = self._known(user_index, item)
        own = tf.gather(self.users, users)
        past = self._past(history)
        factors = tf.gather(self.items, items)
        user_bias = tf.gather(self.user_bias, users)
        item_bias = tf.gather(self.item_bias, items)
        predicted = (
            self.mean
            + user_bias
            + item_bias
            + tf.reduce_sum((own + past) * factors, axis=1)
        )
        squares = tf.reduce_sum(own**2 + past**2 + factors**2, axis=1)
        return tf.reduce_mean(
            (rating - predicted) ** 2
            + factor_l2 * squares
            + bias_l2 * (user_bias**2 + item_bias**2)
        )

    def _known(
        self, users: tf.Tensor, items: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return (
            tf.where(users < self.num_users, users, 1),
            tf.where(items < self.num_items, items, 1),
        )

    def _past(self, history: tf.Tensor) -> tf.Tensor:
        known = tf.where(history < self.num_items, history, 1)
        there = tf.cast(history != PADDING, tf.float32)[..., tf.newaxis]
        total = tf.reduce_sum(tf.gather(self.implicit, known) * there, axis=1)
        return total / tf.sqrt(tf.maximum(tf.reduce_sum(there, axis=1), 1.0))

    def _table(self, name: str, shape: list[int], stddev: float) -> tf.Variable:
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=tf.keras.initializers.RandomNormal(stddev=stddev),
        )
