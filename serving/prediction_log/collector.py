"""Writes records to files of bounded size; the oldest make room for new ones.

    <prefix>-20260131T120000Z-<host>-<process>-000001.tfrecord

The name keeps apart what several servers write below one prefix. A batch is
in the file whole or not at all, a full disk included; a process that is killed
leaves a last record that is cut off.
"""

import datetime
import glob
import itertools
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from serving.prediction_log import records

# What `log_collector_config` calls this.
TYPE = "tfrecord"
SUFFIX = ".tfrecord"
_MOST_FILE_BYTES = 2**26
_PIECES = 4


class Collector:
    """The files below one prefix that this host writes.

    Args:
        prefix: Absolute path that all names begin with.
        limit_bytes: What all of them together may take.

    Attributes:
        file_bytes: What one of them may take.
    """

    def __init__(self, prefix: str, limit_bytes: int) -> None:
        self.prefix = prefix
        self.file_bytes = min(_MOST_FILE_BYTES, limit_bytes // _PIECES)
        self._closed_bytes = limit_bytes - self.file_bytes
        self._numbers = itertools.count(1)
        self._path = Path()
        self._descriptor = -1
        self._size = 0

    def check(self) -> None:
        """Tries whether a file can be made.

        Raises:
            OSError: If not.
        """
        self._open()
        self.close()

    def write(self, batch: Sequence[bytes]) -> None:
        """Appends a batch of records, `file_bytes` at most, to a file.

        Raises:
            OSError: If it cannot; nothing of it is in the file.
        """
        data = b"".join(map(records.frame, batch))
        if self._size and self._size + len(data) > self.file_bytes:
            self.close()
        if self._descriptor < 0:
            self._open()
            self._make_room()
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            self.close()
            raise
        self._size += len(data)

    def close(self) -> None:
        """Ends the file that is open; one without a record is removed."""
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        try:
            if self._size:
                os.fsync(descriptor)
            else:
                self._path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
            self._size = 0

    def _open(self) -> None:
        stamp = f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}"
        self._path = Path(
            f"{self.prefix}-{stamp}-{socket.gethostname()}-{os.getpid()}-"
            f"{next(self._numbers):06}{SUFFIX}"
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._descriptor = os.open(self._path, flags, 0o640)

    def _make_room(self) -> None:
        """Removes the oldest files of this host beyond the limit."""
        pattern = f"{glob.escape(self.prefix)}-*-{socket.gethostname()}-*"
        found = sorted(
            Path(name)
            for name in glob.glob(pattern + SUFFIX)
            if Path(name) != self._path
        )
        sizes = [path.stat().st_size for path in found]
        total = sum(sizes)
        for path, size in zip(found, sizes, strict=True):
            if total <= self._closed_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size
