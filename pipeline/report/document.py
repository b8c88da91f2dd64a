"""What a report is made of, before anybody decides how it looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Hit:
    """A cell that stands out: the item that a list was to find."""

    text: str


Cell: TypeAlias = str | Hit


@dataclass(frozen=True)
class Table:
    """Rows under a caption; the first cell of each says what it is about.

    Attributes:
        caption: One sentence.
        columns: Headings.
        rows: As many cells each as there are columns.
        num_texts: Columns of words at the left; figures follow.
        ours: First cell of the row that the report is about.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    num_texts: int = 1
    ours: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture, its title, and what it shows in words."""

    title: str
    alt: str
    svg: str


@dataclass(frozen=True)
class Facts:
    """Figures that stand alone: label, value, and a note or ""."""

    facts: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Notes:
    """Sentences, one below the other."""

    sentences: Sequence[str]


@dataclass(frozen=True)
class Code:
    """Text as it was written."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Fold:
    """Blocks that readers open when they want them."""

    summary: str
    blocks: Sequence[Block]
    is_open: bool = False


Block: TypeAlias = "str | Table | Figure | Facts | Notes | Code | Fold"


def _is_there(block: Block) -> bool:
    """Whether a block has anything to say."""
    match block:
        case Table(rows=inside) | Facts(facts=inside) | Notes(sentences=inside):
            return bool(inside)
        case Fold(blocks=blocks):
            return any(map(_is_there, blocks))
        case Code(text=text):
            return bool(text)
    return bool(block)


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it.

    Attributes:
        title: Also the anchor, in small letters.
        lead: What to look at here, in a sentence.
        blocks: A section without any is left out.
    """

    title: str
    lead: str = ""
    blocks: Sequence[Block] = ()

    def filled(self) -> Section:
        """The section without its empty blocks."""
        there = [block for block in self.blocks if _is_there(block)]
        return Section(self.title, self.lead, there)


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: Of the run.
        state: "accepted", "rejected" or "open".
        verdict: One sentence.
        reasons: Why, where the gate has any.
        about: Short facts on what was measured.
        sections: In order.
    """

    title: str
    state: str
    verdict: str
    reasons: Sequence[str]
    about: Sequence[str]
    sections: Sequence[Section]
