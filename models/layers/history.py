"""History encoders: what a user did, in order, becomes a state a position.

All four share one signature: item embeddings `[B, L, D]` and a mask `[B, L]`
(true where an item is) give states `[B, L, D]`. They are causal (a state never
depends on a later item), so one pass trains on every position, and they know
only distances between positions, never absolute ones, so padding on the left
changes nothing. States at padded positions are unspecified.

Shape letters: B batch, L history positions, D width, H heads.
"""

import numpy as np
import tensorflow as tf

from models.config import ConfigError, RetrievalConfig
from models.layers import draws

_MASKED = -1e9
_KERNEL = 3
# Depth of all encoders but "bow".
_NUM_LAYERS = 2


def make(config: RetrievalConfig) -> tf.keras.layers.Layer:
    """Returns the encoder that `config.encoder` names, "auto" attention."""
    encoders = {
        "bow": BagEncoder,
        "cnn": ConvolutionEncoder,
        "rnn": RecurrentEncoder,
        "attention": AttentionEncoder,
    }
    name = "attention" if config.encoder == "auto" else config.encoder
    if name not in encoders:
        raise ConfigError(
            "`encoder` must be one of 'auto', 'bow', 'cnn', 'rnn', "
            f"'attention'. Received: {config.encoder!r}."
        )
    return encoders[name](config, name=name)


def _norms() -> list[tf.keras.layers.Layer]:
    norm = tf.keras.layers.LayerNormalization
    return [norm(epsilon=1e-6) for _ in range(_NUM_LAYERS)]


def _feed_forwards(config: RetrievalConfig) -> list["FeedForward"]:
    return [
        FeedForward(
            config.embedding_dim, config.dropout, name=f"feed_forward_{layer}"
        )
        for layer in range(_NUM_LAYERS)
    ]


