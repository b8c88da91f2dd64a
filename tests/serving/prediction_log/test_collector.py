"""Files of bounded size: what is kept, what goes, what a full disk leaves."""

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.prediction_log import records
from serving.prediction_log.collector import SUFFIX, Collector
from serving.prediction_log.records import Record


def stored(directory: Path) -> list[bytes]:
    """What all files hold, in their order; none is damaged."""
    found = [
        one
        for path in sorted(directory.glob(f"*{SUFFIX}"))
        for one in records.read(path)
    ]
    assert all(isinstance(one, Record) for one in found), found
    return [one.data for one in found]


@contextlib.contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """A write beyond fails, its first bytes written, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_written_is_there_at_once(tmp_path: Path) -> None:
    collector = Collector(f"{tmp_path}/new/log", 2**20)
    collector.write([b"one", b"two"])
    assert stored(tmp_path / "new") == [b"one", b"two"]
    collector.close()
    collector.write([b"three"])
    collector.close()
    assert stored(tmp_path / "new") == [b"one", b"two", b"three"]


def test_the_oldest_files_make_room(tmp_path: Path) -> None:
    (tmp_path / "other-file.tfrecord").write_bytes(b"x" * 9000)
    collector = Collector(f"{tmp_path}/log", 4000)
    batches = [[b"%03d" % number * 100] for number in range(40)]
    for batch in batches:
        collector.write(batch)
        ours = list(tmp_path.glob("log-*"))
        assert sum(path.stat().st_size for path in ours) <= 4000
    collector.close()
    (tmp_path / "other-file.tfrecord").unlink()
    kept = stored(tmp_path)
    # Of 4,000 bytes a quarter may be free, for the file that is written next.
    assert len(kept) >= 9
    assert kept == [batch[0] for batch in batches][-len(kept) :]


def test_nothing_is_left_of_a_trial(tmp_path: Path) -> None:
    Collector(f"{tmp_path}/deep/log", 2**20).check()
    assert not list((tmp_path / "deep").iterdir())


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory|File exists"):
        Collector(f"{tmp_path}/file/log", 2**20).check()


def test_a_full_disk_leaves_whole_batches(tmp_path: Path) -> None:
    collector = Collector(f"{tmp_path}/log", 2**20)
    collector.write([b"a" * 100])
    with files_up_to(300), pytest.raises(OSError, match="too large"):
        collector.write([b"b" * 100, b"c" * 100, b"d" * 100])
    assert stored(tmp_path) == [b"a" * 100]
    collector.write([b"e"])
    collector.close()
    assert stored(tmp_path) == [b"a" * 100, b"e"]
