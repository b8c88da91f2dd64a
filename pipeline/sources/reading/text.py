"""Delimited text as batches of columns, fast where it is sound.

A block in which every line is one good row goes through Arrow's reader. Any
other block is read line by line, so that each bad line is set aside with its
number and costs nothing else: a quote without an end does not swallow the
lines after it, and a stray byte does not spoil the file.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from pipeline.sources.canonical.quarantine import Quarantine
from pipeline.sources.canonical.tables import Batch
from pipeline.sources.reading.files import File, blocks
from pipeline.tables.schema import DataError

# Lines a quoted value may span before its quote counts as broken.
MAX_QUOTED_LINES = 50
DELIMITERS = (",", "\t", ";", "|")
# Before all else, for Excel alone: what separates the columns.
_EXCEL = re.compile(rb'"?sep=(.)"?\r?\n')
# Behind the last name of a column: it takes all further cells of its line.
REST = "..."


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
        delimiter: "::" or one character; '"' quotes where it is ",", ";".
            Empty goes by the first line.
        encoding: Of the file.
        quarantine: Receives lines that cannot be split into the columns.
        skip_header: Whether the first line holds names although `columns`
            gives them.

    Raises:
        DataError: If the file is empty, binary or compressed data that ends
            early.
    """
    names = list(columns) if columns else []
    line = 1
    at_start = True
    for block in blocks(file):
        if at_start:
            at_start = False
            block = block.removeprefix(b"\xef\xbb\xbf")
            _refuse_binary(block, file)
            if told := _EXCEL.match(block):
                delimiter = delimiter or told[1].decode()
                block = block[told.end() :]
                line = 2
            delimiter = delimiter or _delimiter(block.split(b"\n", 1)[0])
            if columns is None or skip_header:
                head, _newline, block = block.partition(b"\n")
                line += 1
                if columns is None:
                    names = _names(_cells(head, delimiter, encoding))
                    _refuse_repeated(names, file)
                    first = _cells(
                        block.split(b"\n", 1)[0], delimiter, encoding
                    )
                    if len(first) == len(names) + 1 and not first[-1]:
                        # Rows that end in a separator, unlike their names.
                        names.append(f"column_{len(first)}")
                if not block:
                    continue
        count = block.count(b"\n") + (not block.endswith(b"\n"))
        quoting = delimiter in (",", ";")
        if columns and names[-1].endswith(REST):
            yield from _lists(
                block, names, delimiter, encoding, line, file, quarantine
            )
            line += count
            continue
        batch = _fast(block, names, delimiter, encoding, quoting, count)
        if batch is not None:
            yield Batch(batch, np.arange(line, line + count), file.shown)
        else:
            yield from _slow(
                block, names, delimiter, encoding, quoting, line, file,
                quarantine,
            )  # fmt: skip
        line += count
    if not names:
        raise DataError(
            f"A data file must have rows. Received: {file.shown}, which is "
            "empty. Check the export that made it."
        )


def first_lines(
    file: File, delimiter: str, encoding: str, count: int
) -> list[list[str]]:
    """Cells of the first lines, whether names or values."""
    head = next(blocks(file), b"").removeprefix(b"\xef\xbb\xbf")
    _refuse_binary(head, file)
    if told := _EXCEL.match(head):
        delimiter = delimiter or told[1].decode()
        head = head[told.end() :]
    lines = head.split(b"\n", count)[:count]
    delimiter = delimiter or _delimiter(lines[0])
    return [_cells(line, delimiter, encoding) for line in lines if line.strip()]


def _cells(line: bytes, delimiter: str, encoding: str) -> list[str]:
    text = line.decode(encoding, "replace").strip("\r\n")
    if delimiter == "::":
        return text.split(delimiter)
    cells = next(csv.reader([text], delimiter=delimiter), [])
    return [cell.strip() for cell in cells]


def _names(cells: list[str]) -> list[str]:
    """Names that tell all columns apart.

    Who asks for one of a repeated name is to say which, so none keeps it.
    """
    names, seen = [], Counter[str]()
    for place, cell in enumerate(cells, start=1):
        seen[cell] += 1
        if not cell:
            names.append(f"column_{place}")
        elif cells.count(cell) > 1:
            names.append(f"{cell}_{seen[cell]}")
        else:
            names.append(cell)
    return names


def _delimiter(line: bytes) -> str:
    """What separates the cells of a line, by what is there most often."""
    if b"::" in line:
        return "::"
    bare = re.sub(rb'"[^"]*"', b"", line)
    best = max(DELIMITERS, key=lambda one: bare.count(one.encode()))
    if best.encode() in bare:
        return best
    return " " if b" " in bare.strip() else ","


