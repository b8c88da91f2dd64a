"""Curves over a common axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.report.plots.drawing import ABOVE, SERIES, logarithmic, picture
from pipeline.report.plots.forest import Estimate


@picture
def lines(
    axes: Axes,
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    labels: tuple[str, str],
    best: Mapping[str, int] | None = None,
    is_log: bool = False,
) -> None:
    """Curves with a legend; `best` marks the x of some of them.

    Args:
        axes: To draw on.
        series: x and y of each.
        labels: Of both axes.
        best: The x of each curve that gets a dot.
        is_log: Whether x, from 1 up, is on a logarithmic scale.
    """
    for place, (name, (x, y)) in enumerate(series.items()):
        color = SERIES[place % len(SERIES)]
        axes.plot(x, y, color=color, label=name)
        for point in zip(x, y, strict=True):
            if best and point[0] == best.get(name):
                axes.plot(*point, "o", color=color, markersize=6)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.margins(x=0.02)
    if is_log:
        logarithmic(axes)
        axes.legend(**ABOVE)
        return
    is_whole = all(
        float(at).is_integer() for x, _ in series.values() for at in x
    )
    axes.xaxis.set_major_locator(
        MaxNLocator(10, integer=is_whole, steps=[1, 2, 5, 10])
    )
    if len(series) > 1:
        axes.legend(**ABOVE)


@picture
def ranges(
    axes: Axes,
    names: Sequence[str],
    series: Mapping[str, Sequence[Estimate]],
    labels: tuple[str, str],
) -> None:
    """Values with intervals over names, a curve a series."""
    for place, (name, found) in enumerate(series.items()):
        color = SERIES[place % len(SERIES)]
        x = [
            at + 0.08 * (place - (len(series) - 1) / 2)
            for at in range(len(found))
        ]
        for at, row in zip(x, found, strict=True):
            axes.plot([at] * 2, [row.low, row.high], color=color, linewidth=1.2)
        axes.plot(
            x, [row.value for row in found], "-o", color=color, ms=4, label=name
        )
    axes.set_xticks(range(len(names)), names)
    axes.grid(visible=False, axis="x")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.legend(**ABOVE)
