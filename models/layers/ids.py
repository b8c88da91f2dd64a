"""Embedding tables of ids: a row an id, or several hashed rows an id.

Where there are more ids than a table may have rows, the ids in its first half
(the most frequent ones, as vocabularies are ordered) keep rows of their own;
each other id is the sum of a few rows of the second half that its hashes
choose. Two ids meet in one of their rows often, in all of them seldom, so
they can still be told apart.
"""

from collections.abc import Iterator

import tensorflow as tf

from models.config import RetrievalConfig, at_most

# Linear congruences modulo a prime; fixed, since trained rows depend on them.
_PRIME = 2**31 - 1
_HASHES = (
    (1_103_515_245, 12_345),
    (1_597_334_677, 1_013_904_223),
)


def num_rows(count: int, config: RetrievalConfig) -> int:
    """Rows of the table of `count` ids."""
    return min(count, at_most(config.max_id_rows))


def embed(
    table: tf.Tensor, indices: tf.Tensor, count: int, config: RetrievalConfig
) -> tf.Tensor:
    """Vectors of ids.

    Args:
        table: `[num_rows, W]`.
        indices: int `[...]`, below `count`.
        count: Ids in all.
        config: Says how many rows there are.
    """
    found = places(indices, count, config)
    if len(found) == 1:
        return tf.gather(table, found[0])
    total = tf.add_n([tf.gather(table, place) for place in found])
    # As long as a row of its own, whichever way a vector is made.
    number, own = len(found), num_rows(count, config) // 2
    scale = tf.where(indices < own, 1.0 / number, number**-0.5)
    return total * scale[..., tf.newaxis]


def rows_of(table: tf.Tensor | tf.Variable, rows: tf.Tensor) -> tf.Tensor:
    """Rows of a table that is also read as a whole.

    A variable that anything gathers from by itself copies itself wherever it
    is read whole from then on; what is read first is no copy.
    """
    return tf.gather(tf.convert_to_tensor(table), rows)


def places(
    indices: tf.Tensor, count: int, config: RetrievalConfig
) -> list[tf.Tensor]:
    """The rows of a table that stand for ids; one list or one a hash."""
    rows = num_rows(count, config)
    if rows == count:
        return [indices]
    own = rows // 2
    return [
        tf.where(
            indices < own,
            indices,
            own + _hashed(indices, hash_, rows - own),
        )
        for hash_ in _HASHES
    ]


def _hashed(indices: tf.Tensor, hash_: tuple[int, int], size: int) -> tf.Tensor:
    """A place below `size` for each index."""
    factor, shift = hash_
    wide = tf.cast(indices, tf.int64) * factor + shift
    return tf.cast(wide % _PRIME % size, indices.dtype)


def describe(
    config: RetrievalConfig, num_items: int, num_users: int
) -> Iterator[str]:
    """What the tables of ids will take, to show before they are made."""
    width = config.embedding_dim
    for name, count, is_used in (
        ("items", num_items, "item" in config.ids),
        ("items of histories", num_items, "history" in config.ids),
        ("users", num_users, "user" in config.ids),
    ):
        if not is_used:
            continue
        rows = num_rows(count, config)
        size = rows * width * 4 / 1e6
        hashed = count - rows // 2 if rows < count else 0
        # Weights, two moments of the optimizer, averages, the best so far.
        yield (
            f"{name}: {count:,} ids, {hashed:,} of them hashed, in {rows:,} "
            f"rows of {width}: {size:,.1f} MB, {5 * size:,.1f} MB in training"
        )
