"""Popular items for the moment when no model answers.

A small list that the application carries: JSON (a list of ids, or of objects
with `item_id`) or text with one id a line, most popular first.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from serving import ids
from serving.client.query import Query
from serving.errors import InvalidRequest


def read(source: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Takes the list as it is, or reads it from a file."""
    if not isinstance(source, str | Path):
        return ids.several(source, "popular")
    try:
        text = Path(source).read_text(encoding="utf-8")
        if text.lstrip().startswith("["):
            found = [
                row["item_id"] if isinstance(row, dict) else row
                for row in json.loads(text)
            ]
        else:
            found = [line.split("\t")[0] for line in text.splitlines()]
        if not all(isinstance(item, str) for item in found):
            raise ValueError("an id is not a string")
    except (OSError, ValueError, KeyError) as error:
        raise InvalidRequest(
            "A fallback list must hold item ids: a JSON list, or one a line. "
            f"Received: {str(source)!r} ({error}). Write it from the items "
            "by popularity."
        ) from error
    return tuple(item for item in found if item)


def choose(popular: Sequence[str], query: Query, k: int) -> tuple[str, ...]:
    """Returns the most popular items that a query has not seen.

    None where it filters: what an item has is not known here.
    """
    if query.filters:
        return ()
    hidden = {*query.history, *query.excluded_ids}
    kept = [item for item in popular if item not in hidden]
    return tuple(kept[:k])
