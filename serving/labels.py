"""Labels of versions while a release is on trial, and who may ask by which.

The version on trial has the label `canary`, the live one `stable`. Users fall
by a hash of their id into a hundred buckets, always the same one; a trial for 5
percent of them has the labels `canary-1` to `canary-5` as well. A hash that
every language has: anybody's client can do the same.
"""

import hashlib

STABLE = "stable"
CANARY = "canary"
BUCKETS = 100


def bucket(user_id: str) -> int:
    """Where a user falls, from 1 to `BUCKETS`, by SHA-256 of the id."""
    # Ids that an answer could not decode come back with surrogates.
    digest = hashlib.sha256(user_id.encode("utf-8", "surrogateescape")).digest()
    return 1 + int.from_bytes(digest[:8], "big") % BUCKETS


def of_bucket(number: int) -> str:
    """The label that lets a bucket ask the canary."""
    return f"{CANARY}-{number}"


def of_trial(live: int, canary: int, share: int) -> dict[str, int]:
    """Versions by label while `share` percent of users try one of them."""
    tried = (CANARY, *map(of_bucket, range(1, share + 1)))
    return {STABLE: live, **dict.fromkeys(tried, canary)}
