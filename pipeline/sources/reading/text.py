"""Delimited text as batches of columns, fast where it is sound.

A block in which every line is one good row goes through Arrow's reader. Any
other block is read line by line, so that each bad line is set aside with its
number and costs nothing else: a quote without an end does not swallow the
lines after it, and a stray byte does not spoil the file.
"""

import contextlib
import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from pipeline.sources.canonical.quarantine import Quarantine
from pipeline.sources.canonical.tables import Batch
from pipeline.sources.reading.files import File, blocks
from pipeline.tables.schema import DataError

# Lines a quoted value may span before its quote counts as broken.
MAX_QUOTED_LINES = 50
# Lines that say whether quotes are letters.
SAMPLE_LINES = 1000
DELIMITERS = (",", "\t", ";", "|")
# Before all else, for Excel alone: what separates the columns.
_EXCEL = re.compile(rb'"?sep=(.)"?\r?\n(?:[ \r]*\n)*')
_BLANK_LINES = re.compile(rb"(?:[ \r]*\n)+")
# Arrow knows no limit of a cell; this one every platform can hold.
csv.field_size_limit(2**31 - 1)
_QUOTED = '"[^"]*(?:""[^"]*)*"'
_NEWLINE, _RETURN = b"\n\r"
# Behind the last name of a column: it takes all further cells of its line.
REST = "..."


