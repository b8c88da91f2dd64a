"""A batch in parts, so that one long list does not widen every row.

A request is a rectangle: every history is padded to the longest of the batch.
One user with 10,000 items among 500 would make five million cells, which the
client writes, the network carries and the model compares with its candidates.
A batch whose rectangle is larger than `MOST_CELLS` is therefore asked in
several calls, rows of like length together. A row's answer does not depend on
the rows beside it, so the answers are the same.
"""

from collections.abc import Callable, Sequence
from typing import Any

from serving.client import calls
from serving.client.query import Query

# A quarter of a million ids: about 2 MB on the wire.
MOST_CELLS = 2**18


def widths(query: Query, candidates: Sequence[str] = ()) -> tuple[int, ...]:
    """Returns how wide a query's lists are, each at least 1."""
    lists = [
        value
        for value in query.features.values()
        if hasattr(value, "__len__") and not isinstance(value, str | bytes)
    ]
    return (
        max(1, len(query.history)),
        max(1, len(query.excluded_ids)),
        max(1, len(candidates)),
        max(1, sum(map(_length, lists))),
    )


def _length(value: Any) -> int:
    return len(value) if getattr(value, "ndim", 1) else 1


def split(rows: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Groups rows into rectangles of at most `MOST_CELLS`.

    Args:
        rows: Widths a row, as `widths` gives them.

    Returns:
        Row numbers a group, ascending; a row too wide for any group is alone.
    """
    groups: list[list[int]] = []
    widest: tuple[int, ...] = ()
    for index in sorted(range(len(rows)), key=lambda i: (sum(rows[i]), i)):
        wider = tuple(map(max, widest, rows[index])) if widest else rows[index]
        if groups and (len(groups[-1]) + 1) * sum(wider) <= MOST_CELLS:
            groups[-1].append(index)
            widest = wider
        else:
            groups.append([index])
            widest = rows[index]
    return [sorted(group) for group in groups]


def plan(
    rows: Sequence[tuple[int, ...]],
    ask: Callable[[Sequence[int]], calls.Plan],
) -> calls.Plan:
    """Plans one question a part; returns the answers in the rows' order.

    Args:
        rows: Widths a row.
        ask: Plans the question of some row numbers.
    """
    found: dict[int, Any] = {}
    for part in split(rows):
        answers = yield from ask(part)
        found.update(zip(part, answers, strict=True))
    return [found[index] for index in range(len(rows))]