class FeedForward(tf.keras.layers.Layer):
    """Pre-norm residual block of two dense layers."""

    def __init__(self, width: int, dropout: float, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.norm = tf.keras.layers.LayerNormalization(epsilon=1e-6)
        self.inner = tf.keras.layers.Dense(2 * width, activation="gelu")
        self.outer = tf.keras.layers.Dense(width)
        self.dropout = draws.Dropout(dropout)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps `[..., D]` to `[..., D]`."""
        # Dropout acts where a block ends, not inside it nor on attention
        # weights: random numbers for those took a third of a step on a CPU
        # and gained nothing.
        inner = self.inner(self.norm(x))
        return x + self.dropout(self.outer(inner), training=training)


class BagEncoder(tf.keras.layers.Layer):
    """Mean of the history in which older items count less.

    The width is split over `num_heads` groups, each with a learned rate of
    decay a position; the first starts at 0, the plain mean.
    """

    def __init__(self, config: RetrievalConfig, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.num_heads = config.num_heads
        self.width = config.embedding_dim
        self.feed_forward = FeedForward(
            self.width, config.dropout, name="feed_forward"
        )

    def build(self, input_shape: tf.TensorShape) -> None:
        """Starts the rates of decay."""
        # Stored as logarithms, so that a rate stays positive.
        self.log_rates = self.add_weight(
            name="log_rates",
            shape=[self.num_heads],
            initializer=tf.keras.initializers.Constant(
                np.log(_decay_rates(self.num_heads))
            ),
        )
        super().build(input_shape)

    def call(
        self, x: tf.Tensor, mask: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Maps `[B, L, D]` and `[B, L]` to `[B, L, D]`."""
        batch, length = tf.shape(x)[0], tf.shape(x)[1]
        present = tf.cast(mask, x.dtype)
        distance, causal = _distances(length)
        rates = tf.exp(self.log_rates)[:, tf.newaxis, tf.newaxis]
        weights = tf.exp(-rates * tf.cast(distance, x.dtype))
        weights *= tf.cast(causal, x.dtype)
        heads = tf.reshape(
            x * present[..., tf.newaxis],
            [batch, length, self.num_heads, self.width // self.num_heads],
        )
        total = tf.einsum("htl,blhd->bthd", weights, heads)
        norm = tf.einsum("htl,bl->bth", weights, present)
        mean = total / tf.maximum(norm, 1e-9)[..., tf.newaxis]
        mean = tf.reshape(mean, [batch, length, self.width])
        return self.feed_forward(mean, training=training)


class ConvolutionEncoder(tf.keras.layers.Layer):
    """Causal convolutions whose reach triples with each layer."""

    def __init__(self, config: RetrievalConfig, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.norms = _norms()
        self.mixes = [
            tf.keras.layers.Dense(config.embedding_dim, activation="gelu")
            for _ in self.norms
        ]
        self.feed_forwards = _feed_forwards(config)
        self.dropout = draws.Dropout(config.dropout)

    def call(
        self, x: tf.Tensor, mask: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Maps `[B, L, D]` and `[B, L]` to `[B, L, D]`."""
        length = tf.shape(x)[1]
        present = tf.cast(mask, x.dtype)[..., tf.newaxis]
        layers = zip(self.norms, self.mixes, self.feed_forwards, strict=True)
        for layer, (norm, mix, feed_forward) in enumerate(layers):
            # Padding is zeroed again in front of each layer: norms and biases
            # would otherwise let it be told from the start of a sequence.
            normed = norm(x) * present
            # Slices of a padded copy instead of a dilated convolution, which
            # TensorFlow runs several times slower on a CPU.
            step = _KERNEL**layer
            reach = (_KERNEL - 1) * step
            padded = tf.pad(normed, [[0, 0], [reach, 0], [0, 0]])
            taps = [
                padded[:, tap * step : tap * step + length]
                for tap in range(_KERNEL)
            ]
            mixed = mix(tf.concat(taps, axis=-1))
            x += self.dropout(mixed, training=training)
            x = feed_forward(x, training=training)
        return x


class RecurrentEncoder(tf.keras.layers.Layer):
    """Stacked GRUs, without state between calls."""

    def __init__(self, config: RetrievalConfig, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.norms = _norms()
        self.cells = [
            tf.keras.layers.GRU(config.embedding_dim, return_sequences=True)
            for _ in self.norms
        ]
        self.dropout = draws.Dropout(config.dropout)

    def call(
        self, x: tf.Tensor, mask: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Maps `[B, L, D]` and `[B, L]` to `[B, L, D]`."""
        for norm, cell in zip(self.norms, self.cells, strict=True):
            # The mask keeps the state at its start while padding passes.
            x += self.dropout(cell(norm(x), mask=mask), training=training)
        return x


class AttentionEncoder(tf.keras.layers.Layer):
    """Causal self-attention, pre-norm, with learned biases by distance."""

    def __init__(self, config: RetrievalConfig, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.attentions = [
            _Attention(config, name=f"attention_{layer}")
            for layer in range(_NUM_LAYERS)
        ]
        self.feed_forwards = _feed_forwards(config)

    def call(
        self, x: tf.Tensor, mask: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Maps `[B, L, D]` and `[B, L]` to `[B, L, D]`."""
        layers = zip(self.attentions, self.feed_forwards, strict=True)
        for attention, feed_forward in layers:
            x = attention(x, mask, training=training)
            x = feed_forward(x, training=training)
        return x


class _Attention(tf.keras.layers.Layer):
    """One pre-norm residual block of causal multi-head attention."""

    def __init__(self, config: RetrievalConfig, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.width = config.embedding_dim
        self.num_heads = config.num_heads
        self.reach = config.history_length
        self.norm = tf.keras.layers.LayerNormalization(epsilon=1e-6)
        self.project = tf.keras.layers.Dense(3 * self.width, use_bias=False)
        self.outer = tf.keras.layers.Dense(self.width)
        self.dropout = draws.Dropout(config.dropout)

    def build(self, input_shape: tf.TensorShape) -> None:
        """Makes one bias a head and distance, up to the history's length."""
        # They start as a decay (ALiBi, https://arxiv.org/abs/2108.12409):
        # small data do not suffice to find out that what is recent counts.
        rates = _decay_rates(self.num_heads)
        self.distance_bias = self.add_weight(
            name="distance_bias",
            shape=[self.num_heads, self.reach],
            initializer=tf.keras.initializers.Constant(
                -np.outer(rates, np.arange(self.reach))
            ),
        )
        super().build(input_shape)

    def call(
        self, x: tf.Tensor, mask: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Maps `[B, L, D]` and `[B, L]` to `[B, L, D]`."""
        batch, length = tf.shape(x)[0], tf.shape(x)[1]
        depth = self.width // self.num_heads
        projected = tf.reshape(
            self.project(self.norm(x)),
            [batch, length, 3, self.num_heads, depth],
        )
        query, key, value = tf.unstack(
            tf.transpose(projected, [2, 0, 3, 1, 4]), num=3
        )
        logits = tf.matmul(query * depth**-0.5, key, transpose_b=True)
        distance, causal = _distances(length)
        logits += tf.gather(
            self.distance_bias, tf.minimum(distance, self.reach - 1), axis=1
        )
        # A padded position sees nothing; a finite mask keeps it a number.
        visible = causal & mask[:, tf.newaxis, tf.newaxis, :]
        weights = tf.nn.softmax(tf.where(visible, logits, _MASKED))
        mixed = tf.matmul(weights, value)
        mixed = tf.reshape(
            tf.transpose(mixed, [0, 2, 1, 3]), [batch, length, self.width]
        )
        return x + self.dropout(self.outer(mixed), training=training)


def _decay_rates(num_heads: int) -> np.ndarray:
    """A rate a position and head: almost 0, then half-lives of 8, 4, 2, 1..."""
    # Below one item a head would see nothing but the newest.
    powers = np.maximum(4 - np.arange(1, num_heads), 0)
    return np.concatenate([[1e-3], np.log(2) / 2.0**powers])


def _distances(length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Positions back from each to each `[L, L]`, and which are not ahead."""
    positions = tf.range(length)
    ahead = positions[:, tf.newaxis] - positions[tf.newaxis, :]
    return tf.maximum(ahead, 0), ahead >= 0
