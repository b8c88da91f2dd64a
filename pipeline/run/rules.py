"""What a decision rests on: rules, each with its value, threshold, outcome.

The checks of the data and the gate of a release write theirs with this, so
that `data_checks.json` and `decision.json` are read alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Outcome: TypeAlias = Literal["holds", "broken", "not judged"]


@dataclass(frozen=True)
class Rule:
    """One rule and what came of it.

    Attributes:
        name: What was looked at.
        words: What was found, in a sentence; what to do where it is broken.
        outcome: "not judged" is told and decides nothing.
        value: What was measured.
        threshold: What it was held against.
    """

    name: str
    words: str
    outcome: Outcome = "not judged"
    value: float | None = None
    threshold: float | None = None

    @classmethod
    def of(
        cls,
        name: str,
        holds: bool,
        words: str,
        value: float | None = None,
        threshold: float | None = None,
    ) -> Rule:
        """A rule that was judged; figures are kept to six digits."""
        value, threshold = (
            None if figure is None else float(f"{figure:.6g}")
            for figure in (value, threshold)
        )
        outcome: Outcome = "holds" if holds else "broken"
        return cls(name, words, outcome, value, threshold)


def broken(rules: Iterable[Rule]) -> list[str]:
    """The words of the rules that are broken."""
    return [rule.words for rule in rules if rule.outcome == "broken"]


def plain(rules: Iterable[Rule]) -> list[dict[str, object]]:
    """Rules as they stand in a file."""
    return [dataclasses.asdict(rule) for rule in rules]
