"""One writer a folder, whoever dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from serving.releases import locks

ROOT = Path(__file__).parents[3]
HOLDER = """
import pathlib, sys, time
from serving.releases import locks
with locks.Lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def _hold(path: Path) -> subprocess.Popen[bytes]:
    """Another process that has the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    process.stdout.close()
    return process


def _kill(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_the_second_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    process = _hold(tmp_path / "new" / ".lock")
    with pytest.raises(locks.Held) as caught:
        with locks.Lock(tmp_path / "new" / ".lock"):
            raise AssertionError("two at once")
    _kill(process)
    told = str(caught.value)
    assert f"pid {process.pid} on {os.uname().nodename}, since 20" in told
    assert "-c" in told and str(tmp_path / "new") in told
    assert "\n" not in told


def test_a_killed_owner_is_recognized_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    process = _hold(tmp_path / ".lock")
    _kill(process)
    lines: list[str] = []
    with locks.Lock(tmp_path / ".lock", progress=lines.append):
        (line,) = lines
    assert f"pid {process.pid} " in line and "without giving it back" in line
    # Who came after it gave it back.
    with locks.Lock(tmp_path / ".lock", progress=lines.append):
        assert len(lines) == 1


def test_who_waits_says_so_and_gets_it(tmp_path: Path) -> None:
    lines: list[str] = []
    path = tmp_path / ".lock"
    got = threading.Event()

    def wait() -> None:
        with locks.Lock(path, 20.0, lines.append):
            got.set()

    with locks.Lock(path):
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.3)
        assert not got.is_set()
        assert f"waiting for `{Path(sys.executable).name}" in lines[0]
    waiting.join(10.0)
    assert got.is_set()
    assert len(lines) == 1
    with locks.Lock(path), pytest.raises(locks.Held, match=r"after 0.1 s"):
        with locks.Lock(path, 0.1, lines.append):
            pass


def test_it_is_held_until_the_outermost_block_ends(tmp_path: Path) -> None:
    lock, other = (locks.Lock(tmp_path / ".lock") for _ in range(2))
    with lock:
        with lock:
            pass
        with pytest.raises(locks.Held), other:
            pass
    with other:
        pass


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b'{"pid": 1}', b"\xff"])
def test_a_record_that_cannot_be_read_keeps_nobody_away(
    tmp_path: Path, record: bytes
) -> None:
    path = tmp_path / ".lock"
    path.write_bytes(record)
    with locks.Lock(path), pytest.raises(locks.Held):
        path.write_bytes(record)
        with locks.Lock(path):
            pass