@dataclass
class _Table:
    """How the lines of one file become columns, the last one maybe of lists."""

    file: File
    names: list[str]
    delimiter: str
    encoding: str
    quarantine: Quarantine
    rest: bool
    # Whether a quote keeps separators and line breaks in a cell.
    quoting: bool = False

    def look(self, head: bytes, block: bytes) -> None:
        """Decides on the line of names and the first rows what quotes mean.

        Beside tabs or bars they are letters of a title, unless all names, if
        there are any, and all cells of some column are in quotes, as R and
        pandas write them.
        """
        self.quoting = self.delimiter in (",", ";") and not self.rest
        if self.quoting or self.rest or len(self.delimiter) > 1:
            return
        named = head.decode(self.encoding, "replace").strip("\r\n")
        names = named.split(self.delimiter) if named else []
        if not all(re.fullmatch(_QUOTED, name) for name in names):
            return
        mark = re.escape(self.delimiter)
        cell = re.compile(rf"(?:^|{mark})({_QUOTED}(?={mark}|$)|[^{mark}]*)")
        lines = block.split(b"\n", SAMPLE_LINES)[:SAMPLE_LINES]
        rows = [
            cell.findall(one.decode(self.encoding, "replace").rstrip("\r"))
            for one in lines
        ]
        whole = [cells for cells in rows if len(cells) == len(self.names)]
        self.quoting = any(
            all(re.fullmatch(_QUOTED, one) for one in column)
            for column in zip(*whole, strict=True)
        )

    def fast(self, block: bytes, count: int) -> dict[str, pa.Array] | None:
        """Columns of a block where every line is one good row, else None."""
        delimiter = self.delimiter
        raw = np.frombuffer(block, np.uint8)
        if (raw[np.flatnonzero(raw == _RETURN) + 1] != _NEWLINE).any():
            # To Arrow a carriage return ends a row by itself.
            return None
        if delimiter == "::":
            # Arrow knows separators of one byte only.
            block, delimiter = block.replace(b"::", b"\t"), "\t"
        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(block),
                read_options=arrow_csv.ReadOptions(
                    column_names=self.names, encoding=self.encoding
                ),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=delimiter,
                    quote_char='"' if self.quoting else False,
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(self.names, pa.string()),
                    strings_can_be_null=False,
                ),
            )
        except (pa.ArrowInvalid, UnicodeDecodeError):
            return None
        if self.rest or table.num_rows != count:
            return None
        chunks = [column.chunk(0) for column in table.combine_chunks().columns]
        if self.quoting and pc.any(pc.ends_with(chunks[-1], "\n")).as_py():
            # Arrow ends a quote that was left open with what it has at hand.
            return None
        return dict(zip(self.names, chunks, strict=True))

    def slow(
        self, block: bytes, line: int, is_last: bool
    ) -> tuple[dict[str, pa.Array], np.ndarray, bytes]:
        """Columns of a block line by line, where some line is no row.

        With the lines of the rows, and the bytes of a last row whose end must
        be in the next block.
        """
        rows: dict[int, list[Any]] = {}
        raw = block.split(b"\n")[:-1]
        at = 0
        while at < len(raw):
            start, used = line + at, 1
            text = self.quarantine.decode(
                raw[at], self.encoding, self.file.shown, start
            )
            if text and text.strip("\r"):
                more = raw[at + 1 : at + 1 + MAX_QUOTED_LINES]
                may_go_on = not is_last and len(more) < MAX_QUOTED_LINES
                cells, taken, reason = self._row(text, more, may_go_on)
                if not taken:
                    break
                if not reason and len(cells) != len(self.names):
                    wanted = "more" if self.rest else len(self.names)
                    reason = f"it has {len(cells)} columns instead of {wanted}"
                if reason and text.strip():
                    # The lines behind may be rows by themselves.
                    self.quarantine.add_line(
                        reason, self.file.shown, start, text.rstrip("\r")
                    )
                elif not reason:
                    rows[start], used = cells, taken
            at += used
        columns = map(pa.array, zip(*rows.values(), strict=True))
        found = dict(zip(self.names, columns, strict=False))
        rest = b"".join(one + b"\n" for one in raw[at:])
        return found, np.array([*rows]), rest

    def _row(
        self, text: str, more: list[bytes], may_go_on: bool
    ) -> tuple[list[Any], int, str]:
        """Cells from a line on, the lines they take, and why they are no row.

        A cell goes on in the lines `more` only where a quote begins it and
        another one ends it: a quote inside of a cell is a letter (12" vinyl).
        No lines are taken where it may go on behind those.
        """
        if not self.quoting:
            return self._split(text), 1, ""
        if '"' in text:
            behind = (one.decode(self.encoding, "replace") for one in more)
            lines = (one + "\n" for one in itertools.chain([text], behind))
            strict = csv.reader(lines, delimiter=self.delimiter, strict=True)
            with contextlib.suppress(csv.Error):
                return next(strict), strict.line_num, ""
            if may_go_on and strict.line_num > len(more):
                return [], 0, ""
        # By itself, as lenient as Arrow is; a quote left open asks for more.
        lenient = csv.reader([text, ""], delimiter=self.delimiter)
        try:
            cells = next(lenient)
        except csv.Error as error:
            return [], 1, f"it cannot be split into columns ({error})"
        is_open = lenient.line_num > 1
        return cells, 1, "it has a quote without an end" if is_open else ""

    def _split(self, text: str) -> list[Any]:
        if not self.rest:
            return text.rstrip("\r").split(self.delimiter)
        # Blanks may be repeated, other separators mean an empty cell.
        cells = text.strip().split(self.delimiter.strip(" ") or None)
        last = len(self.names) - 1
        return [*cells[:last], cells[last:]] if len(cells) > last else cells


def _header(head: bytes, block: bytes, table: _Table) -> list[str]:
    """Names of the columns, and one more where rows end in a separator."""
    names = _names(_cells(head, table.delimiter, table.encoding))
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(
            f"Names of columns must be different. Received: {repeated} more "
            f"than once (in the first line of {table.file.shown}). Rename "
            "them."
        )
    row = block.lstrip(b"\r\n").split(b"\n", 1)[0]
    first = _cells(row, table.delimiter, table.encoding)
    if len(first) == len(names) + 1 and not first[-1]:
        # Rows that end in a separator, unlike their names.
        names.append(f"column_{len(first)}")
    return names


