"""In what form the times of a column are written, and which one it is.

Only `init-config` looks; what it finds stands in the config it writes.
"""

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.canonical import cells
from pipeline.sources.canonical.timestamps import Clock, formatted

_OF_DAY = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
# Of times that are not ISO, as for strptime. Years of two digits first: four
# do not fit them, while two would pass for the first century.
FORMATS = tuple(
    date + time
    for date in (
        "%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y",
        "%Y/%m/%d", "%Y.%m.%d", "%m-%d-%Y", "%d-%m-%Y", "%m-%d-%y", "%d-%m-%y",
        "%Y%m%d", "%Y-%m-%d", "%d %b %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y",
        "%d-%b-%y", "%d-%b-%Y", "%m %d, %Y",
    )
    for time in _OF_DAY
) + (
    "%a %b %d %H:%M:%S %z %Y",
    "%a %b %d %H:%M:%S %Y",
    "%a, %d %b %Y %H:%M:%S %z",
    "%a, %d %b %Y %H:%M:%S GMT",
    "%a %b %d %Y %H:%M:%S GMT%z",
    "%d/%b/%Y:%H:%M:%S %z",
    "%Y/%m/%d %H:%M:%S %z",
    "%m/%d/%Y, %I:%M:%S %p",
    "%d/%m/%Y, %H:%M:%S",
    "%b %d, %Y, %I:%M %p",
    "%Y%m%d%H%M%S",
    "%Y%m%d%H%M",
)  # fmt: skip
# Days in Excel's count and since 1970, of 2000 to 2050.
_EXCEL, _EPOCH_DAYS = (36_526, 54_789), (10_957, 29_220)


@dataclass(frozen=True)
class Form:
    """How times are written.

    Attributes:
        format: As for strptime; empty for ISO and numbers.
        unit: Of numbers that are days; empty otherwise.
        other: Another format that fits all the same; empty for none.
        doubt: What speaks for and against `other`, in words.
    """

    format: str = ""
    unit: str = ""
    other: str = ""
    doubt: str = ""


def form(array: pa.Array) -> Form | None:
    """Form of the times in a column; None where they are none.

    Of two forms that fit, such as 03/04 read as March or as April, the one
    that puts the rows in order of time is taken.
    """
    if pa.types.is_nested(array.type) or not len(array):
        return None
    if pa.types.is_temporal(array.type):
        return None if pa.types.is_time(array.type) else Form()
    text = cells.as_text(array.slice(0, 1000)).drop_null()
    if not len(text):
        return None
    _seconds, bad = Clock().seconds(text)
    readable = bool(bad.mean() <= 0.2)
    # Eight digits or more are dates only in these centuries.
    if re.match(r"(19|20)\d{6}(\d{4}|\d{6})?(\.0)?$", text[0].as_py()):
        return _format(array, text) or (Form() if readable else None)
    if readable:
        return Form()
    return _format(array, text)


def _format(array: pa.Array, text: pa.Array) -> Form | None:
    if not re.search(r"\d.*[/., :-].*\d|\d{8}", text[0].as_py()):
        return None
    # The year 14 is one of two digits.
    century = re.search(r"\d{4}", text[0].as_py())
    shares = {
        form: 1.0 - formatted(text, form).null_count / len(text)
        for form in FORMATS
        if century or "%Y" not in form
    }
    best = max(shares.values())
    if best < 0.8:
        return None
    fitting = [form for form in shares if shares[form] == best]
    # Short years and short names of months fit long ones too.
    fitting = [
        form
        for form in fitting
        if not {form.replace("%Y", "%y"), form.replace("%B", "%b")}
        & (set(fitting) - {form})
    ]
    if len(fitting) == 1:
        return Form(fitting[0])
    text = cells.as_text(array.slice(0, 50_000))
    order = {form: in_order(formatted(text, form)) for form in fitting}
    first, second = sorted(fitting, key=lambda f: -order[f])[:2]
    told = (
        f"in order of time are {order[first]:.0%} of the rows, with "
        f"{second} {order[second]:.0%}"
    )
    if order[first] - order[second] < 0.05:
        told = "neither puts the rows in better order of time"
        first, second = fitting[:2]
    return Form(first, other=second, doubt=f"{second} fits as well; {told}")


def in_order(moments: pa.Array) -> float:
    """Share of rows not before the row above, or not behind it, 0 to 1."""
    found = pc.cast(moments.drop_null(), pa.int64()).to_numpy()
    steps = np.diff(found)
    if not len(steps):
        return 1.0
    return float(max((steps >= 0).mean(), (steps <= 0).mean()))


def with_unit(array: pa.Array, known: Form) -> Form:
    """The form of a column named as a time, whose numbers may be days."""
    if known.format or not _numbers(array):
        return known
    found = pc.cast(cells.as_number(array)[0].drop_null(), pa.float64())
    low, high = pc.min_max(found).as_py().values()
    for unit, bounds, told in (
        ("excel", _EXCEL, "as Excel counts them"),
        ("days", _EPOCH_DAYS, "since 1970"),
    ):
        if bounds[0] <= low and high <= bounds[1] and high - low >= 1:
            return Form(unit=unit, doubt=f"numbers taken for days {told}")
    return known


def _numbers(array: pa.Array) -> bool:
    if pa.types.is_temporal(array.type) or pa.types.is_nested(array.type):
        return False
    numbers, bad = cells.as_number(array)
    return not bad.any() and numbers.null_count < len(numbers)


def are_moments(array: pa.Array) -> bool:
    """Whether a column holds moments, whatever it is called."""
    found = form(array)
    if found is None:
        return False
    if found.format or pa.types.is_temporal(array.type):
        return True
    clock = Clock()
    seconds, bad = clock.seconds(array.slice(0, 1000))
    if clock.form == "ISO dates":
        return True
    # 1990 to 2040, and more than a handful of moments.
    good = seconds[~bad]
    return bool(
        ((good > 631_152_000) & (good < 2_208_988_800)).mean() > 0.9
        and len(np.unique(good)) > 10
    )


def are_days(array: pa.Array, known: Form) -> bool:
    """Whether all moments of a column are at midnight."""
    seconds, bad = Clock(known.unit or "auto", known.format).seconds(
        array.slice(0, 1000)
    )
    return bool((seconds[~bad] % 86_400 == 0).all())
