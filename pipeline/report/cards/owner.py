"""What only the owner of a model can say, read from a file beside the config.

The cards are written again with every run, so the owner's words stand in a
file of their own: `orders.card.md` beside `orders.toml`, with a line
`## Intended use` (any section of a card) before each of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.report.document import Block

SUFFIX = ".card.md"


@dataclass(frozen=True)
class Owner:
    """The owner's words.

    Attributes:
        path: Of the file, which need not be there.
        texts: Paragraphs by heading, in small letters.
    """

    path: Path
    texts: Mapping[str, Sequence[str]]

    @classmethod
    def read(cls, config: Path) -> Owner:
        """Reads the file beside a config."""
        path = config.with_name(config.stem + SUFFIX)
        text = path.read_text("utf-8") if path.exists() else ""
        _, *rest = re.split(r"^##[ \t]+(.+)$", text, flags=re.M)
        return cls(
            path,
            {
                heading.strip().lower(): _paragraphs(words)
                for heading, words in zip(rest[::2], rest[1::2], strict=True)
            },
        )

    def says(self, heading: str, question: str) -> list[Block]:
        """The owner's paragraphs, or a mark that they are missing."""
        found = self.texts.get(heading.lower())
        if found:
            return list(found)
        return [
            f"To be filled in by the owner: {question} (Write it under "
            f"“## {heading}” in {self.path.name}, beside the config.)"
        ]

    def unused(self, known: Sequence[str]) -> list[str]:
        """A sentence on each heading that no card has."""
        names = {name.lower() for name in known}
        return [
            f"{self.path.name} has a heading “{heading}” that is no section "
            f"of a card. Sections are: {', '.join(known)}."
            for heading in self.texts
            if heading not in names
        ]


def _paragraphs(text: str) -> list[str]:
    found = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
    return [part for part in found if part]
