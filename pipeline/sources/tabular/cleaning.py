"""Cells that mean something else than they say, put right as they are read.

"NA", "NULL" and the like stand for nothing; "17.0" is the id 17 that passed
through a column of floats; a day and a time of day are one moment. Whatever
is changed is counted and said.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.run.data import TabularSource
from pipeline.sources.canonical import cells
from pipeline.sources.canonical.tables import Batch
from pipeline.tables.schema import DataError

# Columns a row is set aside without, which the quarantine says.
_REQUIRED = ("user_id", "item_id", "timestamp", "rating", "weight")
_IDS = ("user_id", "item_id")
# As spreadsheets write long numbers, most of their digits gone.
_CUT = r"^\d\.?\d*[eE]\+?\d{2}$"
_WHOLE = r"^[+-]?\d+(\.0*)?$"
_POINT = r"\.\d*\s*$"


def missing(array: pa.Array, words: pa.Array) -> pa.Array:
    """Which cells hold nothing, or a word for it, letter by letter."""
    if not cells.is_text(array):
        return pc.is_null(array, nan_is_null=True)
    text = pc.utf8_trim_whitespace(pc.cast(array, pa.string()))
    return pc.is_in(text, value_set=pa.concat_arrays([words, _EMPTY]))


_EMPTY = pa.array(["", None], pa.string())


def _refuse_rounded(array: pa.Array, key: str, name: str, batch: Batch) -> None:
    kind = array.type.to_pandas_dtype()
    # A float has fewer digits than a double.
    exact = 2.0 ** (np.finfo(kind).nmant + 1)
    large = pc.fill_null(pc.greater_equal(pc.abs(array), exact), False)
    if row := pc.index(large, True).as_py() + 1:
        raise DataError(
            f"Ids that are numbers with a point must be below {exact:.0f}: "
            "from there on different ids are the same number. Received: "
            f"{key} = {array[row - 1].as_py()!r} in {name!r}, a column of "
            f"{array.type} (in {batch.file} line {batch.lines[row - 1]}). "
            "Export whole numbers (int64) or text."
        )


class Cleaner:
    """Puts the cells of all tables of a source right, and counts.

    Args:
        source: What is read.
        floats: What was decided before, see there.

    Attributes:
        floats: Whether ids are floats and lose their ".0", by their key in
            the config.
    """

    def __init__(
        self, source: TabularSource, floats: Mapping[str, bool] | None = None
    ) -> None:
        self.source = source
        self._words = pa.array(source.missing, pa.string())
        self._missing = defaultdict[tuple[str, str, str], Counter[str]](Counter)
        self._shortened: Counter[str] = Counter()
        self._cut: Counter[str] = Counter()
        self.floats = dict(floats or {})
        # What spoke against it later.
        self._against: dict[str, str] = {}

    def clean(
        self, batch: Batch, mapped: Mapping[str, str], table: str
    ) -> Batch:
        """Rows with nulls for what is missing and ids as they are meant.

        `mapped` are the columns by their key in the config.
        """
        columns = dict(batch.columns)
        # A column with two meanings, such as a title that is encoded too.
        first = {name: key for key, name in reversed(list(mapped.items()))}
        for name, key in first.items():
            array = cells.plain(columns[name])
            gone = missing(array, self._words)
            if pc.any(gone).as_py():
                found = _written(array.filter(gone))
                self._missing[table, key, name].update(found)
                if cells.is_text(array) or pa.types.is_floating(array.type):
                    array = pc.if_else(gone, pa.scalar(None, array.type), array)
            if key in _IDS and cells.is_text(array):
                cut = pc.match_substring_regex(array, _CUT)
                self._cut[key] += cells.count(cut)
                array = self._whole_ids(array, key, batch.file)
            if key in _IDS and pa.types.is_floating(array.type):
                _refuse_rounded(array, key, name, batch)
            columns[name] = array
        if table == "interactions" and self.source.time_of_day:
            day, hour = self.source.timestamp, self.source.time_of_day
            columns[day] = cells.joined(columns[day], columns[hour])
        return Batch(columns, batch.lines, batch.file)

    def _whole_ids(self, array: pa.Array, key: str, file: str) -> pa.Array:
        """Ids without the ".0" of a column of floats.

        The first rows with a point decide for all files and tables, so that an
        id reads alike in them: versions, such as "1.0" beside "1.5", stay what
        they are.
        """
        points = pc.match_substring_regex(array, _POINT)
        if not cells.count(points) and not self.floats.get(key):
            return array
        text = pc.utf8_trim_whitespace(array)
        whole = pc.match_substring_regex(text, _WHOLE)
        are_floats = pc.all(whole).as_py() is not False
        if are_floats != self.floats.setdefault(key, are_floats):
            other = text.filter(points if are_floats else pc.invert(whole))
            self._against.setdefault(key, f"{other[0].as_py()!r} in {file}")
        if not self.floats[key]:
            return array
        ids = pc.replace_substring_regex(text, r"^([+-]?\d+)\.0*$", r"\1")
        self._shortened[key] += cells.count(pc.not_equal(ids, text))
        return ids

    def notes(self) -> list[str]:
        """What was changed, a column a line."""
        lines = []
        for (table, key, name), counts in self._missing.items():
            counts = +counts
            words = set(counts) - {""}
            if key in _REQUIRED and not words:
                continue
            written = ", ".join(
                f"{count:,} {f'say {word!r}' if word else 'empty'}"
                for word, count in counts.most_common(4)
            )
            line = f"`{name}` is missing in {counts.total():,} rows of the "
            line += f"{table} ({written})"
            if words:
                line += "; where such a word is a real value, take it out of "
                line += "source.missing"
            lines.append(line)
        lines += [
            f"`{key}` was read without the '.0' of floats in {count:,} rows"
            for key, count in (+self._shortened).items()
        ]
        lines += [
            (
                f"`{key}` is read without '.0' in all files, but {example} is "
                "no whole number: if '1.0' and '1' differ, export all ids with "
                "a letter in front"
            )
            if self.floats[key]
            else (
                f"`{key}` is read with '.0' in all files, as the first ids "
                f"with a point are no whole numbers, but {example} is among "
                "whole numbers alone: if it is one, export it without '.0'"
            )
            for key, example in self._against.items()
        ]
        lines += [
            f"`{key}` is written like 1.23E+12 in {count:,} rows: a "
            "spreadsheet cuts long numbers so, and different ids become one; "
            "export them as text"
            for key, count in (+self._cut).items()
        ]
        return lines


def _written(array: pa.Array) -> Counter[str]:
    """How what is missing was written, and how often."""
    if cells.is_text(array):
        return cells.counts(pc.utf8_trim_whitespace(array))
    nulls = array.null_count
    return Counter({"": nulls, "NaN": len(array) - nulls})
