"""Maximal marginal relevance: lists whose items differ from each other.

J. Carbonell, J. Goldstein: The use of MMR, diversity-based reranking for
reordering documents and producing summaries, SIGIR 1998.

Shape letters: B queries, C candidates, D width of their vectors.
"""

import tensorflow as tf

_TAKEN = -1e9
_HIDDEN = -1e6


def diversify(
    scores: tf.Tensor,
    valid: tf.Tensor,
    vectors: tf.Tensor,
    diversity: tf.Tensor,
    n: int,
) -> tf.Tensor:
    """Picks n candidates, each relevant and unlike those picked before.

    A pick has the largest `(1 - diversity) * relevance - diversity *
    similarity`: relevance is the score scaled to 0..1 within its list,
    similarity the largest cosine with what was picked. A diversity of 0 keeps
    the order of the scores.

    Args:
        valid: bool `[B, C]`, false for padding, which is picked last.
        vectors: float32 `[B, C, D]`.
        diversity: float32 `[B]`, clipped to 0..1.

    Returns:
        int32 `[B, n]`, positions in the order picked.
    """
    low = tf.reduce_min(tf.where(valid, scores, tf.float32.max), axis=1)
    high = tf.reduce_max(tf.where(valid, scores, tf.float32.min), axis=1)
    relevance = tf.math.divide_no_nan(
        scores - low[:, tf.newaxis], (high - low)[:, tf.newaxis]
    )
    relevance = tf.where(valid, relevance, 0.0)
    vectors = tf.math.l2_normalize(vectors, axis=-1)
    weight = tf.clip_by_value(diversity, 0.0, 1.0)[:, tf.newaxis]
    batch, count = tf.shape(scores)[0], tf.shape(scores)[1]

    def pick(
        step: tf.Tensor, similar: tf.Tensor, behind: tf.Tensor, picks: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        value = (1.0 - weight) * relevance - weight * similar + behind
        best = tf.argmax(value, axis=1, output_type=tf.int32)
        chosen = tf.gather(vectors, best, batch_dims=1)
        cosine = tf.einsum("bcd,bd->bc", vectors, chosen)
        # The first pick sets the similarities, later ones raise them.
        similar = tf.where(step == 0, cosine, tf.maximum(similar, cosine))
        behind += tf.one_hot(best, count, on_value=_TAKEN)
        return step + 1, similar, behind, picks.write(step, best)

    blank = tf.zeros([batch, count])
    # Whatever the diversity: a weight of 0 would forgive a poor relevance.
    behind = tf.where(valid, blank, _HIDDEN)
    _, _, _, picks = tf.while_loop(
        lambda step, *_: step < n,
        pick,
        (tf.constant(0), blank, behind, tf.TensorArray(tf.int32, n)),
    )
    return tf.ensure_shape(tf.transpose(picks.stack()), [scores.shape[0], n])
