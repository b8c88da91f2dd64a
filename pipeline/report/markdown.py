"""The report as Markdown: everything but the pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pipeline.report.document import (
    Block,
    Cell,
    Code,
    Document,
    Facts,
    Figure,
    Fold,
    Hit,
    Notes,
    Table,
)

# Inside a line these would be read as marks, HTML or a column's end.
_SPECIAL = re.compile(r"([\\`*_\[\]<>|&#~])")


def write(document: Document) -> str:
    """The whole text."""
    lines = [f"# {_plain(document.title)}", ""]
    if document.verdict:
        lines += [f"**{_plain(document.verdict)}**", ""]
    lines += [f"- {_plain(reason)}" for reason in document.reasons]
    lines += ["", _plain(" · ".join(document.about)), ""]
    for section in document.sections:
        lines += [f"## {_plain(section.title)}", ""]
        if section.lead:
            lines += [_plain(section.lead), ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, Fold):
        yield f"### {_plain(block.summary)}"
        for inner in block.blocks:
            yield ""
            yield from _block(inner)
    elif isinstance(block, Figure):
        yield f"*{_plain(block.title)}*: {_plain(block.alt)}"
    elif isinstance(block, Facts):
        for label, value, note in block.facts:
            bold = f"- {_plain(label)}: **{_plain(value)}**"
            yield f"{bold} {_plain(note)}".rstrip()
    elif isinstance(block, Notes):
        yield from (f"- {_plain(text)}" for text in block.sentences)
    elif isinstance(block, Code):
        # A fence longer than any in the text.
        longest = max(map(len, re.findall(r"`+", block.text)), default=0)
        fence = "`" * max(3, longest + 1)
        yield from (f"{fence}{block.language}", block.text, fence)
    else:
        yield _plain(block)


def _table(table: Table) -> Iterator[str]:
    rules = ["---"] * table.num_texts
    rules += ["---:"] * (len(table.columns) - table.num_texts)
    yield f"{_plain(table.caption)}:"
    yield ""
    yield _row([_plain(name) for name in table.columns])
    yield _row(rules)
    for row in table.rows:
        is_ours = bool(table.ours) and row[0] == table.ours
        yield _row([_cell(cell, is_ours) for cell in row])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell, is_ours: bool) -> str:
    if isinstance(cell, Hit):
        return f"**{_plain(cell.text)}** ✓"
    return f"**{_plain(cell)}**" if is_ours else _plain(cell)


def _plain(text: str) -> str:
    """Text whose every letter is only a letter, in one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
