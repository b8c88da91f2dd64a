"""The on-device model: history to recommendations in built-in TFLite ops.

One item table serves both ends: its rows are gathered for the history and
dotted with the encoded query. Item features are added to the rows, so what
ships is one table whether the student is ID-based, feature-based or both. A
last column holds each item's bias.

Item indices are those of the project: 0 padding, 1 unknown, items from 2.
Padding may stand anywhere before or after the history; the position of an
item is counted in real items from the history's end.

Shape letters: B batch, L history length, V rows of the table, D embedding
width, K recommendations.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from models.config import FeatureSpec, StudentConfig, check

_EXCLUDED = -1e9


class Student(tf.keras.Model):
    """Encodes a history and scores the whole catalogue.

    Args:
        config: Encoder and sizes.
        num_rows: V, padding and unknown included.
        features: int32 [V] or [V, width] by name, 0 for missing; numeric
            features are left out.
        specs: The columns of `features`.
        item_id: Whether items have an embedding of their own.
    """

    def __init__(
        self,
        config: StudentConfig,
        num_rows: int,
        features: Mapping[str, np.ndarray] | None = None,
        specs: tuple[FeatureSpec, ...] = (),
        item_id: bool = True,
    ) -> None:
        super().__init__()
        used = [spec for spec in specs if spec.kind != "numeric"]
        check(
            (
                num_rows > config.num_recommendations + 2,
                "`num_recommendations` must be below the number of items. "
                f"Received: {config.num_recommendations} with "
                f"{num_rows - 2} items.",
            ),
            (
                item_id or bool(used),
                "A student needs item ids or at least one categorical item "
                "feature. Received: neither. Set item_id=True.",
            ),
        )
        self.config = config
        self.num_rows = num_rows
        width, length = config.embedding_dim, config.history_length
        start = tf.random_normal_initializer(stddev=0.05)
        self._ids = (
            self.add_weight(name="ids", shape=[num_rows, width])
            if item_id
            else None
        )
        if self._ids is not None:
            self._ids.assign(start([num_rows, width]))
        self._bias = self.add_weight(
            name="bias", shape=[num_rows], initializer="zeros"
        )
        self._features = []
        for spec in used:
            column = np.asarray((features or {})[spec.name])
            self._features.append(
                (
                    tf.constant(column.reshape(num_rows, -1), tf.int32),
                    self.add_weight(
                        name=spec.name,
                        shape=[spec.size, width],
                        initializer="uniform",
                    ),
                )
            )
        self._start = self.add_weight(name="start", shape=[1, width])
        self._recency = self.add_weight(
            name="recency", shape=[length + 1, 1], initializer="zeros"
        )
        self._positions = self.add_weight(
            name="positions", shape=[length + 1, width], initializer="zeros"
        )
        dense = tf.keras.layers.Dense
        self._hidden = dense(width, "relu", name="hidden")
        self._out = dense(width, kernel_initializer="zeros", name="out")
        self._layers_of_encoder: dict[str, Any] = {}
        if config.encoder == "cnn":
            self._layers_of_encoder["kernel"] = dense(width, "relu")
        elif config.encoder == "rnn":
            self._layers_of_encoder["gates"] = dense(2 * width, "sigmoid")
            self._layers_of_encoder["candidate"] = dense(width, "tanh")
        elif config.encoder == "attention":
            for name in ("query", "key"):
                self._layers_of_encoder[name] = dense(width, use_bias=False)

    def table(self) -> tf.Tensor:
        """Rows of all items, the last column their bias: [V, D + 1]."""
        rows = tf.zeros([self.num_rows, self.config.embedding_dim])
        if self._ids is not None:
            rows += self._ids
        for values, embeddings in self._features:
            present = tf.cast(values > 0, tf.float32)[..., None]
            total = tf.reduce_sum(
                tf.gather(embeddings, values) * present, axis=1
            )
            rows += total / tf.maximum(tf.reduce_sum(present, axis=1), 1.0)
        return tf.concat([rows, self._bias[:, None]], axis=1)

    def call(self, history: tf.Tensor) -> tf.Tensor:
        """Scores of every row for int32 [B, L] histories: [B, V]."""
        table = self.table()
        embedded = tf.gather(table[:, :-1], history)
        return tf.matmul(
            self.encode(history, embedded), table, transpose_b=True
        )

    def encode(self, history: tf.Tensor, embedded: tf.Tensor) -> tf.Tensor:
        """Queries [B, D + 1] of histories [B, L] embedded as [B, L, D]."""
        length = self.config.history_length
        mask = tf.cast(tf.not_equal(history, 0), tf.float32)
        # A product with a triangle counts from the end; cumulative sums are
        # not in every TFLite runtime.
        triangle = np.tril(np.ones([length, length], np.float32))
        place = tf.cast(tf.matmul(mask, triangle), tf.int32)
        present = mask[..., None]
        embedded = embedded * present
        any_item = tf.reduce_max(mask, axis=1, keepdims=True)
        state = self._encoded(embedded, place, present)
        state += (1.0 - any_item) * self._start
        state += self._out(self._hidden(state))
        return tf.concat([state, tf.ones_like(state[:, :1])], axis=1)

    def _encoded(
        self, embedded: tf.Tensor, place: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        layers, encoder = self._layers_of_encoder, self.config.encoder
        if encoder == "rnn":
            return self._recurrent(embedded, present)
        logits = tf.gather(self._recency, place)
        if encoder == "cnn":
            before = tf.pad(embedded, [[0, 0], [1, 0], [0, 0]])[:, :-1]
            embedded += layers["kernel"](tf.concat([before, embedded], -1))
        elif encoder == "attention":
            placed = embedded + tf.gather(self._positions, place)
            newest = tf.cast(tf.equal(place, 1), tf.float32)[..., None]
            query = tf.reduce_sum(placed * newest * present, 1, keepdims=True)
            logits += tf.reduce_sum(
                layers["query"](query) * layers["key"](placed),
                axis=2,
                keepdims=True,
            ) / float(np.sqrt(self.config.embedding_dim))
        weights = present * tf.exp(tf.minimum(logits, 20.0))
        total = tf.reduce_sum(weights, axis=1)
        return tf.reduce_sum(weights * embedded, axis=1) / (total + 1e-6)

    def _recurrent(self, embedded: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """A GRU unrolled by hand: a fused one keeps state between calls."""
        layers, width = self._layers_of_encoder, self.config.embedding_dim
        state = tf.zeros_like(embedded[:, 0])
        for step in range(self.config.history_length):
            item, real = embedded[:, step], present[:, step]
            gates = layers["gates"](tf.concat([item, state], 1))
            update, reset = gates[:, :width], gates[:, width:]
            proposal = layers["candidate"](tf.concat([item, reset * state], 1))
            changed = update * state + (1.0 - update) * proposal
            state = real * changed + (1.0 - real) * state
        return state


def quantise(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 [V, D + 1] and a scale per column, which the query absorbs."""
    scale = np.maximum(np.abs(table).max(axis=0), 1e-8) / 127.0
    return np.round(table / scale).astype(np.int8), scale.astype(np.float32)


