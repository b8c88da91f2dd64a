"""The pictures, as SVG that takes its colours from the page around it.

matplotlib knows no CSS, so every ink is a colour that is used for nothing
else, and is replaced by a variable of the page once the picture is drawn.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Concatenate, NamedTuple, ParamSpec, TypeAlias

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

_INK, _MUTED, _LINE = "#010203", "#010204", "#010205"
# Ours first; then what it is compared with.
_SERIES = tuple(f"#01030{place}" for place in range(6))
_VARIABLES = {
    _INK: "currentColor",
    _MUTED: "var(--muted)",
    _LINE: "var(--line)",
} | {color: f"var(--series-{i})" for i, color in enumerate(_SERIES)}
_WIDTH, _HEIGHT = 4.8, 2.7
_STYLE = {
    "font.size": 9,
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.color": _INK,
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 9,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}
# Over the picture, where no curve goes.
_ABOVE = {
    "loc": "lower left",
    "bbox_to_anchor": (0, 1),
    "ncols": 4,
    "borderaxespad": 0.2,
    "handlelength": 1.2,
    "columnspacing": 1.4,
}
_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_Rest = ParamSpec("_Rest")


class Estimate(NamedTuple):
    """A figure with its interval."""

    name: str
    value: float
    low: float
    high: float


def _picture(
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


@_picture
def forest(
    axes: Axes, rows: Sequence[Estimate], label: str, is_difference: bool
) -> float:
    """One line a row: the value and its interval, ours in its own colour."""
    for place, row in enumerate(rows):
        ours = row.name.split()[0] == "two_stage"
        color = _SERIES[0] if ours else _INK if is_difference else _MUTED
        axes.plot([row.low, row.high], [place] * 2, color=color, linewidth=1.6)
        axes.plot(row.value, place, "o", color=color, markersize=5)
    if is_difference:
        axes.axvline(0, color=_MUTED, linewidth=1)
    else:
        axes.set_xlim(left=0)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.tick_params("y", labelcolor=_INK)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(label)
    axes.spines["left"].set_visible(False)
    return 0.75 + 0.235 * len(rows)


@_picture
def lines(
    axes: Axes,
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    labels: tuple[str, str],
    best: Mapping[str, int] | None = None,
) -> None:
    """Curves with a legend; `best` marks the x of some of them."""
    for place, (name, (x, y)) in enumerate(series.items()):
        color = _SERIES[place % len(_SERIES)]
        axes.plot(x, y, color=color, label=name)
        for point in zip(x, y, strict=True):
            if best and point[0] == best.get(name):
                axes.plot(*point, "o", color=color, markersize=6)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.margins(x=0.02)
    is_whole = all(
        float(at).is_integer() for x, _ in series.values() for at in x
    )
    axes.xaxis.set_major_locator(
        MaxNLocator(10, integer=is_whole, steps=[1, 2, 5, 10])
    )
    if len(series) > 1:
        axes.legend(**_ABOVE)


@_picture
def scatter(
    axes: Axes,
    points: Mapping[str, tuple[float, float]],
    labels: tuple[str, str],
) -> None:
    """Named points, ours in its own colour."""
    width = max(x for x, _ in points.values()) * 1.25 or 1.0
    height = max(y for _, y in points.values()) * 1.15 or 1.0
    # Left, bottom, right and top of all there is, in shares of the picture.
    taken = [_box(x / width, y / height, 0.012) for x, y in points.values()]
    for name, (x, y) in sorted(points.items(), key=lambda item: -item[1][1]):
        color = _SERIES[0] if name == "two_stage" else _MUTED
        axes.plot(x, y, "o", color=color, markersize=6)
        size = 0.0155 * len(name)
        for side, lift in _PLACES:
            middle = x / width + side * (0.025 + size / 2)
            box = _box(middle, y / height + lift, size / 2)
            if box[0] >= 0 and not any(_meet(box, other) for other in taken):
                break
        taken.append(box)
        axes.text(
            x + side * 0.02 * width,
            y + lift * height,
            name,
            va="center",
            ha="left" if side > 0 else "right",
            fontsize=8.5,
            color=_SERIES[0] if name == "two_stage" else _INK,
        )
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    # The room at the right is for names, not for values.
    axes.set_xticks([x for x in axes.get_xticks() if x <= width / 1.2])


# Where a name may stand: beside its point, then above or below that.
_PLACES = tuple(
    (side, lift) for lift in (0.0, 0.055, -0.055, 0.1, -0.1) for side in (1, -1)
)
_Box: TypeAlias = tuple[float, float, float, float]


def _box(x: float, y: float, half_width: float) -> _Box:
    return x - half_width, y - 0.024, x + half_width, y + 0.024


def _meet(one: _Box, other: _Box) -> bool:
    return (
        one[0] < other[2]
        and other[0] < one[2]
        and one[1] < other[3]
        and other[1] < one[3]
    )


@_picture
def bars(
    axes: Axes,
    edges: Sequence[float],
    layers: Mapping[str, Sequence[float]],
    labels: tuple[str, str],
    ticks: Mapping[float, str] | None = None,
) -> None:
    """Bars between edges, layers on top of each other."""
    base = np.zeros(len(edges) - 1)
    # One layer is ours; of several the first is the rest.
    inks = _SERIES if len(layers) == 1 else _SERIES[1::-1] + _SERIES[2:]
    for color, (name, heights) in zip(inks, layers.items(), strict=False):
        axes.bar(
            edges[:-1],
            heights,
            0.9 * np.diff(edges),
            base,
            align="edge",
            color=color,
            label=name,
        )
        base = base + heights
    if ticks is not None:
        axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_xlim(edges[0], edges[-1])
    axes.grid(visible=False, axis="x")
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
    if len(layers) > 1:
        axes.legend(**_ABOVE)
