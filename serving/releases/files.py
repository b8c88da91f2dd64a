"""Files and folders that are there whole or not at all.

They are written beside their place, synced and renamed, so that a process
killed at any moment, or a full disk, leaves what stood there before.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

STAGING = ".staging-"


@contextlib.contextmanager
def staged(final: Path) -> Iterator[Path]:
    """Yields a path to write a file or a folder to that becomes `final`.

    A file that stands there is replaced; a folder must not stand there.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    staging = final.with_name(STAGING + final.name)
    discard(staging)  # Left by a run that was killed.
    try:
        yield staging
        sync(staging)
        os.replace(staging, final)
    except BaseException:
        discard(staging)
        raise
    flush(final.parent)


def link(source: str | Path, target: str | Path) -> None:
    """The same file twice, or a copy where links are not to be had."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def discard(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flushes a file, or a folder and everything in it, to disk."""
    for folder, _, names in os.walk(path):
        for name in names:
            flush(Path(folder, name))
        flush(Path(folder))
    if path.is_file():
        flush(path)


def flush(path: Path) -> None:
    """Flushes one file, or the entries of one folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
