"""Draws what a command printed as a terminal, light and dark.

    python -m pipeline.terminal.picture artifacts/demo.txt --command "make demo"

Enters: the text that a command printed. Leaves: `demo-light.svg` and
`demo-dark.svg`, for the README. They need no fonts and no network: every word
has its width written beside it, so columns stay columns in any typeface.
"""

import argparse
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.highlighter import RegexHighlighter
from rich.terminal_theme import TerminalTheme
from rich.text import Text
from rich.theme import Theme

from serving.releases import files

_WIDTH = 104
_BLANKS = {"light": (255, 255, 255), "dark": (13, 17, 23)}
_INKS = {"light": (31, 35, 40), "dark": (230, 237, 243)}
# Black, red, green, yellow, blue, magenta, cyan, white: readable on each.
_COLOURS = {
    "light": [
        *((31, 35, 40), (164, 14, 38), (17, 99, 41), (125, 78, 0)),
        *((9, 105, 218), (130, 80, 223), (27, 124, 131), (89, 99, 110)),
    ],
    "dark": [
        *((230, 237, 243), (255, 123, 114), (63, 185, 80), (210, 153, 34)),
        *((88, 166, 255), (188, 140, 255), (57, 197, 207), (145, 152, 161)),
    ],
}
_FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px ui-monospace, \
SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }}
.{unique_id}-title {{ font: 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" \
clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


_STEP = re.compile(r"\[ *[\d.]+ s\] ([\w-]+):")


class _Highlighter(RegexHighlighter):
    base_style = "shown."
    highlights = (
        r"^(?P<time>\[ *[\d.]+ s\])",
        r"^\[ *[\d.]+ s\] (?P<step>[\w-]+):",
        r"(?P<good>\baccepted\b|\bversion \d+ is live\b)",
        r"(?P<frame>[\u2500-\u257f]+)",
        r"^(?P<prompt>\$) (?P<typed>.*)",
        r"^report: (?P<path>\S+)",
    )


_STYLES = Theme(
    {
        "shown.time": "white",
        "shown.frame": "white",
        "shown.step": "blue",
        "shown.good": "bold green",
        "shown.prompt": "green",
        "shown.typed": "bold",
        "shown.path": "blue underline",
    }
)


def draw(printed: str, command: str, theme: str) -> str:
    """An SVG of a terminal.

    Args:
        printed: What the command printed, colours of a terminal included.
        command: What was typed.
        theme: "light" or "dark".
    """
    console = Console(
        record=True,
        width=_WIDTH,
        file=io.StringIO(),
        force_terminal=True,
        theme=_STYLES,
    )
    highlight = _Highlighter()
    for line in (f"$ {command}", *printed.splitlines(), ""):
        console.print(highlight(Text.from_ansi(line)), crop=True, no_wrap=True)
    return console.export_svg(
        title=command,
        theme=TerminalTheme(_BLANKS[theme], _INKS[theme], _COLOURS[theme]),
        code_format=_FORMAT,
        unique_id=theme,
    )


def settled(printed: str) -> str:
    """What is left on a terminal: the last line of each step."""
    lines = printed.rstrip().splitlines()
    steps = [
        found[1] if (found := _STEP.match(line)) else None for line in lines
    ]
    return "\n".join(
        line
        for line, step, later in zip(
            lines, steps, [*steps[1:], None], strict=True
        )
        if step is None or step != later
    )


def shortened(printed: str, first: int, last: int) -> str:
    """The first and the last lines of what was printed, with a gap between."""
    lines = printed.splitlines()
    if len(lines) <= first + last:
        return "\n".join(lines)
    return "\n".join([*lines[:first], "...", *lines[len(lines) - last :]])


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws both pictures; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.terminal.picture")
    add = parser.add_argument
    add("printed", type=Path, help="what the command printed")
    add("--command", required=True, help="what was typed")
    add("--first", type=int, default=20, help="lines shown from the start")
    add("--last", type=int, default=17, help="lines shown from the end")
    add("--directory", type=Path, default=Path(".github"), help="where to")
    options = parser.parse_args(arguments)
    printed = options.printed.read_text("utf-8")
    shown = shortened(settled(printed), options.first, options.last)
    for theme in _INKS:
        path = options.directory / f"{options.printed.stem}-{theme}.svg"
        with files.staged(path) as staged:
            staged.write_text(draw(shown, options.command, theme), "utf-8")
        sys.stdout.write(f"picture: {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
