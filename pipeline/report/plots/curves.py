"""Curves over a common axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.report.plots.drawing import ABOVE, SERIES, picture


@picture
def lines(
    axes: Axes,
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    labels: tuple[str, str],
    best: Mapping[str, int] | None = None,
) -> None:
    """Curves with a legend; `best` marks the x of some of them."""
    for place, (name, (x, y)) in enumerate(series.items()):
        color = SERIES[place % len(SERIES)]
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
        axes.legend(**ABOVE)
