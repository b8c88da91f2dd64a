"""Where files lie: local paths, archives, object stores.

A folder and a zip archive of it give the same; archives are read where they
are, without unpacking them to disk. Addresses such as "s3://bucket/log.csv"
go through fsspec.
"""

import codecs
import contextlib
import fnmatch
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from pipeline.sources.reading.stamps import Stamps
from pipeline.tables.schema import DataError

BLOCK = 16 * 2**20
# What damaged files raise.
DAMAGE = (EOFError, OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class File:
    """One file to read.

    Attributes:
        shown: How messages name it.
        name: Its own name, which says its format.
        raw: Opens its bytes as they lie there.
        constants: Columns that the names of its folders fix (hive style).
    """

    shown: str
    name: str
    raw: Callable[[], IO[bytes]]
    constants: dict[str, str] = field(default_factory=dict)

    def open(self) -> IO[bytes]:
        """Opens the bytes, uncompressed where the name ends in .gz.

        Raises:
            DataError: If it is a member of an archive that cannot be unpacked.
        """
        raw = self.raw()
        if self.name.endswith(".gz"):
            return cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
        return raw


@contextlib.contextmanager
def find(path: str, option: str) -> Iterator[list[File]]:
    """Finds the files at a path, for the length of a block.

    It may be a file, a folder (files at any depth), a zip archive (its
    members, read in place), a glob, or the same behind an fsspec address;
    `option` is the config key it is from, for messages.

    Raises:
        DataError: If nothing is there, or an archive is corrupt.
    """
    if "://" in path:
        filesystem, asked, names = _remote(path, option)
        root, opened = asked, cast("Callable[..., IO[bytes]]", filesystem.open)
    else:
        names, opened = _matches(path), open
        place = Path(path).expanduser()
        asked = str(place)
        root = asked if place.is_dir() else ""
        if not names:
            raise DataError(
                "The data must be a file or a folder that exists. Received: "
                f"{path} (from {option}). Correct the path, or set DATA_DIR if "
                "the config refers to it."
            )
    found = [
        _file(n, n.removeprefix(root), partial(opened, n, "rb"))
        for n in _shown(names, asked)
    ]
    if len(found) != 1 or not found[0].name.endswith(".zip"):
        yield found
        return
    with found[0].open() as stream, _archive(stream, path, option) as archive:
        members = sorted(n for n in archive.namelist() if n[-1] != "/")
        yield [
            _file(
                f"{path}/{name}", name, partial(_unpacked, archive, name, path)
            )
            for name in _shown(members, path)
        ]


def _shown(names: list[str], asked: str) -> list[str]:
    """Names of data: what Spark, notebooks and Macs leave beside it is none.

    Hidden are files and folders whose name begins with "." or, but for Hive's
    `_key=value`, with "_"; unless the path that was asked for says so itself.
    """
    said = [part for part in Path(asked).parts if part.startswith((".", "_"))]

    def is_hidden(part: str) -> bool:
        return (
            part.startswith(".") or (part.startswith("_") and "=" not in part)
        ) and not any(part == one or fnmatch.fnmatch(part, one) for one in said)

    shown = [n for n in names if not any(map(is_hidden, Path(n).parts))]
    if names and not shown:
        raise DataError(
            "Data must not be hidden by a name that begins with . or _. "
            f"Received: {names[0]} and nothing else (in {asked}). Name that "
            "folder or file in the path itself, or rename it."
        )
    return shown


def _unpacked(archive: zipfile.ZipFile, name: str, path: str) -> IO[bytes]:
    try:
        return archive.open(name)
    except RuntimeError as error:
        raise DataError(
            "A zip archive must be without a password and packed by a usual "
            f"method. Received: {path}/{name}: {error}. Unpack it and give "
            "the folder, or pack it again."
        ) from error


def _file(shown: str, inner: str, raw: Callable[[], IO[bytes]]) -> File:
    """A file by its path below what was asked for."""
    folders = Path(inner).parts[:-1]
    fixed = dict(part.split("=", 1) for part in folders if "=" in part)
    return File(shown, Path(shown).name, raw, fixed)


def _matches(path: str) -> list[str]:
    """The files at a local path or behind its pattern."""
    root = Path(path).expanduser()
    if root.is_file():
        return [str(root)]
    if root.is_dir():
        found = root.rglob("*")
    elif "*" in path:
        parent = Path(*[part for part in root.parts if "*" not in part])
        while not parent.is_dir() and parent != parent.parent:
            parent = parent.parent
        found = (
            file
            for file in parent.rglob("*")
            if fnmatch.fnmatch(str(file), str(root))
        )
    else:
        return []
    return [str(file) for file in sorted(found) if file.is_file()]


def content(path: str, stamps: Stamps) -> str | dict[str, str]:
    """What changes when the data at a source path do.

    Digests of local files; for an address what its store says of each object
    (entity tag, or size and time). What is not there yet has none.

    Args:
        path: A file, a folder, a pattern or an address.
        stamps: Of what need not be read again.

    Raises:
        DataError: If nothing is at an address, or it cannot be reached.
    """
    if "://" in path:
        filesystem, asked, names = _remote(path, "[source]")
        shown = _shown(names, asked)
        return {name: str(filesystem.checksum(name)) for name in shown}
    root = Path(path).expanduser()
    if root.exists():
        return stamps.digest(root)
    # The files that are read, by the same rule.
    shown = _shown(_matches(path), str(root))
    return {name: stamps.digest(Path(name)) for name in shown}


def _archive(stream: IO[bytes], path: str, option: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(stream)
    except zipfile.BadZipFile as error:
        size = stream.seek(0, io.SEEK_END)
        raise DataError(
            f"The archive must be a zip file. Received: {path}, "
            f"{size:,} bytes: {error} (from {option}). It is probably an "
            "interrupted download: fetch it again."
        ) from error


def _remote(path: str, option: str) -> tuple[Any, str, list[str]]:
    """File system of an address, its place there, and the files at it."""
    import fsspec

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
    return filesystem, place, sorted(found)


def blocks(file: File) -> Iterator[bytes]:
    """Streams a text file in blocks of whole lines, which end in newlines.

    UTF-16 with its mark, as Excel writes "Unicode text", comes as UTF-8.
    """
    rest = b""
    old_mac = None
    wide: codecs.IncrementalDecoder | None = None
    try:
        with file.open() as stream:
            while more := stream.read(BLOCK):
                if old_mac is None and more.startswith(_WIDE):
                    wide = codecs.getincrementaldecoder("utf-16")("replace")
                if wide is not None:
                    more = wide.decode(more).encode("utf-8")
                if old_mac is None:
                    # Lines that end in a carriage return alone.
                    old_mac = b"\r" in more[:-1] and b"\n" not in more
                if old_mac:
                    more = more.replace(b"\r", b"\n")
                end = more.rfind(b"\n") + 1
                if end:
                    yield rest + more[:end]
                    rest = more[end:]
                else:
                    rest += more
    except DAMAGE as error:
        raise DataError(
            f"The file must be complete. Received: {file.shown}: {error}. "
            "It is probably cut off or damaged: fetch it again."
        ) from error
    if rest:
        yield rest
