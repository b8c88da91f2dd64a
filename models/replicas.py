"""What the copies of a model in a distributed training tell each other.

In a training with one copy every function returns what it was given, and the
graph is the same as without them.
"""

import tensorflow as tf


def count() -> int:
    """Copies that train together, on this machine and others."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def gathered(indices: tf.Tensor) -> tf.Tensor:
    """Indices `[n]` of all copies, in one order everywhere."""
    if count() == 1:
        return indices
    # The cast also gives what comes from a dataset a device, which gathering
    # asks for; GPUs keep 32-bit integers in the memory of the host.
    wide = tf.cast(indices, tf.int64)
    found = tf.distribute.get_replica_context().all_gather(wide, axis=0)
    return tf.cast(found, indices.dtype)


def total(value: tf.Tensor) -> tf.Tensor:
    """Sum of a value over all copies."""
    if count() == 1:
        return value
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)
