"""How every picture looks: SVG that takes its colours from the page around it.

matplotlib knows no CSS, so every ink is a colour that is used for nothing
else, and is replaced by a variable of the page once the picture is drawn.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable
from typing import Concatenate, ParamSpec

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

INK, MUTED, LINE = "#010203", "#010204", "#010205"
# Ours first; then what it is compared with.
SERIES = tuple(f"#01030{place}" for place in range(6))
_VARIABLES = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
} | {color: f"var(--series-{i})" for i, color in enumerate(SERIES)}
_WIDTH, _HEIGHT = 4.8, 2.7
_STYLE = {
    "font.size": 9,
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 9,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}
# Over the picture, where no curve goes.
ABOVE = {
    "loc": "lower left",
    "bbox_to_anchor": (0, 1),
    "ncols": 4,
    "borderaxespad": 0.2,
    "handlelength": 1.2,
    "columnspacing": 1.4,
}
_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_Rest = ParamSpec("_Rest")


def picture(
    draw: Callable[Concatenate[Axes, _Rest], float | None],
) -> Callable[_Rest, str]:
    """Makes SVG of what a function draws; it may return a height in inches."""

    @functools.wraps(draw)
    def made(*args: _Rest.args, **kwargs: _Rest.kwargs) -> str:
        # Names inside a picture must differ from those of the others.
        salt = repr((draw.__name__, args, kwargs))
        with matplotlib.rc_context(_STYLE | {"svg.hashsalt": salt}):
            figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
            height = draw(figure.subplots(), *args, **kwargs)
            if height:
                figure.set_figheight(height)
            text = io.StringIO()
            figure.savefig(
                text, format="svg", transparent=True, metadata=_METADATA
            )
        return _inline(text.getvalue())

    return made


def logarithmic(axes: Axes) -> None:
    """Puts x on a logarithmic scale, in plain numbers, and y from 0 up."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(10, (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.minorticks_off()
    axes.set_ylim(bottom=0)


def _inline(svg: str) -> str:
    """What a page needs of an SVG file."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.S)
    svg = re.sub(r" xmlns(:\w+)?=\"[^\"]*\"| version=\"1.1\"", "", svg)
    svg = re.sub(r"<svg width=\"\S+\" height=\"\S+\"", "<svg", svg)
    named = set(re.findall(r"#(\w+)", svg))
    svg = re.sub(
        r" id=\"([^\"]*)\"",
        lambda found: found[0] if found[1] in named else "",
        svg,
    )
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)
    svg = re.sub(r" transform=\"rotate\(-0 [^\"]*\"", "", svg)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, variable)
    return re.sub(r"\s*\n\s*", " ", svg).strip()
