"""Named points in a plane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from matplotlib.axes import Axes

from pipeline.report.plots.drawing import INK, MUTED, SERIES, picture

# Where a name may stand: beside its point, then above or below that.
_PLACES = tuple(
    (side, lift) for lift in (0.0, 0.055, -0.055, 0.1, -0.1) for side in (1, -1)
)
# Left, bottom, right and top in shares of the picture.
_Box: TypeAlias = tuple[float, float, float, float]


@picture
def scatter(
    axes: Axes,
    points: Mapping[str, tuple[float, float]],
    labels: tuple[str, str],
    level: tuple[str, float] | None = None,
) -> None:
    """Named points, ours in its own colour; `level` is a line to reach."""
    heights = [y for _, y in points.values()] + ([level[1]] if level else [])
    left, width = _span([x for x, _ in points.values()])
    height = max(heights) * 1.15 or 1.0
    places = {
        name: ((x - left) / width, y / height)
        for name, (x, y) in points.items()
    }
    taken = [_box(*place, 0.012) for place in places.values()]
    if level:
        axes.axhline(level[1], color=SERIES[0], linewidth=1, linestyle="--")
        axes.annotate(
            level[0],
            (0.02, level[1] / height),
            (0, 3),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=8.5,
            color=SERIES[0],
        )
    for name, (x, y) in sorted(places.items(), key=lambda item: -item[1][1]):
        color = SERIES[0] if name == "two_stage" else MUTED
        axes.plot(*points[name], "o", color=color, markersize=6)
        size = 0.0155 * len(name)
        for side, lift in _PLACES:
            middle = x + side * (0.025 + size / 2)
            box = _box(middle, y + lift, size / 2)
            inside = box[0] >= 0 and box[2] <= 1 and box[1] >= 0
            if inside and not any(_meet(box, other) for other in taken):
                break
        taken.append(box)
        axes.text(
            x + side * 0.02,
            y + lift,
            name,
            va="center",
            ha="left" if side > 0 else "right",
            fontsize=8.5,
            color=SERIES[0] if name == "two_stage" else INK,
            transform=axes.transAxes,
        )
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.set_xlim(left, left + width)
    axes.set_ylim(0, height)


def _span(values: list[float]) -> tuple[float, float]:
    """Start and length of an axis: from 0 unless all values are far off."""
    low, high = min(values), max(values)
    if low <= 0.5 * high:
        return 0.0, 1.15 * high or 1.0
    rim = 0.15 * (high - low) or 0.1 * high
    return low - rim, high - low + 2 * rim


def _box(x: float, y: float, half_width: float) -> _Box:
    return x - half_width, y - 0.024, x + half_width, y + 0.024


def _meet(one: _Box, other: _Box) -> bool:
    return (
        one[0] < other[2]
        and other[0] < one[2]
        and one[1] < other[3]
        and other[1] < one[3]
    )
