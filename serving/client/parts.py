"""A batch in parts, so that one long list does not widen every row.

A request is a rectangle: every history is padded to the longest of the batch.
One user with 10,000 items among 500 would make five million cells, which the
client writes, the network carries and the model compares with its candidates.
A batch whose rectangle is larger than `MOST_CELLS` is therefore asked in
several calls, rows of like length together. A row's answer does not depend on
the rows beside it, so the answers are the same.
"""

from collections.abc import Awaitable, Callable, Sequence, Sized
from typing import TypeVar

from serving import ids
from serving.client.query import Query

Row = TypeVar("Row")
Answer = TypeVar("Answer")

# A quarter of a million ids: about 2 MB on the wire.
MOST_CELLS = 2**18


def widths(query: Query, candidates: Sequence[str] = ()) -> tuple[int, ...]:
    """Returns how wide a query's lists are, each at least 1."""
    lists = [
        value
        for value in query.features.values()
        if ids.is_listed(value) and isinstance(value, Sized)
    ]
    return (
        max(1, len(query.history)),
        max(1, len(query.excluded_ids)),
        max(1, len(candidates)),
        max(1, sum(map(len, lists))),
        max(1, sum(map(len, query.filters.values()))),
    )


def split(rows: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Groups rows, of which widths are given, to at most `MOST_CELLS` cells.

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


async def ask(
    rows: Sequence[Row],
    width: Callable[[Row], tuple[int, ...]],
    question: Callable[[list[Row]], Awaitable[Sequence[Answer]]],
) -> list[Answer]:
    """Asks one question a part; returns the answers in the rows' order.

    `width` is of a row, as `widths` gives it.
    """
    found: dict[int, Answer] = {}
    for part in split([width(row) for row in rows]):
        answers = await question([rows[index] for index in part])
        found.update(zip(part, answers, strict=True))
    return [found[index] for index in range(len(rows))]
