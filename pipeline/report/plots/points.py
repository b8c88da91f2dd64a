"""Named points in a plane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from matplotlib.axes import Axes

from pipeline.report.plots.drawing import INK, MUTED, SERIES, picture


@picture
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
        color = SERIES[0] if name == "two_stage" else MUTED
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
            color=SERIES[0] if name == "two_stage" else INK,
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
