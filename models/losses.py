"""Losses of retrieval as functions of logits.

Each returns one value a row, so that the caller weighs and averages. Retrieval
wants the target above all other items; the softmax over sampled negatives
estimates the one over the catalogue, and logQ takes out how often an item is
drawn (https://research.google/pubs/pub48840/).

Shape letters: P queries, K candidates, N catalogue rows, C list length.
"""

import tensorflow as tf

# Far below any logit, yet sums of several stay finite in float32.
MASKED_LOGIT = -1e30


def sampled_softmax(
    positive_logits: tf.Tensor,
    negative_logits: tf.Tensor,
    targets: tf.Tensor,
    negatives: tf.Tensor,
    target_probabilities: tf.Tensor,
    negative_probabilities: tf.Tensor,
) -> tf.Tensor:
    """Cross-entropy `[P]` against negatives shared by all queries.

    With the batch's own targets as negatives this is the in-batch softmax; the
    mask of accidental hits then also takes each query's own target out.

    Args:
        positive_logits: `[P]`.
        negative_logits: `[P, K]`.
        targets: int `[P]` item indices.
        negatives: int `[K]` item indices, repeats allowed.
        target_probabilities: `[P]` chance of each target to be drawn as a
            negative, a probability and not a count.
        negative_probabilities: `[K]`, the same of the negatives.
    """
    positive_logits -= _log(target_probabilities)
    negative_logits -= _log(negative_probabilities)
    hits = targets[:, tf.newaxis] == negatives[tf.newaxis, :]
    negative_logits = tf.where(hits, MASKED_LOGIT, negative_logits)
    logits = tf.concat([positive_logits[:, tf.newaxis], negative_logits], 1)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(
        tf.zeros_like(targets), logits
    )


def mixture_probabilities(
    probabilities: tf.Tensor,
    num_in_batch: int | tf.Tensor,
    num_uniform: int,
    num_items: int,
    num_mined: int = 0,
    mined: tf.Tensor | float = 0.0,
) -> tf.Tensor:
    """Chance of an item to be a given slot of mixed negatives.

    Args:
        probabilities: Share of the item among the training targets.
        num_in_batch: Slots filled with targets of the batch.
        num_uniform: Slots filled uniformly from the catalogue.
        num_mined: Slots filled with neighbours of targets.
        mined: Chance of the item to be such a neighbour.
    """
    in_batch = tf.cast(num_in_batch, tf.float32)
    total = in_batch + float(num_uniform) + float(num_mined)
    uniform = float(num_uniform) / float(num_items)
    expected = in_batch * probabilities + uniform + float(num_mined) * mined
    return expected / total


def _log(probabilities: tf.Tensor) -> tf.Tensor:
    """Logarithm that stays finite at 0 and is exact for any real share."""
    return tf.math.log(tf.maximum(probabilities, 1e-30))
