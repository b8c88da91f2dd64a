"""What was predicted against what happened."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from pipeline.report.plots.drawing import MUTED, SERIES, picture
from pipeline.report.plots.forest import Estimate


@picture
def diagram(
    axes: Axes,
    bins: Sequence[tuple[float, Estimate]],
    labels: tuple[str, str],
    is_log: bool,
) -> None:
    """A point a bin, with its interval; what is right lies on the diagonal.

    Args:
        axes: To draw on.
        bins: Mean prediction of each, and what was observed.
        labels: Of both axes.
        is_log: Whether both are shares on a logarithmic scale.
    """
    x = [predicted for predicted, _ in bins]
    for predicted, seen in bins:
        axes.plot(
            [predicted] * 2,
            [seen.low, seen.high],
            color=SERIES[0],
            linewidth=1.4,
        )
    axes.plot(x, [seen.value for _, seen in bins], "-o", color=SERIES[0], ms=5)
    ends = [*x, *(seen.value for _, seen in bins if seen.value or not is_log)]
    low, high = min(ends), max(ends)
    if is_log:
        low, high = low / 1.5, min(1.0, high * 1.5)
        axes.set_xscale("log")
        axes.set_yscale("log")
        share = FuncFormatter(
            lambda value, _: f"{value:.3%}".rstrip("0%").rstrip(".") + "%"
        )
        axes.xaxis.set_major_formatter(share)
        axes.yaxis.set_major_formatter(share)
        axes.minorticks_off()
    else:
        rim = 0.08 * (high - low) or 0.1
        low, high = low - rim, high + rim
    axes.plot([low, high], [low, high], "--", color=MUTED, linewidth=1)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
