"""What the copies of a model in a distributed training tell each other.

In a training with one copy every function returns what it was given, and the
graph is the same as without them.
"""

import tensorflow as tf


def count() -> int:
    """Copies that train together, on this machine and others."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def gathered(values: tf.Tensor) -> tf.Tensor:
    """Rows `[n, ...]` of all copies, in one order everywhere."""
    if count() == 1:
        return values
    # What comes from a dataset has no device yet, and gathering asks for it.
    values = tf.identity(values)
    return tf.distribute.get_replica_context().all_gather(values, axis=0)


def total(value: tf.Tensor) -> tf.Tensor:
    """Sum of a value over all copies."""
    if count() == 1:
        return value
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)
