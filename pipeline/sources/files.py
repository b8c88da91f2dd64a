"""Text files in folders and archives, as batches of raw columns.

A folder and a zip archive of it give the same batches; archives are read
where they are, without unpacking them to disk.
"""

import contextlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
from pyarrow import csv

from pipeline.quarantine import Quarantine
from pipeline.schema import DataError
from pipeline.sources.canonical import Batch

BLOCK = 16 * 2**20


class Folder:
    """Files by their name, in a directory or an archive."""

    def __init__(self, root: str, members: dict[str, str]) -> None:
        self.root = root
        self.archive: zipfile.ZipFile | None = None
        self._members = members

    def names(self) -> list[str]:
        """File names, sorted."""
        return sorted(self._members)

    def has(self, name: str) -> bool:
        """Whether the folder has a file of this name."""
        return name in self._members

    def open(self, name: str) -> IO[bytes]:
        """Opens a file for reading."""
        if self.archive is not None:
            return self.archive.open(self._members[name])
        return open(self._members[name], "rb")

    def lines(
        self,
        name: str,
        columns: Sequence[str],
        delimiter: str,
        encoding: str,
        quarantine: Quarantine,
        header: bool = False,
    ) -> Iterator[Batch]:
        """Reads a text file of named columns.

        Args:
            name: Of the file.
            columns: Names to give to its columns, in order.
            delimiter: "::" or one character; quoting is known with ",".
            encoding: Of the file.
            quarantine: Receives lines with another number of columns.
            header: Whether the first line holds names, which are skipped.

        Raises:
            DataError: If the file is empty or cannot be read.
        """
        with self.open(name) as raw:
            stream: IO[bytes] = raw
            if delimiter == "::":
                stream = io.BufferedReader(_Replaced(raw))
                delimiter = "\t"
            yield from read_csv(
                stream,
                f"{self.root}/{name}",
                list(columns),
                delimiter,
                encoding,
                quarantine,
                quoting=delimiter == ",",
                skip=int(header),
            )


class _Replaced(io.RawIOBase):
    """Turns "::" into a tab; Arrow knows separators of one byte only."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        # Replacing shrinks, so the result of as many bytes always fits.
        block = self._rest + self._raw.read(len(buffer) - len(self._rest))
        self._rest = b""
        if block.endswith(b":") and len(block) < len(buffer) + 1:
            more = self._raw.read(1)
            if len(block) + len(more) > len(buffer):
                block, self._rest = block[:-1], b":" + more
            else:
                block += more
        block = block.replace(b"::", b"\t")
        buffer[: len(block)] = block
        return len(block)


def read_csv(
    stream: IO[bytes],
    shown: str,
    columns: list[str] | None,
    delimiter: str,
    encoding: str,
    quarantine: Quarantine,
    quoting: bool,
    skip: int = 0,
) -> Iterator[Batch]:
    """Streams a delimited text as batches of text columns.

    Args:
        stream: The bytes.
        shown: Name of the file in messages.
        columns: Names of the columns; None takes them from the first line.
        delimiter: One character.
        encoding: Of the bytes.
        quarantine: Receives lines with another number of columns.
        quoting: Whether '"' quotes.
        skip: Lines to leave out at the start.

    Raises:
        DataError: If the file is empty or cannot be read.
    """
    broken: list[str] = []

    def on_invalid(row: csv.InvalidRow) -> str:
        broken.append(row.text)
        quarantine.add_line(
            f"it has {row.actual_columns} columns instead of "
            f"{row.expected_columns}",
            shown,
            row.number or 0,
            row.text,
        )
        return "skip"

    try:
        reader = csv.open_csv(
            stream,
            read_options=csv.ReadOptions(
                block_size=BLOCK,
                column_names=columns,
                skip_rows=skip,
                encoding=encoding,
            ),
            parse_options=csv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if quoting else False,
                invalid_row_handler=on_invalid,
            ),
            convert_options=csv.ConvertOptions(
                default_column_type=pa.string(),
                strings_can_be_null=False,
            ),
        )
        line = 1 + skip + (columns is None)
        for batch in reader:
            rows = batch.num_rows
            yield Batch(
                dict(zip(batch.schema.names, batch.columns, strict=True)),
                np.arange(line, line + rows),
                shown,
            )
            line += rows
    except (pa.ArrowInvalid, UnicodeDecodeError, zipfile.BadZipFile) as error:
        raise DataError(
            "A text file must have rows, one encoding and one number of "
            f"columns. Received: {str(error).splitlines()[0]} (from {shown}). "
            f"Check the file and source.encoding (now {encoding!r})."
        ) from error


@contextlib.contextmanager
def open_folder(path: str) -> Iterator[Folder]:
    """Opens a directory or a zip archive for the length of a block.

    Args:
        path: Of either; files are found at any depth by their name.

    Raises:
        DataError: If nothing is there, or the archive is corrupt.
    """
    root = Path(path)
    if root.is_dir():
        members = {
            str(file.name): str(file)
            for file in sorted(root.rglob("*"), reverse=True)
            if file.is_file()
        }
        yield Folder(path, members)
        return
    if not root.is_file():
        raise DataError(
            "The data must be a file or a folder that exists. Received: "
            f"{path} (from source.path). Correct the path, or set DATA_DIR "
            "if the config refers to it."
        )
    try:
        archive = zipfile.ZipFile(root)
    except zipfile.BadZipFile as error:
        raise DataError(
            f"The archive must be a zip file. Received: {path}, "
            f"{root.stat().st_size:,} bytes: {error} (from source.path). "
            "It is probably an interrupted download: fetch it again."
        ) from error
    with archive:
        members = {
            Path(name).name: name
            for name in sorted(archive.namelist(), reverse=True)
            if not name.endswith("/")
        }
        folder = Folder(path, members)
        folder.archive = archive
        yield folder
