"""The section of a config that says how to read somebody's files."""

from dataclasses import dataclass, field
from typing import Any

from pipeline.run import toml
from pipeline.run.data import TabularSource

_ALWAYS = ("kind", "path", "user_id", "item_id", "timestamp")


@dataclass
class Section:
    """Options of a source, as guessed, and what is to be said about them.

    Attributes:
        options: Of a `Source`.
        beside: Comment behind an option.
        above: Comment lines before an option.
        below: Comment lines at the end of the section.
        top: Comment lines at the head of the config.
        doubts: What may well be wrong, a sentence each.
        problem: Why the data cannot be used as guessed.
        min_rating: Lowest rating that is one; 0 for any.
    """

    options: dict[str, Any]
    beside: dict[str, str] = field(default_factory=dict)
    above: dict[str, list[str]] = field(default_factory=dict)
    below: list[str] = field(default_factory=list)
    top: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    problem: str = ""
    min_rating: float = 0.0

    def name(self, key: str, best: str, second: str) -> None:
        """Names the column of an option, the runner-up beside it."""
        self.options[key] = best
        self.beside[key] = f"or: {second}" if second else ""

    def lines(self) -> list[str]:
        """The section as TOML; what is as by default goes without saying."""
        lines = []
        usual = TabularSource(path=self.options["path"])
        for key, value in self.options.items():
            if value == getattr(usual, key) and key not in _ALWAYS:
                continue
            lines += [f"# {line}" for line in self.above.get(key, [])]
            note = f"  # {self.beside[key]}" if self.beside.get(key) else ""
            lines.append(f"{key} = {toml.value(value)}{note}")
        return lines + [f"# {line}" for line in self.below]
