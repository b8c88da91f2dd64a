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
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from pipeline.run import manifest
from pipeline.tables.schema import DataError

BLOCK = 16 * 2**20
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


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
            members, read in place), a glob, or the same behind an fsspec
            address.
        option: Config key the path is from, for messages.

    Raises:
        DataError: If nothing is there, or an archive is corrupt.
    """
    found = _remote(path, option) if "://" in path else _local(path, option)
    if len(found) == 1 and found[0].name.endswith(".zip"):
        with (
            found[0].open() as stream,
            _archive(stream, path, option) as archive,
        ):
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
    yield found


def _local(path: str, option: str) -> list[File]:
    root, found = Path(path).expanduser(), _matches(path)
    if not found:
        raise DataError(
            "The data must be a file or a folder that exists. Received: "
            f"{path} (from {option}). Correct the path, or set DATA_DIR if "
            "the config refers to it."
        )
    return [
        File(
            str(file),
            file.name,
            str(file),
            constants=_constants(
                str(file.relative_to(root)) if root.is_dir() else str(file)
            ),
        )
        for file in sorted(found)
        # Marks of Spark and hidden files are no data.
        if not file.name.startswith((".", "_"))
    ]


def _matches(path: str) -> list[Path]:
    """The files at a local path or behind its pattern."""
    root = Path(path).expanduser()
    if root.is_file():
        return [root]
    if root.is_dir():
        return [file for file in root.rglob("*") if file.is_file()]
    parent = Path(*[part for part in root.parts if "*" not in part])
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    return [
        file
        for file in (parent.rglob("*") if "*" in path else [])
        if file.is_file() and fnmatch.fnmatch(str(file), str(root))
    ]


def content(path: str) -> str | dict[str, str]:
    """What changes when the data at a source path do.

    Returns:
        Digest of a file or a folder, or one for each file of a pattern; for
        an address what its store says of each object (entity tag, or size
        and time). A file that is not there yet has none.

    Raises:
        DataError: If nothing is at an address, or it cannot be reached.
    """
    if "://" in path:
        return {
            file.place: str(file.filesystem.checksum(file.place))
            for file in _remote(path, "[source]")
        }
    root = Path(path).expanduser()
    if root.exists():
        return manifest.file_digest(root)
    # The files that are read, by the same rule.
    return {
        str(match): manifest.file_digest(match)
        for match in sorted(_matches(path))
    }


def _constants(path: str) -> dict[str, str]:
    pairs = [
        part.split("=", 1) for part in Path(path).parts[:-1] if "=" in part
    ]
    return {name: value for name, value in pairs}


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
    except (EOFError, OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"The file must be complete. Received: {file.shown}: {error}. "
            "It is probably cut off or damaged: fetch it again."
        ) from error
    if rest:
        yield rest
