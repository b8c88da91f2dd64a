"""Lists for a few users, every model's beside the others."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.evaluate.examples import Example
from pipeline.report.document import Cell, Fold, Hit, Section, Table
from pipeline.report.found import Run

# What is a variant of another column, or nothing to look at.
_NOT_SHOWN = ("random", "retrieval_exact", "student_undistilled")
_FIRST = ("retrieval", "two_stage", "live", "student")


def people(run: Run) -> Section:
    """Users from the shortest history to the longest."""
    if not run.examples:
        return Section("Ten users")
    return Section(
        "Ten users",
        "From the shortest history to the longest. ✓ marks what the user "
        "really took next; histories begin with the latest item.",
        [
            Fold(_summary(example), [_table(example)], place == 0)
            for place, example in enumerate(run.examples)
        ],
    )


def _summary(example: Example) -> str:
    took = ", ".join(example.targets) or "nothing of the catalogue"
    return f"User {example.user}: {example.length:,} before, then {took}"


def _table(example: Example) -> Table:
    names = [name for name in _FIRST if name in example.lists]
    names += [name for name in example.lists if name not in _FIRST + _NOT_SHOWN]
    lists = {name: example.lists[name] for name in names}
    wanted = set(example.targets)
    longest = max(map(len, lists.values()), default=0)
    rows = [
        [
            str(place + 1),
            _at(example.history, place),
            *(_cell(_at(titles, place), wanted) for titles in lists.values()),
        ]
        for place in range(longest)
    ]
    return Table(
        f"The history of user {example.user} and every model's list",
        ("", "history", *(name.replace("_", " ") for name in lists)),
        rows,
        num_texts=2 + len(lists),
    )


def _at(titles: Sequence[str], place: int) -> str:
    return titles[place] if place < len(titles) else ""


def _cell(title: str, wanted: set[str]) -> Cell:
    return Hit(title) if title in wanted else title
