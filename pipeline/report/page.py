"""The report as one HTML file that needs nothing else.

No script and no address: the policy in its head forbids both. Every text is
escaped here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from pathlib import Path

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
    Section,
    Table,
)

_STYLE = Path(__file__).with_name("style.css")
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)
# Columns of a table that leaves room for something beside it.
_NARROW = 4
_STATES = {
    "accepted": "Accepted",
    "rejected": "Rejected",
    "open": "Not judged",
}


def write(document: Document) -> str:
    """The whole page."""
    title = escape(document.title)
    links = "".join(
        f'<li><a href="#{_anchor(section)}">{escape(section.title)}</a></li>'
        for section in document.sections
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}: report</title>
<style>
{_STYLE.read_text("utf-8")}</style>
</head>
<body>
<header>
<p class="kind">Run report</p>
<h1>{title}</h1>
<p class="verdict {document.state}"><strong>{_STATES[document.state]}</strong>
{escape(document.verdict)}</p>
{_list(document.reasons, "reasons")}
{_list(document.about, "about")}
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{"".join(map(_section, document.sections))}
</main>
</body>
</html>
"""


def _section(section: Section) -> str:
    anchor = _anchor(section)
    lead = f'<p class="lead">{escape(section.lead)}</p>' if section.lead else ""
    blocks = "\n".join(map(_block, section.blocks))
    return (
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">\n'
        f'<h2 id="{anchor}-title">{escape(section.title)}</h2>\n'
        f"{lead}\n{blocks}\n</section>\n"
    )


def _anchor(section: Section) -> str:
    return re.sub(r"\W+", "-", section.title.lower())


def _block(block: Block) -> str:
    match block:
        case Table():
            return _table(block)
        case Fold(summary=summary, blocks=blocks):
            state = " open" if block.is_open else ""
            return (
                f"<details{state}><summary>{escape(summary)}</summary>"
                f"{''.join(map(_block, blocks))}</details>"
            )
        case Figure():
            return _figure(block)
        case Facts(facts=facts):
            return f'<dl class="facts">{"".join(map(_fact, facts))}</dl>'
        case Notes(sentences=sentences):
            return _list(sentences, "notes")
        case Code(text=text):
            return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'
    return f"<p>{escape(block)}</p>"


def _figure(figure: Figure) -> str:
    label = escape(f"{figure.title}. {figure.alt}")
    picture = figure.svg.replace(
        "<svg", f'<svg role="img" aria-label="{label}"', 1
    )
    return (
        f"<figure><figcaption><strong>{escape(figure.title)}</strong> "
        f"{escape(figure.alt)}</figcaption>{picture}</figure>"
    )


def _fact(fact: tuple[str, str, str]) -> str:
    label, value, note = map(escape, fact)
    return f"<div><dt>{label}</dt><dd>{value} <small>{note}</small></dd></div>"


def _list(sentences: Iterable[str], kind: str) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in sentences)
    return f'<ul class="{kind}">{lines}</ul>' if lines else ""


def _table(table: Table) -> str:
    texts = ["text"] * table.num_texts
    kinds = texts + [""] * (len(table.columns) - table.num_texts)
    size = "narrow" if len(table.columns) <= _NARROW else "wide"
    head = "".join(
        f'<th scope="col" class="{kind}">{escape(name)}</th>'
        for kind, name in zip(kinds, table.columns, strict=True)
    )
    body = "".join(
        f"<tr{_mark(row[0] == table.ours)}>"
        f'<th scope="row">{_cell(row[0])}</th>'
        + "".join(
            f'<td class="{kind}">{_cell(cell)}</td>'
            for kind, cell in zip(kinds[1:], row[1:], strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    caption = escape(table.caption)
    # Wide tables scroll inside their frame, which the keyboard must reach.
    return (
        f'<div class="frame {size}" role="region" aria-label="{caption}" '
        f'tabindex="0"><table><caption>{caption}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _mark(is_ours: bool) -> str:
    return ' class="ours"' if is_ours else ""


def _cell(cell: Cell) -> str:
    if isinstance(cell, Hit):
        return f"<mark>{escape(cell.text)} ✓</mark>"
    return escape(cell)
