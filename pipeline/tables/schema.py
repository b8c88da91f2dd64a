"""Names and errors of the data side; no heavy imports.

A source turns whatever it reads into the canonical tables:

    interactions(user_id, item_id, timestamp, rating?, weight?, context...)
    items(item_id, title?, features...)    users(user_id, features...)

Ids are strings, `timestamp` is int64 seconds since the epoch, UTC, `rating`
and `weight` are float32, numeric features float64, multi-valued features lists
of strings, all other features strings. `title` is text that is displayed;
declared as a feature it is encoded too.
"""

import datetime

TRAIN, VALIDATION, TEST = 0, 1, 2
PARTS = ("train", "validation", "test")

# Smaller timestamps, in seconds (1973), are positions or counters.
FIRST_MOMENT = 10**8


class DataError(ValueError):
    """Input that cannot be turned into prepared tables."""


class DataRefused(DataError):
    """The data differ too much from those of the live version.

    Attributes:
        reasons: One sentence each.
    """

    def __init__(self, *reasons: str) -> None:
        self.reasons = reasons
        super().__init__("\n".join(reasons))


def epoch_seconds(date: str) -> int | None:
    """Seconds since the epoch of an ISO date, UTC where unnamed; else None."""
    try:
        moment = datetime.datetime.fromisoformat(date.replace("Z", "+00:00"))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp() // 1)


def iso(timestamp: int) -> str:
    """Writes seconds since the epoch the way people read them, UTC.

    Before 1973 they are no times but positions, written as they are.
    """
    if abs(timestamp) < FIRST_MOMENT:
        return f"position {timestamp:,}"
    moment = datetime.datetime.fromtimestamp(timestamp, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S")
