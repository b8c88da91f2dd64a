"""Bars between edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from pipeline.report.plots.drawing import ABOVE, SERIES, picture


@picture
def stacked(
    axes: Axes,
    edges: Sequence[float],
    layers: Mapping[str, Sequence[float]],
    labels: tuple[str, str],
    ticks: Mapping[float, str] | None = None,
) -> None:
    """Bars between edges, layers on top of each other."""
    base = np.zeros(len(edges) - 1)
    # One layer is ours; of several the first is the rest.
    inks = SERIES if len(layers) == 1 else SERIES[1::-1] + SERIES[2:]
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
        axes.legend(**ABOVE)
