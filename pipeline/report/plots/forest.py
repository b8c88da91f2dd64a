"""Values with their intervals, one line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.report.plots.drawing import INK, MUTED, SERIES, picture


class Estimate(NamedTuple):
    """A figure with its interval."""

    name: str
    value: float
    low: float
    high: float


@picture
def intervals(
    axes: Axes, rows: Sequence[Estimate], label: str, is_difference: bool
) -> float:
    """One line a row: the value and its interval, ours in its own colour."""
    for place, row in enumerate(rows):
        ours = row.name.split()[0] == "two_stage"
        color = SERIES[0] if ours else INK if is_difference else MUTED
        axes.plot([row.low, row.high], [place] * 2, color=color, linewidth=1.6)
        axes.plot(row.value, place, "o", color=color, markersize=5)
    if is_difference:
        axes.axvline(0, color=MUTED, linewidth=1)
    else:
        axes.set_xlim(left=0)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.tick_params("y", labelcolor=INK)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(label)
    axes.spines["left"].set_visible(False)
    return 0.75 + 0.235 * len(rows)
