"""The on-device model: history to recommendations in built-in TFLite ops.

One item table serves both ends: its rows are gathered for the history and
dotted with the encoded query. Item features are added to the rows, so what
ships is one table whether the student is ID-based, feature-based or both.

Item indices are those of the project: 0 padding, 1 unknown, items from 2.
Padding stands before or after the history; the position of an item is counted
from the history's end.

Shape letters: B batch, L history length, V rows of the table, D embedding
width, H summaries of a history, K recommendations.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from models.config import FeatureSpec, check
from models.layers.features import Rows
from models.student_config import StudentConfig

_EXCLUDED = -1e9
# Means of a history, each with weights of its own ("rnn" has one state
# instead), the width of the layer between history and query, and the share of
# activations dropped in training.
_NUM_HEADS = 3
_HIDDEN_UNITS = 32
DROPOUT = 0.1


class Student(tf.keras.Model):
    """Encodes a history and scores the whole catalogue.

    Args:
        num_rows: V, padding and unknown included.
        features: int32 [V] or [V, width] by name, 0 for missing; numeric
            features are left out.
        specs: The columns of `features`.
        repeats: Whether items of the history may be answered.
    """

    def __init__(
        self,
        config: StudentConfig,
        num_rows: int,
        features: Mapping[str, np.ndarray] | None = None,
        specs: tuple[FeatureSpec, ...] = (),
        repeats: bool = False,
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
                config.item_id or bool(used),
                "A student needs item ids or at least one categorical item "
                "feature. Received: neither. Set item_id=True.",
            ),
        )
        self.config = config
        self.repeats = repeats
        self.num_rows = num_rows
        width, length = config.embedding_dim, config.history_length
        if config.item_id:
            self._ids = self.add_weight(
                name="ids", shape=[num_rows, width], initializer=Rows(0.05)
            )
        self._features = []
        for spec in used:
            column = np.asarray((features or {})[spec.name])
            column = tf.constant(column.reshape(num_rows, -1), tf.int32)
            table = self.add_weight(
                # No column may take the name of another weight.
                name=f"{spec.name}_table",
                shape=[spec.size, width],
                initializer=Rows(0.03),
            )
            self._features.append((column, table))
        heads = 1 if config.encoder == "rnn" else _NUM_HEADS
        self._start = self.add_weight(
            name="start", shape=[heads, width], initializer="zeros"
        )
        constant = tf.keras.initializers.Constant
        self._prior = self.add_weight(
            name="prior", shape=[heads, 1], initializer=constant(-2.0)
        )
        self._recency = self.add_weight(
            name="recency",
            shape=[length, heads],
            initializer=constant(_half_lives(length, heads)),
        )
        self._add_layers(heads, width)

    def _add_layers(self, heads: int, width: int) -> None:
        dense, encoder = tf.keras.layers.Dense, self.config.encoder
        average = np.tile(np.eye(width), [heads, 1]) / heads
        self._mix = dense(
            width,
            use_bias=False,
            name="mix",
            kernel_initializer=tf.keras.initializers.Constant(average),
        )
        self._hidden = dense(_HIDDEN_UNITS, "relu", name="hidden")
        self._out = dense(width, kernel_initializer="zeros", name="out")
        self._dropout = tf.keras.layers.Dropout(DROPOUT)
        layers: dict[str, tf.keras.layers.Layer] = {}
        if encoder == "cnn":
            layers["kernel"] = dense(width, "relu")
        elif encoder == "rnn":
            layers["gates"] = dense(2 * width, "sigmoid")
            layers["candidate"] = dense(width, "tanh")
        elif encoder == "attention":
            layers["query"] = dense(heads * width, use_bias=False)
        self._layers_of_encoder = layers

    def table(self) -> tf.Tensor:
        """Rows of all items: [V, D]."""
        rows = tf.zeros([self.num_rows, self.config.embedding_dim])
        if self.config.item_id:
            rows += self._ids
        for values, embeddings in self._features:
            present = tf.cast(values > 0, tf.float32)[..., None]
            total = tf.reduce_sum(
                tf.gather(embeddings, values) * present, axis=1
            )
            rows += total / tf.maximum(tf.reduce_sum(present, axis=1), 1.0)
        return rows

    def call(self, history: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Scores of every row for int32 [B, L] histories: [B, V]."""
        table = self.table()
        queries = self.query(history, table, training)
        return tf.matmul(queries, table, transpose_b=True)

    def query(
        self, history: tf.Tensor, table: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Queries [B, D] of int32 [B, L] histories over rows [V, D]."""
        return self.encode(history, tf.gather(table, history), training)

    def encode(
        self,
        history: tf.Tensor,
        embedded: tf.Tensor,
        training: bool = False,
        scale: np.ndarray | None = None,
    ) -> tf.Tensor:
        """Queries [B, D] of histories [B, L] embedded as [B, L, D].

        Args:
            scale: float32 [D] that the last layer takes in: a product after
                it would be merged into the table by the converter.
        """
        positions = np.arange(1, history.shape[1] + 1, dtype=np.float32)
        mask = tf.cast(tf.not_equal(history, 0), tf.float32)
        # Cumulative sums are not in every TFLite runtime. Padding gets place
        # 0 on whichever side it is.
        end = tf.reduce_max(mask * positions, axis=1, keepdims=True) + 1.0
        place = tf.cast((end - positions) * mask, tf.int32)
        embedded = self._dropout(embedded, training=training)
        state = self._summary(embedded, place, mask[..., None])
        hidden = self._dropout(self._hidden(state), training=training)
        if scale is None:
            return self._mix(state) + self._out(hidden)
        out = tf.matmul(hidden, self._out.kernel * scale)
        out += self._out.bias * scale
        return tf.matmul(state, self._mix.kernel * scale) + out

    def _summary(
        self, embedded: tf.Tensor, place: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        """Weighted means of the history side by side: [B, H * D]."""
        layers, encoder = self._layers_of_encoder, self.config.encoder
        if encoder == "rnn":
            return self._recurrent(embedded, present)
        # Row 0 weighs padding.
        weighed = tf.concat(
            [tf.zeros_like(self._recency[:1]), _weight(self._recency)], axis=0
        )
        weights = tf.gather(weighed, place)
        if encoder == "cnn":
            embedded *= present
            before = tf.pad(embedded, [[0, 0], [1, 0], [0, 0]])[:, :-1]
            embedded += layers["kernel"](tf.concat([before, embedded], -1))
        elif encoder == "attention":
            newest = tf.cast(tf.equal(place, 1), tf.float32)[:, None]
            query = layers["query"](tf.matmul(newest, embedded)[:, 0])
            query = tf.reshape(query, [-1, *self._start.shape])
            affinity = tf.matmul(embedded, query, transpose_b=True)
            weights *= _weight(affinity)
        weights = tf.transpose(weights, [0, 2, 1])
        # An item that every history starts with: all there is in an empty
        # one, and less and less of a longer one.
        prior = _weight(self._prior)
        total = tf.reduce_sum(weights, axis=2, keepdims=True) + prior
        summary = tf.matmul(weights, embedded) + self._start * prior
        return tf.reshape(
            summary / total, [-1, self._start.shape.num_elements()]
        )

    def _recurrent(self, embedded: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """A GRU unrolled by hand: a fused one keeps state between calls."""
        layers, width = self._layers_of_encoder, self.config.embedding_dim
        state = tf.zeros_like(embedded[:, 0]) + self._start
        for step in range(embedded.shape[1]):
            item, real = embedded[:, step], present[:, step]
            gates = layers["gates"](tf.concat([item, state], 1))
            update, reset = gates[:, :width], gates[:, width:]
            proposal = layers["candidate"](tf.concat([item, reset * state], 1))
            changed = update * state + (1.0 - update) * proposal
            state = real * changed + (1.0 - real) * state
        return state


def _weight(logits: tf.Tensor) -> tf.Tensor:
    return tf.exp(tf.minimum(logits, 20.0))


def _half_lives(length: int, heads: int) -> np.ndarray:
    """Logits of decays: the first head is the plain mean, the last the end.

    Half-lives halve from head to head down to a third of an item.
    """
    lives = np.geomspace(0.3 * 4.0 ** (heads - 1), 0.3, heads)
    rates = np.log(2) / lives
    rates[0] *= heads == 1
    return -np.arange(length)[:, None] * rates


def quantise(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 [V, D] and a scale per column, which the query absorbs."""
    scale = np.maximum(np.abs(table).max(axis=0), 1e-8) / 127.0
    return np.round(table / scale).astype(np.int8), scale.astype(np.float32)


def recommend(
    student: Student,
    stored: np.ndarray,
    scale: np.ndarray,
    history: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """What ships, for one int32 [L] history.

    The best K are looked for in two stages: items are dealt to groups, the K
    groups with the highest maxima hold the best K items, and only those
    groups' items are sorted.

    Args:
        student: Encodes; its table is replaced by `stored`.
        stored: The table, [V, D] in float32 or int8.
        scale: float32 [D] to multiply its columns with.
        history: Item indices; those outside the table count as unknown.

    Returns:
        `ids` int32 [K], best first and 0 where the catalogue is exhausted,
        and `scores` float32 [K]. Nothing of the history is among them,
        unless the student repeats.
    """
    rows, count = len(stored), student.config.num_recommendations
    known = tf.logical_and(history >= 0, history < rows)
    history = tf.where(known, history, 1)
    in_group, num_groups = _groups(rows, count)
    filled = in_group * num_groups
    stored = np.pad(stored, [(0, filled - rows), (0, 0)])
    embedded = tf.gather(tf.constant(stored), history)
    if stored.dtype == np.int8:
        embedded = tf.cast(embedded, tf.float32) * scale
    query = student.encode(history[None], embedded[None], scale=scale)
    # In float32, whole numbers where the table is int8: the converter makes
    # them int8 again, with a scale of 1, and multiplies in int8.
    scores = tf.matmul(query, tf.constant(stored, tf.float32), transpose_b=True)
    never = [0, 1, *range(rows, filled)]
    hidden = tf.constant(never)
    if not student.repeats:
        hidden = tf.concat([history, hidden], axis=0)
    scores += tf.scatter_nd(
        hidden[:, None], tf.fill([hidden.shape[0]], _EXCLUDED), [filled]
    )
    ids = None
    if in_group > 1:
        best = tf.nn.max_pool2d(
            tf.reshape(scores, [1, in_group, 1, num_groups]),
            (in_group, 1),
            (1, 1),
            "VALID",
        )
        _, group = tf.math.top_k(tf.reshape(best, [num_groups]), count)
        members = np.arange(in_group, dtype=np.int32) * num_groups
        ids = tf.reshape(group[:, None] + members, [count * in_group])
        scores = tf.gather(tf.reshape(scores, [filled]), ids)
    scores, order = tf.math.top_k(tf.reshape(scores, [-1]), count)
    found = order if ids is None else tf.gather(ids, order)
    # Exhausted places: what is hidden is far below any score.
    found = tf.where(scores > _EXCLUDED / 2, found, 0)
    return {"ids": found, "scores": scores}


def _groups(rows: int, count: int) -> tuple[int, int]:
    """Items in a group and groups, so that both sorts are short."""
    in_group = max(1, round((rows / count) ** 0.5))
    num_groups = -(-rows // in_group)
    return (in_group, num_groups) if num_groups > 2 * count else (1, rows)
