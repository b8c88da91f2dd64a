"""What text files do not say about themselves: encoding, names of columns."""

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.onboard import names
from pipeline.run.data import TabularSource
from pipeline.sources.canonical import cells
from pipeline.sources.reading import files, formats, text
from pipeline.tables.schema import DataError, epoch_seconds

_NUMBER = re.compile(r"[+-]?\d+([.,]\d*)?([eE][+-]?\d+)?")
# Lines above the names, as reports have.
_MOST_ABOVE = 20
_NAMES = frozenset(
    names.USER + names.ITEM + names.TIME + names.RATING + names.TITLE + ["id"]
)


def encoding(*paths: str) -> str:
    """Encoding that the first blocks of the files bear; empty paths aside.

    Latin-1 fits any bytes, so it is taken only where more lines speak against
    UTF-8 than for it: a few stray bytes are a matter for the quarantine.
    """
    wrong = right = 0
    for path in filter(None, paths):
        with files.find(path, "init-config") as found:
            heads = [next(files.blocks(file), b"") for file in found[:3]]
        text = b"\n".join(h for h in heads if not h.startswith(b"PAR1"))
        for line in text.split(b"\n"):
            try:
                line.decode("utf-8")
                right += not line.isascii()
            except UnicodeDecodeError:
                wrong += 1
    return "latin-1" if wrong > right else "utf-8"


def first_lines(
    source: TabularSource, path: str = "", table: str = "interactions"
) -> list[list[str]]:
    """Cells of the first lines of a table; [] where it is not text."""
    option = f"--{table}"
    path = path or source.path
    with files.find(path, option) as found:
        file = formats.of_table(found, table, path, option)[0]
        kind = formats.format_of(file)
        if kind not in ("csv", "tsv"):
            return []
        return text.first_lines(
            file, formats.delimiter_of(source, kind), source.encoding, 1000
        )


def refuse_preamble(source: TabularSource, path: str, table: str) -> None:
    """Says where lines stand above those of the table.

    Raises:
        DataError: If the names of the columns are not in the first line.
    """
    # As it would be read, then in case what is above has misled the reader.
    for delimiter in (source.delimiter, *text.DELIMITERS):
        lines = first_lines(
            dataclasses.replace(source, delimiter=delimiter), path, table
        )
        widths = [
            max((n for n, cell in enumerate(line, 1) if cell), default=0)
            for line in lines
        ]
        [(width, usual)] = Counter(widths).most_common(1) or [(0, 0)]
        place = widths.index(width) if width else 0
        if delimiter == source.delimiter and not place and width > 1:
            return
        if (
            0 < place <= _MOST_ABOVE
            and max(widths[:place]) < width
            and usual > 0.8 * (len(lines) - place)
            and all(lines[place][:width])
            and not any(names.plain(cell) in _NAMES for cell in lines[0])
            and not any(
                _NUMBER.fullmatch(cell) or epoch_seconds(cell)
                for cell in lines[place]
            )
        ):
            line = (delimiter or ",").join(lines[place])
            raise DataError(
                "The first line must hold the names of the columns, or "
                f"values. Received: others above {line!r} (in {path}). Delete "
                "what stands above it."
            )


def are_sequences(lines: list[list[str]]) -> bool:
    """Whether each of the lines holds a user and, behind, that user's items.

    Quoted text over several lines makes lines of different lengths too, but
    not of numbers alone.
    """
    [(_length, usual)] = Counter(map(len, lines)).most_common(1)
    return usual < 0.8 * len(lines) and all(
        _NUMBER.fullmatch(cell) for line in lines[:-1] for cell in line if cell
    )


def are_values(first: list[str], columns: Mapping[str, pa.Array]) -> bool:
    """Whether the first line of a file holds values instead of names.

    It does where a cell is a number, a time, or comes again in the columns.
    """
    if any(names.plain(cell) in _NAMES for cell in first):
        return False
    if any(_NUMBER.fullmatch(cell) or epoch_seconds(cell) for cell in first):
        return True
    return any(
        cells.count(pc.equal(cells.as_text(array), cell)) > 1
        for cell, array in zip(first, columns.values(), strict=False)
        if cell
    )
