"""The recommendation model of TensorFlow's on-device toolkit, rebuilt.

What tensorflow/examples (lite/examples/recommendation) trains, by its
documented settings: a mean of history embeddings, ReLU layers of 32, 32 and D,
and a second item table for the output. It is here to be compared with.
"""

import numpy as np
import tensorflow as tf

from models.student_config import StudentConfig
from pipeline.ondevice.convert import converter_of


class Toolkit(tf.keras.Model):
    """Histories of 10 to scores, with two item tables.

    Args:
        num_rows: V, padding and unknown included.
        embedding_dim: D.
        epochs: Of its training.
    """

    def __init__(
        self, num_rows: int, embedding_dim: int = 16, epochs: int = 1
    ) -> None:
        super().__init__()
        self.num_rows = num_rows
        # Its file does not hide the history.
        self.repeats = True
        self.config = StudentConfig(
            embedding_dim=embedding_dim,
            history_length=10,
            num_recommendations=10,
            epochs=epochs,
        )
        shape = [num_rows, embedding_dim]
        self._input = self.add_weight(
            name="input", shape=shape, initializer="uniform"
        )
        self._output = self.add_weight(
            name="output", shape=shape, initializer="uniform"
        )
        self._stack = [
            tf.keras.layers.Dense(units, "relu")
            for units in (32, 32, embedding_dim)
        ]
        self(np.zeros([1, self.config.history_length], np.int32))

    def call(self, history: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Scores `[B, V]` of int32 `[B, L]` histories."""
        del training
        mask = tf.cast(tf.not_equal(history, 0), tf.float32)[..., None]
        total = tf.reduce_sum(tf.gather(self._input, history) * mask, axis=1)
        state = total / (tf.reduce_sum(mask, axis=1) + 1e-6)
        for layer in self._stack:
            state = layer(state)
        return tf.matmul(state, self._output, transpose_b=True)

    def convert(self) -> bytes:
        """The .tflite file, in float32 as the toolkit exports it."""

        @tf.function(
            input_signature=[
                tf.TensorSpec(
                    [self.config.history_length], tf.int32, name="history"
                )
            ]
        )
        def serve(history: tf.Tensor) -> dict[str, tf.Tensor]:
            scores = tf.sigmoid(self(history[None])[0])
            best, ids = tf.math.top_k(scores, self.config.num_recommendations)
            return {"ids": ids, "scores": best}

        return bytes(converter_of(self, serve, "float32").convert())
