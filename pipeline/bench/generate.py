"""Interaction logs of any size, for measuring and for parity tests.

Fast and seeded: activity of users and popularity of items have long tails,
users keep to a neighbourhood of items, visits spread over three years. For a
sample with a known best score see `sources.synthetic`.

Leaves: a folder of Parquet shards (user_id, item_id, timestamp, rating).
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SHARD_ROWS = 5_000_000
BLOCK_ROWS = 1_000_000
START = 1_546_300_800  # 2019-01-01
SPAN_SECONDS = 3 * 365 * 86_400
_SCHEMA = pa.schema(
    {
        "user_id": pa.int64(),
        "item_id": pa.int64(),
        "timestamp": pa.int64(),
        "rating": pa.float32(),
    }
)


def write(
    directory: Path,
    interactions: int,
    seed: int,
    num_items: int | None = None,
) -> Path:
    """Writes a generated log into `directory`, which it returns.

    There is a user to 150 interactions, and unless `num_items` says otherwise
    20,000 items to a million of them, growing with the square root. The same
    seed gives the same rows. Shards of a larger log that was there go.
    """
    num_users = max(100, interactions // 150)
    num_items = num_items or max(100, int(20 * interactions**0.5))
    directory.mkdir(parents=True, exist_ok=True)
    written = set()
    for shard, first in enumerate(range(0, interactions, SHARD_ROWS)):
        left = min(SHARD_ROWS, interactions - first)
        path = directory / f"part-{shard:05d}.parquet"
        written.add(path)
        with pq.ParquetWriter(path, _SCHEMA) as writer:
            for block in range(0, left, BLOCK_ROWS):
                rng = np.random.default_rng([seed, shard, block])
                rows = min(BLOCK_ROWS, left - block)
                writer.write_table(_block(rows, num_users, num_items, rng))
    for path in set(directory.glob("part-?????.parquet")) - written:
        path.unlink()
    return directory


def _block(
    rows: int, num_users: int, num_items: int, rng: np.random.Generator
) -> pa.Table:
    # A power of a uniform draw has a long tail and costs one pass.
    users = (num_users * rng.random(rows) ** 1.6).astype(np.int64)
    popular = (num_items * rng.random(rows) ** 3.0).astype(np.int64)
    # Knuth's constant scatters neighbouring users over the catalogue.
    home = (users * 2_654_435_761) % num_items
    near = (home + (50 * rng.random(rows) ** 2).astype(np.int64)) % num_items
    items = np.where(rng.random(rows) < 0.4, near, popular)
    times = START + (SPAN_SECONDS * rng.random(rows)).astype(np.int64)
    ratings = rng.integers(1, 6, rows).astype(np.float32)
    return pa.table([users, items, times, ratings], schema=_SCHEMA)
