"""What is asked of the exported models of `tiny_run`."""

from typing import Any

import tensorflow as tf


def inputs_of(history: list[list[bytes]], **more: Any) -> dict[str, tf.Tensor]:
    """A query of strangers, a history each, with other inputs."""
    rows = len(history)
    values = {
        "user_id": tf.constant([b""] * rows),
        "history": tf.constant(history, tf.string, [rows, len(history[0])]),
        "user_age": tf.constant([float("nan")] * rows),
        "user_region": tf.constant([b""] * rows),
    }
    return values | {key: tf.constant(value) for key, value in more.items()}


def retriever(loaded: dict[str, Any], name: str = "retrieval") -> Any:
    """The default signature of a loaded model."""
    return loaded[name].signatures["serving_default"]
