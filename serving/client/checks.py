"""What a question must be before it becomes a call: one rule, both clients."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

from serving import ids
from serving.client.query import Query
from serving.errors import ServingError


def rows(queries: Query | Sequence[Query]) -> tuple[list[Query], bool]:
    """Returns the queries as a list and whether there was just one.

    Raises:
        ServingError: If something else is among them.
    """
    if isinstance(queries, Query):
        return [queries], True
    listed = ids.is_listed(queries)
    found: list[Any] = list(queries) if listed else [queries]
    for query in found:
        if not isinstance(query, Query):
            raise ServingError(
                "A query must be a serving.client.Query. Received: "
                f"{query!r}. Write Query(user_id=..., history=[...]).",
                "INVALID_ARGUMENT",
            )
    return found, False


def candidates(
    given: Any, queries: Sequence[Query], one: bool
) -> list[tuple[str, ...]]:
    """Returns the candidates as one list of ids a query.

    Args:
        given: Ids where there is one query, a list of ids a query otherwise.
        queries: Already checked.
        one: As `rows` said.

    Raises:
        ServingError: If they are something else or not one list a query.
    """
    if one:
        return [ids.several(given, "candidate_ids")]
    lists = given if ids.is_listed(given) else [given]
    found = [
        ids.several(row, f"candidate_ids[{i}]") for i, row in enumerate(lists)
    ]
    if len(found) != len(queries):
        raise ServingError(
            "Every query must come with its own candidates. Received: "
            f"{len(queries)} queries and {len(found)} lists (from "
            "candidate_ids). Give one list a query.",
            "INVALID_ARGUMENT",
        )
    return found


def length(k: int | None, optional: bool = False) -> None:
    """Refuses what is not the length of a list.

    Args:
        k: Items wanted.
        optional: Whether None stands for all there are.

    Raises:
        ServingError: If `k` is not a whole number of at least 1.
    """
    if k is None and optional:
        return
    whole(k, "k", 1, "Give the number of items wanted.")


def whole(value: Any, name: str, least: int, advice: str) -> None:
    """Refuses what is not a whole number; NumPy's are, True and 2.0 are not.

    Raises:
        ServingError: If it is something else or below `least`.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, Integral)
        or not least <= int(value) < 2**63
    ):
        raise ServingError(
            f"`{name}` must be a whole number of at least {least}. Received: "
            f"{value!r}. {advice}",
            "INVALID_ARGUMENT",
        )