def _refuse_repeated(names: Sequence[str], file: File) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(
            f"Names of columns must be different. Received: {repeated} more "
            f"than once (in the first line of {file.shown}). Rename them."
        )


def _refuse_binary(block: bytes, file: File) -> None:
    if b"\0" in block[:65_536]:
        raise DataError(
            f"A text file must hold text. Received: {file.shown}, which "
            "holds NUL bytes: it is binary, or UTF-16 without its mark. Check "
            "source.format, or convert it to UTF-8."
        )


def _fast(
    block: bytes,
    names: Sequence[str],
    delimiter: str,
    encoding: str,
    quoting: bool,
    count: int,
) -> dict[str, pa.Array] | None:
    """Columns of a block where every line is one good row, else None."""
    if delimiter == "::":
        # Arrow knows separators of one byte only.
        block, delimiter = block.replace(b"::", b"\t"), "\t"
    broken: list[object] = []

    def on_invalid(row: object) -> str:
        broken.append(row)
        return "skip"

    try:
        # Always decoded: Arrow cannot hand over a bad row that is no UTF-8.
        decoded = block.decode(encoding)
        if encoding.lower() not in ("utf-8", "utf8"):
            block = decoded.encode("utf-8")
        table = arrow_csv.read_csv(
            io.BytesIO(block),
            read_options=arrow_csv.ReadOptions(column_names=list(names)),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if quoting else False,
                ignore_empty_lines=False,
                invalid_row_handler=on_invalid,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                strings_can_be_null=False,
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    if broken or table.num_rows != count:
        return None
    table = table.combine_chunks()
    return {
        name: column.chunk(0)
        for name, column in zip(names, table.columns, strict=True)
    }


def _slow(
    block: bytes,
    names: Sequence[str],
    delimiter: str,
    encoding: str,
    quoting: bool,
    line: int,
    file: File,
    quarantine: Quarantine,
) -> Iterator[Batch]:
    """Rows of a block line by line, where some line is no row."""
    rows: list[list[str]] = []
    lines: list[int] = []
    raw = block.split(b"\n")
    at = 0
    while at < len(raw):
        start = line + at
        text = quarantine.decode(raw[at], encoding, file.shown, start)
        at += 1
        if text is None or not text.strip():
            continue
        text = text.rstrip("\r")
        used = 0
        if quoting and text.count('"') % 2:
            # A quoted value may go on; if it never ends, the quote is broken
            # and costs this line alone.
            for used in range(1, min(MAX_QUOTED_LINES, len(raw) - at) + 1):
                more = b"\n".join(raw[at - 1 : at + used])
                if more.count(b'"') % 2 == 0:
                    break
            else:
                used = -1
            if used > 0:
                text = more.decode(encoding, "replace").rstrip("\r")
        if used < 0:
            quarantine.add_line(
                "it has a quote without an end", file.shown, start, text
            )
            continue
        values = (
            next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
            if quoting
            else text.split(delimiter)
        )
        if len(values) != len(names):
            reason = f"it has {len(values)} columns instead of {len(names)}"
            quarantine.add_line(reason, file.shown, start, text.split("\n")[0])
            continue
        at += used
        rows.append(values)
        lines.append(start)
    if rows:
        columns = zip(*rows, strict=True)
        yield Batch(
            {
                name: pa.array(column, pa.string())
                for name, column in zip(names, columns, strict=True)
            },
            np.array(lines),
            file.shown,
        )


def _lists(
    block: bytes,
    names: Sequence[str],
    delimiter: str,
    encoding: str,
    line: int,
    file: File,
    quarantine: Quarantine,
) -> Iterator[Batch]:
    """Rows whose last column is the list of all cells behind the others."""
    rows: list[list[str]] = []
    lines: list[int] = []
    single = len(names) - 1
    for number, raw in enumerate(block.split(b"\n"), start=line):
        text = quarantine.decode(raw, encoding, file.shown, number)
        if text is None or not text.strip():
            continue
        text = text.strip()
        # Blanks may be repeated, other separators mean an empty cell.
        cells = text.split(None if delimiter == " " else delimiter)
        if len(cells) > single:
            rows.append(cells)
            lines.append(number)
        else:
            reason = f"it has {len(cells)} columns instead of more"
            quarantine.add_line(reason, file.shown, number, text)
    if rows:
        columns = {
            name: pa.array([row[place] for row in rows], pa.string())
            for place, name in enumerate(names[:-1])
        }
        columns[names[-1].removesuffix(REST)] = pa.array(
            [row[single:] for row in rows], pa.list_(pa.string())
        )
        yield Batch(columns, np.array(lines), file.shown)
