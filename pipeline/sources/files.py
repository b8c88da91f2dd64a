"""Where files lie: local paths, archives, object stores; and text in them.

A folder and a zip archive of it give the same; archives are read where they
are, without unpacking them to disk. Addresses such as "s3://bucket/log.csv"
go through fsspec.
"""

import contextlib
import csv
import fnmatch
import gzip
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from pipeline.quarantine import Quarantine
from pipeline.schema import DataError
from pipeline.sources.canonical import Batch

BLOCK = 16 * 2**20
# Lines a quoted value may span before its quote counts as broken.
MAX_QUOTED_LINES = 50


@dataclass(frozen=True)
class File:
    """One file to read.

    Attributes:
        shown: How messages name it.
        name: Its own name, which says its format.
        place: Path, address or member of `archive`.
        archive: Zip archive it lies in.
        filesystem: fsspec file system it lies in.
        constants: Columns that the names of its folders fix (hive style).
    """

    shown: str
    name: str
    place: str
    archive: zipfile.ZipFile | None = None
    filesystem: Any = None
    constants: dict[str, str] = field(default_factory=dict)

    def open(self) -> IO[bytes]:
        """Opens the bytes, uncompressed where the name ends in .gz."""
        raw: IO[bytes]
        if self.archive is not None:
            raw = self.archive.open(self.place)
        elif self.filesystem is not None:
            raw = cast("IO[bytes]", self.filesystem.open(self.place, "rb"))
        else:
            raw = open(self.place, "rb")
        if self.name.endswith(".gz"):
            return cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
        return raw


@contextlib.contextmanager
def find(path: str, option: str) -> Iterator[list[File]]:
    """Finds the files at a path, for the length of a block.

    Args:
        path: A file, a folder (files at any depth), a zip archive (its
            members), a glob, or the same behind an fsspec address.
        option: Config key the path is from, for messages.

    Raises:
        DataError: If nothing is there, or an archive is corrupt.
    """
    if "://" in path:
        yield _remote(path, option)
        return
    root = Path(path).expanduser()
    if root.is_file() and root.suffix == ".zip":
        with _archive(root, option) as archive:
            yield [
                File(
                    f"{path}/{name}",
                    Path(name).name,
                    name,
                    archive=archive,
                    constants=_constants(name),
                )
                for name in sorted(archive.namelist())
                if not name.endswith("/")
            ]
        return
    if root.is_file():
        found = [root]
    elif root.is_dir():
        found = [file for file in root.rglob("*") if file.is_file()]
    else:
        parent = Path(*[part for part in root.parts if "*" not in part])
        while not parent.is_dir() and parent != parent.parent:
            parent = parent.parent
        found = [
            file
            for file in (parent.rglob("*") if "*" in path else [])
            if file.is_file() and fnmatch.fnmatch(str(file), str(root))
        ]
    if not found:
        raise DataError(
            "The data must be a file or a folder that exists. Received: "
            f"{path} (from {option}). Correct the path, or set DATA_DIR if "
            "the config refers to it."
        )
    base = root if root.is_dir() else Path()
    yield [
        File(
            str(file),
            file.name,
            str(file),
            constants=_constants(
                str(file.relative_to(base)) if root.is_dir() else str(file)
            ),
        )
        for file in sorted(found)
        # Marks of Spark and hidden files are no data.
        if not file.name.startswith((".", "_"))
    ]


def _constants(path: str) -> dict[str, str]:
    pairs = [
        part.split("=", 1) for part in Path(path).parts[:-1] if "=" in part
    ]
    return {name: value for name, value in pairs}


def _archive(root: Path, option: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(root)
    except zipfile.BadZipFile as error:
        raise DataError(
            f"The archive must be a zip file. Received: {root}, "
            f"{root.stat().st_size:,} bytes: {error} (from {option}). It is "
            "probably an interrupted download: fetch it again."
        ) from error


def _remote(path: str, option: str) -> list[File]:
    try:
        import fsspec
    except ImportError as error:
        raise DataError(
            "Addresses are read with fsspec. Received: "
            f"{path} (from {option}) without it. Install fsspec and the "
            "package of the store, such as s3fs or gcsfs."
        ) from error
    try:
        filesystem, place = fsspec.core.url_to_fs(path)
        if "*" in place:
            found = filesystem.glob(place)
        elif filesystem.isdir(place):
            found = filesystem.find(place)
        else:
            found = [place] if filesystem.exists(place) else []
    except Exception as error:
        raise DataError(
            f"The address must be readable. Received: {path} (from "
            f"{option}): {error}. Check its spelling and the credentials."
        ) from error
    if not found:
        raise DataError(
            "The data must be a file or a folder that exists. Received: "
            f"{path} (from {option}). Correct the address."
        )
    return [
        File(
            name,
            Path(name).name,
            name,
            filesystem=filesystem,
            constants=_constants(name.removeprefix(place)),
        )
        for name in sorted(found)
        if not Path(name).name.startswith((".", "_"))
    ]


def read_text(
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
        columns: Names of its columns in order; None takes the first line.
        delimiter: "::" or one character; '"' quotes where it is ",", ";".
        encoding: Of the file.
        quarantine: Receives lines that cannot be split into the columns.
        skip_header: Whether the first line holds names although `columns`
            gives them.

    Raises:
        DataError: If the file is empty, binary or compressed data that ends
            early.
    """
    quoting = delimiter in (",", ";")
    names = list(columns) if columns else []
    line = 1
    for block in blocks(file):
        if line == 1:
            block = block.removeprefix(b"\xef\xbb\xbf")
            _refuse_binary(block, file, encoding)
            if columns is None or skip_header:
                head, _newline, block = block.partition(b"\n")
                line = 2
                if columns is None:
                    text = head.decode(encoding, "replace").strip("\r\n")
                    names = next(csv.reader([text], delimiter=delimiter), [])
                    names = [name.strip() for name in names]
                    _refuse_repeated(names, file)
                if not block:
                    continue
        count = block.count(b"\n") + (not block.endswith(b"\n"))
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


def _refuse_repeated(names: Sequence[str], file: File) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(
            f"Names of columns must be different. Received: {repeated} more "
            f"than once (in the first line of {file.shown}). Rename them."
        )


def _refuse_binary(block: bytes, file: File, encoding: str) -> None:
    if b"\0" in block[:65_536]:
        raise DataError(
            f"A text file must hold text in {encoding}. Received: "
            f"{file.shown}, which holds NUL bytes: it is binary or UTF-16. "
            "Check source.format, or convert it to UTF-8."
        )


def blocks(file: File) -> Iterator[bytes]:
    """Streams a text file in blocks of whole lines."""
    rest = b""
    try:
        with file.open() as stream:
            while more := stream.read(BLOCK):
                end = more.rfind(b"\n") + 1
                if end:
                    yield rest + more[:end]
                    rest = more[end:]
                else:
                    rest += more
    except (EOFError, OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"The file must be complete. Received: {file.shown}: {error}. "
            "It is probably cut off or damaged: fetch it again."
        ) from error
    if rest:
        yield rest


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
        if encoding.lower() not in ("utf-8", "utf8"):
            block = block.decode(encoding).encode("utf-8")
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
        try:
            text = raw[at].decode(encoding).rstrip("\r")
        except UnicodeDecodeError:
            shown = raw[at].decode("latin-1")
            quarantine.add_line(
                f"it is not {encoding}", file.shown, start, shown
            )
            at += 1
            continue
        at += 1
        if not text.strip():
            continue
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