def recommend(
    student: Student,
    stored: np.ndarray,
    scale: np.ndarray,
    history: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """What ships, for one int32 [L] history.

    Args:
        student: Encodes; its table is replaced by `stored`.
        stored: The table, [V, D + 1] in float32 or int8.
        scale: float32 [D + 1] to multiply its columns with.
        history: Item indices; those outside the table count as unknown.

    Returns:
        `ids` int32 [K], best first and 0 where the catalogue is exhausted,
        and `scores` float32 [K]. Nothing of the history is among them.
    """
    rows, columns = stored.shape
    known = tf.logical_and(history >= 0, history < rows)
    history = tf.where(known, history, 1)
    # Always 0, but not for a converter, which would otherwise fold the cast
    # and store the table in float32.
    zero = tf.minimum(history[0], 0)
    table = tf.slice(tf.constant(stored), tf.stack([zero, 0]), [rows, columns])
    embedded = tf.cast(tf.gather(tf.constant(stored), history), tf.float32)
    query = student.encode(history[None], (embedded * scale)[None, :, :-1])
    scores = tf.matmul(
        query * scale, tf.cast(table, tf.float32), transpose_b=True
    )[0]
    count = student.config.num_recommendations
    # Enough that the best K remain when all of the history is among them.
    wide = min(rows, count + student.config.history_length + 2)
    scores, ids = tf.math.top_k(scores, wide)
    hits = tf.cast(tf.equal(ids[:, None], history[None]), tf.float32)
    excluded = tf.logical_or(tf.reduce_max(hits, axis=1) > 0.0, ids < 2)
    scores = tf.where(excluded, _EXCLUDED, scores)
    ids = tf.where(excluded, 0, ids)
    scores, order = tf.math.top_k(scores, count)
    return {"ids": tf.gather(ids, order), "scores": scores}
