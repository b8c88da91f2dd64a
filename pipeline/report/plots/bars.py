"""Bars between edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, PercentFormatter

from pipeline.report.plots.drawing import ABOVE, SERIES, logarithmic, picture


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


@picture
def paired(
    axes: Axes,
    names: Sequence[str],
    series: Mapping[str, Sequence[float]],
    labels: tuple[str, str],
) -> None:
    """Shares side by side, what is new in our colour."""
    width = 0.8 / len(series)
    for place, (name, heights) in enumerate(series.items()):
        axes.bar(
            np.arange(len(names)) + (place - (len(series) - 1) / 2) * width,
            heights,
            0.9 * width,
            color=SERIES[(place + 1) % 2],
            label=name,
        )
    axes.set_xticks(range(len(names)), names)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, 0, " %"))
    axes.legend(**ABOVE)


@picture
def histogram(axes: Axes, series: Mapping[str, np.ndarray], label: str) -> None:
    """Shares of values on a logarithmic scale, one outline a series."""
    whole = np.concatenate(list(series.values()))
    low, high = np.quantile(whole, [0.001, 0.999])
    edges = np.geomspace(0.9 * low, 1.1 * high, 41)
    for color, (name, found) in zip(SERIES, series.items(), strict=False):
        heights, _ = np.histogram(np.clip(found, edges[0], edges[-1]), edges)
        shares = heights / max(len(found), 1)
        axes.stairs(shares, edges, color=color, label=name, linewidth=1.6)
        axes.stairs(shares, edges, color=color, fill=True, alpha=0.18)
    logarithmic(axes)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, 0, " %"))
    axes.grid(visible=False, axis="x")
    axes.set_xlabel(label)
    axes.set_ylabel("requests")
    axes.legend(**ABOVE)
