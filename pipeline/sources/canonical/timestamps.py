"""Times of any common form become seconds since the epoch, UTC.

Numbers are seconds, milliseconds, microseconds or nanoseconds, told apart by
their size; text is ISO 8601. The form is decided once, on the first rows, so
that a file that mixes forms shows up as bad rows instead of as wrong times.
"""

import re
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.canonical import cells
from pipeline.tables.schema import FIRST_MOMENT, epoch_seconds

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# Days from the first day of a count to 1970.
DAYS_BEFORE = {"days": 0, "excel": 25_569}
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$")


class Clock:
    """Reads the timestamps of one log.

    Args:
        known: `TabularSource.time_format`: a unit of numbers, a form of text
            as for strptime, or "auto".
    """

    def __init__(self, known: str = "auto") -> None:
        is_text = "%" in known
        self.unit = "auto" if is_text else known or "auto"
        self.text_format = text_format = known if is_text else ""
        self.form = ""
        # Day and month the other way round, while that fits everything too.
        self.twin = _twin(text_format)
        self._rising = {text_format: 0, self.twin: 0}
        self._steps = 0
        # A day of grace for clocks and time zones that are off.
        self.latest = int(time.time()) + 86_400

    def seconds(self, array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Times in seconds, 0 where there is none, and which are none."""
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        kind = array.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            self.form = self.form or "dates"
            if pa.types.is_date(kind):
                array = pc.cast(array, pa.timestamp("ms"))
            return _whole(array)
        if self.text_format:
            self.form = f"dates of the form {self.text_format}"
            text = cells.as_text(array)
            found = formatted(text, self.text_format)
            if self.twin:
                self._compare(found, formatted(text, self.twin))
            return _whole(found)
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return self._numbers(array)
        text = cells.as_text(array)
        if not self.form or self.form in ("dates", "ISO dates"):
            sample = [v for v in text.slice(0, 1000).to_pylist() if v]
            numeric = sum(bool(_NUMBER.match(v)) for v in sample)
            if 2 * numeric < len(sample) or self.form:
                self.form = "ISO dates"
                return _iso(text)
        return self._numbers(text)

    def _compare(self, found: pa.Array, other: pa.Array) -> None:
        """Counts which of two forms puts the rows in order of time."""
        if other.null_count > found.null_count:
            self.twin = ""
            return
        for form, times in ((self.text_format, found), (self.twin, other)):
            moments = pc.cast(times.drop_null(), pa.int64()).to_numpy()
            self._rising[form] += int((np.diff(moments) >= 0).sum())
        self._steps += max(len(found) - found.null_count - 1, 0)

    def doubt(self) -> str:
        """What speaks for another form that fits as well; "" for none."""
        if not self.twin or not self._steps:
            return ""
        mine = self._rising[self.text_format] / self._steps
        other = self._rising[self.twin] / self._steps
        return (
            f"all timestamps fit {self.twin} as well as {self.text_format}: "
            f"{other:.0%} of the rows would follow the one above in time "
            f"instead of {mine:.0%}; see source.time_format"
        )

    def _numbers(self, array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        try:
            numbers = pc.cast(array, pa.int64())
        except pa.ArrowInvalid:
            numbers = _floats(array)
        values = numbers.to_numpy(zero_copy_only=False)
        bad = numbers.is_null().to_numpy(zero_copy_only=False)
        if values.dtype != np.int64:
            values = np.nan_to_num(values.astype(np.float64))
        if self.unit == "auto" and not bad.all():
            typical = float(np.median(values[~bad]))
            self.unit = _unit(typical)
            if abs(typical) < FIRST_MOMENT:
                self.form = "positions or counters, not moments"
        if self.unit != "auto":
            self.form = self.form or f"numbers in {self.unit}"
        if self.unit in DAYS_BEFORE:
            # Excel rounds: 0.00001 of a day is not yet a second.
            values = np.rint((values - DAYS_BEFORE[self.unit]) * 86_400.0)
        seconds = np.floor_divide(values, PER_SECOND.get(self.unit, 1))
        # Beyond int64 no second counts; the future rule catches the rest.
        seconds = np.clip(seconds, -(2**62), 2**62).astype(np.int64)
        return np.where(bad, 0, seconds), bad


def formatted(text: pa.Array, text_format: str) -> pa.Array:
    """Times of one strptime form; null where a text is not of that form."""
    times = pc.strptime(text, text_format, unit="s", error_is_null=True)
    return times.cast(pa.timestamp("us", times.type.tz))


def _twin(form: str) -> str:
    """A form with day and month the other way round; "" where told apart."""
    if not re.search(r"%m(.)%d|%d(.)%m", form):
        return ""
    return form.replace("%m", "%_").replace("%d", "%m").replace("%_", "%d")


def _unit(typical: float) -> str:
    """Unit that puts a typical timestamp into this age, not the far future.

    1e11 seconds is the year 5138 and 1e11 milliseconds is 1973, so between
    the two there is nothing to mistake.
    """
    bounds = (("s", 1e11), ("ms", 1e14), ("us", 1e17), ("ns", np.inf))
    return next(unit for unit, bound in bounds if abs(typical) < bound)


def _floats(array: pa.Array) -> pa.Array:
    try:
        numbers = pc.cast(array, pa.float64(), safe=False)
    except pa.ArrowInvalid:
        texts = array.to_pylist()
        found = [float(v) if v and _NUMBER.match(v) else None for v in texts]
        numbers = pa.array(found, pa.float64())
    finite = pc.fill_null(pc.is_finite(numbers), False)
    return pc.if_else(finite, numbers, pa.scalar(None, pa.float64()))


def _whole(times: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    bad = times.is_null().to_numpy(zero_copy_only=False)
    counts = pc.fill_null(pc.cast(times, pa.int64()), 0).to_numpy()
    return np.floor_divide(counts, PER_SECOND[times.type.unit]), bad


def _iso(text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    # As query engines export times with a zone.
    text = pc.replace_substring_regex(text, " ?UTC$", "Z")
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return _whole(pc.cast(text, kind))
        except pa.ArrowInvalid:
            continue
    parsed = [None if v is None else epoch_seconds(v) for v in text.to_pylist()]
    bad = np.array([value is None for value in parsed], bool)
    return np.array([value or 0 for value in parsed], np.int64), bad
