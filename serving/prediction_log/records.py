"""TFRecord files: how a record is framed, and reading past broken ones.

A record is its length in 8 bytes, the masked CRC32C of those, the data and
the masked CRC32C of the data; numbers are little-endian. The format is
TensorFlow's (`core/lib/io/record_writer.h`).
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
# Bytes that a record takes beside its data.
OVERHEAD = _HEADER.size + _FOOTER.size
_MASK = 0xA282EAD8


@dataclass(frozen=True)
class Record:
    """One record and where it begins."""

    path: Path
    offset: int
    data: bytes


@dataclass(frozen=True)
class Broken:
    """What could not be read, and where it begins."""

    path: Path
    offset: int
    why: str

    def __str__(self) -> str:
        return f"{self.path}, byte {self.offset}: {self.why}"


def frame(data: bytes) -> bytes:
    """A record as it stands in a file."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        (
            length,
            _FOOTER.pack(_masked(length)),
            data,
            _FOOTER.pack(_masked(data)),
        )
    )


def read(path: Path) -> Iterator[Record | Broken]:
    """Reads a file from front to back.

    A record whose data are damaged is passed over. Behind a damaged length
    nothing tells where the next record begins: the rest is one `Broken`.

    Raises:
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size
        while left:
            offset = file.tell()
            if left < OVERHEAD:
                yield Broken(path, offset, f"cut off after {left} bytes")
                return
            header = file.read(_HEADER.size)
            length, checksum = _HEADER.unpack(header)
            if checksum != _masked(header[:8]):
                why = f"no record begins here, {left} bytes are passed over"
                yield Broken(path, offset, why)
                return
            if length > left - OVERHEAD:
                why = f"cut off after {left} of {length + OVERHEAD} bytes"
                yield Broken(path, offset, why)
                return
            data = file.read(length)
            (checksum,) = _FOOTER.unpack(file.read(_FOOTER.size))
            if checksum == _masked(data):
                yield Record(path, offset, data)
            else:
                yield Broken(path, offset, "the data are not those written")
            left -= length + OVERHEAD


def _masked(data: bytes) -> int:
    value: int = google_crc32c.value(data)
    return ((value >> 15 | value << 17) + _MASK) & 0xFFFFFFFF