def read(
    file: File,
    columns: Sequence[str] | None,
    delimiter: str,
    encoding: str,
    quarantine: Quarantine,
    skip_header: bool = False,
) -> Iterator[Batch]:
    """Streams a delimited text file as batches of text columns.

    Args:
        file: The file.
        columns: Names of its columns in order; None takes the first line. A
            last name that ends in "..." gives lists of all further cells.
        delimiter: "::" or one character; '"' quotes where it is ",", ";",
            and beside others where it does so in a whole column. Empty goes
            by the first line.
        encoding: Of the file.
        quarantine: Receives lines that cannot be split into the columns.
        skip_header: Whether the first line holds names although `columns`
            gives them.

    Raises:
        DataError: If the file is empty, binary or compressed data that ends
            early.
    """
    names = [name.removesuffix(REST) for name in columns or ()]
    rest = names != list(columns or ())
    table = _Table(file, names, delimiter, encoding, quarantine, rest)
    line, is_open, left = 1, False, b""
    # Behind the last block there is what is left of it.
    for more in itertools.chain(blocks(file), [b""]):
        block = left + more
        if more and not more.endswith(b"\n"):
            # An open quote shows by a line break.
            block += b"\n"
        if not is_open:
            block, table.delimiter, above = _opened(block, file, delimiter)
            line += above
            is_open, head = bool(block), b""
            if is_open and (columns is None or skip_header):
                head, _newline, block = block.partition(b"\n")
                line += 1
                if columns is None:
                    table.names = _header(head, block, table)
            table.look(head, block)
        filled = _filled(block)
        lines = line + np.flatnonzero(filled)
        found = table.fast(block, len(lines)) if len(lines) else None
        left = b""
        if found is None:
            found, lines, left = table.slow(block, line, not more)
        if len(lines):
            yield Batch(found, lines, file.shown)
        line += len(filled) - left.count(b"\n")
    if not table.names:
        raise DataError(
            f"A data file must have rows. Received: {file.shown}, which is "
            "empty. Check the export that made it."
        )


def _filled(block: bytes) -> np.ndarray:
    """Whether there is something in each line of a block, `[num_lines]`."""
    raw = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(raw == _NEWLINE)
    lengths = np.diff(ends, prepend=-1) - 1
    return (lengths > 1) | ((lengths == 1) & (raw[ends - 1] != _RETURN))


def first_lines(
    file: File, delimiter: str, encoding: str, count: int
) -> list[list[str]]:
    """Cells of the first lines, whether names or values."""
    head, delimiter, _above = _opened(next(blocks(file), b""), file, delimiter)
    lines = head.split(b"\n", count)[:count]
    return [_cells(line, delimiter, encoding) for line in lines if line.strip()]


def _opened(block: bytes, file: File, delimiter: str) -> tuple[bytes, str, int]:
    """The first block from its first line on, the delimiter, lines above."""
    block = block.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in block[:65_536]:
        raise DataError(
            f"A text file must hold text. Received: {file.shown}, which "
            "holds NUL bytes: it is binary, or UTF-16 without its mark. "
            "Convert it to UTF-8, or give a path or pattern without it."
        )
    whole = block
    if blank := _BLANK_LINES.match(block):
        block = block[blank.end() :]
    if told := _EXCEL.match(block):
        delimiter = delimiter or told[1].decode()
        block = block[told.end() :]
    above = whole[: len(whole) - len(block)].count(b"\n")
    return block, delimiter or _delimiter(block.split(b"\n", 1)[0]), above


def _cells(line: bytes, delimiter: str, encoding: str) -> list[str]:
    text = line.decode(encoding, "replace").strip("\r\n")
    if delimiter == "::":
        return text.split(delimiter)
    # A carriage return inside of a line ends what can be read of it.
    lines = io.StringIO(text, newline="")
    cells = next(csv.reader(lines, delimiter=delimiter), [])
    return [cell.strip() for cell in cells]


def _names(cells: list[str]) -> list[str]:
    """Names that tell all columns apart.

    Who asks for one of a repeated name is to say which, so none keeps it.
    """
    names = []
    for place, cell in enumerate(cells, start=1):
        if cells.count(cell) > 1 and cell:
            cell = f"{cell}_{cells[:place].count(cell)}"
        names.append(cell or f"column_{place}")
    return names


def _delimiter(line: bytes) -> str:
    """What separates the cells of a line, by what is there most often."""
    if b"::" in line:
        return "::"
    bare = re.sub(rb'"[^"]*"', b'""', line)
    best = max(DELIMITERS, key=lambda one: bare.count(one.encode()))
    if best.encode() in bare:
        return best
    return " " if b" " in bare.strip() else ","
