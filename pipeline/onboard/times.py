"""In what form the times of a column are written, and which one it is."""

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


@dataclass(frozen=True)
class Form:
    """How times are written.

    Attributes:
        format: As for strptime; empty for ISO and numbers.
        unit: Of numbers that are days; empty otherwise.
        doubt: What speaks for another format that fits all the same.
    """

    format: str = ""
    unit: str = ""
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
    readable = Form() if bad.mean() <= 0.2 else None
    # Eight digits or more are dates only in these centuries.
    if re.match(r"(19|20)\d{6}(\d{4}|\d{6})?(\.0)?$", text[0].as_py()):
        return _format(array, text) or readable
    return readable or _format(array, text)


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
    good = {form for form in shares if shares[form] == best}
    # Short years and short names of months fit long ones too.
    fitting = [
        form
        for form in shares
        if form in good
        and not {form.replace("%Y", "%y"), form.replace("%B", "%b")}
        & (good - {form})
    ]
    if len(fitting) == 1:
        return Form(fitting[0])
    text = cells.as_text(array.slice(0, 50_000))
    order = {form: _in_order(formatted(text, form)) for form in fitting}
    first, second = sorted(fitting, key=lambda f: -order[f])[:2]
    told = (
        f"in order of time are {order[first]:.0%} of the rows, with "
        f"{second} {order[second]:.0%}"
    )
    if order[first] - order[second] < 0.05:
        told = "neither puts the rows in better order of time"
        first, second = fitting[:2]
    return Form(first, doubt=f"{second} fits as well; {told}")


def _in_order(moments: pa.Array) -> float:
    """Share of rows not before the row above, or not behind it, 0 to 1."""
    steps = np.diff(pc.cast(moments.drop_null(), pa.int64()).to_numpy())
    if not len(steps):
        return 1.0
    return float(max((steps >= 0).mean(), (steps <= 0).mean()))


def with_unit(array: pa.Array, known: Form) -> Form:
    """The form of a column named as a time, whose numbers may be days."""
    if known.format or pa.types.is_temporal(array.type):
        return known
    numbers, bad = cells.as_number(array)
    if bad.any() or numbers.null_count == len(numbers):
        return known
    low, high = pc.min_max(numbers).as_py().values()
    for unit, first, last, told in (
        ("excel", 36_526, 54_789, "as Excel counts them"),
        ("days", 10_957, 29_220, "since 1970"),
    ):
        # Of 2000 to 2050.
        if first <= low and high <= last and high - low >= 1:
            return Form(unit=unit, doubt=f"numbers taken for days {told}")
    return known


def are_moments(array: pa.Array, known: Form | None) -> bool:
    """Whether a column of times holds moments, whatever it is called."""
    if known is None:
        return False
    if known.format or pa.types.is_temporal(array.type):
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
    seconds, bad = Clock(known.unit or known.format).seconds(array[:1000])
    return bool((seconds[~bad] % 86_400 == 0).all())
