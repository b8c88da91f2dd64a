"""Steps are complete or absent, whatever interrupts them."""

import errno
import os
import platform
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from pipeline.run import manifest


def _write(directory: Path, text: str, inputs: dict) -> None:
    with manifest.stage(directory, inputs) as staging:
        (staging / "data").write_text(text)


def test_a_step_is_current_for_its_own_inputs_only(tmp_path: Path) -> None:
    step = tmp_path / "step"
    assert not manifest.is_current(step, {"a": 1})
    _write(step, "one", {"a": 1})
    for damaged in ("", "{", "[]", "{}"):
        (step / manifest.MANIFEST).write_text(damaged)
        assert not manifest.is_current(step, {"a": 1})
    _write(step, "one", {"a": 1, "nested": {"b": (1, 2)}})
    assert manifest.is_current(step, {"a": 1, "nested": {"b": [1, 2]}})
    assert not manifest.is_current(step, {"a": 2, "nested": {"b": (1, 2)}})
    assert not manifest.is_current(step, {"a": 1})


def test_a_failed_step_leaves_the_old_one(tmp_path: Path) -> None:
    step = tmp_path / "step"
    _write(step, "old", {"a": 1})
    with pytest.raises(RuntimeError, match="broken"):
        with manifest.stage(step, {"a": 2}) as staging:
            (staging / "data").write_text("half")
            raise RuntimeError("broken")
    assert (step / "data").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["step"]


def test_a_full_disk_is_one_kind_of_error_whoever_meets_it(
    tmp_path: Path,
) -> None:
    with pytest.raises(OSError, match="No space left on device") as caught:
        with manifest.stage(tmp_path / "step", {}):
            raise RuntimeError("SaveV2: x.tempstate; No space left on device")
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_a_rerun_replaces_every_file(tmp_path: Path) -> None:
    step = tmp_path / "step"
    _write(step, "old", {"a": 1})
    (step / "stale").write_text("of the old run")
    _write(step, "new", {"a": 2})
    assert (step / "data").read_text() == "new"
    assert not (step / "stale").exists()


def test_a_killed_step_is_rerun_from_the_start(tmp_path: Path) -> None:
    step = tmp_path / "step"
    _write(step, "old", {"a": 1})
    script = (
        "import pathlib, sys, time\n"
        "from pipeline.run import manifest\n"
        f"with manifest.stage(pathlib.Path({str(step)!r}), {{'a': 2}}) as s:\n"
        "    (s / 'data').write_text('half')\n"
        "    print('started', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert (step / "data").read_text() == "old"
    assert not manifest.is_current(step, {"a": 2})
    _write(step, "new", {"a": 2})
    assert (step / "data").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["step"]


def test_an_upstream_rerun_changes_what_follows(tmp_path: Path) -> None:
    step = tmp_path / "step"
    _write(step, "same", {"a": 1})
    first = manifest.file_digest(step / manifest.MANIFEST)
    _write(step, "same", {"a": 1})
    assert manifest.file_digest(step / manifest.MANIFEST) != first


def test_file_digest_follows_content_and_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    first = manifest.file_digest(tmp_path)
    (tmp_path / "b").rename(tmp_path / "c")
    assert manifest.file_digest(tmp_path) != first
    (tmp_path / "c").rename(tmp_path / "b")
    assert manifest.file_digest(tmp_path) == first
    os.utime(tmp_path / "a", (0, 0))
    assert manifest.file_digest(tmp_path) == first


def test_code_digest_covers_imported_modules_only() -> None:
    found = manifest.code("pipeline.retrieval.index")
    assert {"pipeline.retrieval.index", "pipeline.tables.prepared"} <= set(
        found
    )
    assert not {"pipeline.ranking.train", "pipeline.status"} & set(found)
    assert manifest.code("pipeline.missing") == {}


def test_library_versions_are_those_that_a_step_computes_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare, retrieval, index = (
        manifest.library_versions(f"pipeline.{name}")
        for name in ("prepare.step", "retrieval.train", "retrieval.index")
    )
    assert prepare["duckdb"] == metadata.version("duckdb")
    assert {"ibis-framework", "numpy", "pyarrow"} <= prepare.keys()
    assert not {"tensorflow", "scann"} & prepare.keys()
    assert {"tensorflow", "tf-keras"} <= retrieval.keys()
    assert "scann" in index and "scann" not in retrieval
    # Whoever reads the prepared tables does without what made them.
    assert not {"duckdb", "ibis-framework"} & (retrieval | index).keys()
    assert "rich" not in manifest.library_versions("pipeline.evaluate.step")
    known = metadata.version
    monkeypatch.setattr(
        metadata,
        "version",
        lambda name: "99" if name == "scann" else known(name),
    )
    assert manifest.library_versions("pipeline.retrieval.index") != index
    assert manifest.library_versions("pipeline.prepare.step") == prepare


def test_a_record_says_what_the_step_took_and_ran_on(tmp_path: Path) -> None:
    for name, size in (("large", 200), ("small", 0)):
        with manifest.stage(tmp_path / name, {}):
            bytearray(b"x") * (size * 2**20)
    large, small = (
        manifest.Record.read(tmp_path / name) for name in ("large", "small")
    )
    assert large and small
    # Each step's own, not that of the process so far.
    assert large.peak_bytes > small.peak_bytes + 100 * 2**20
    assert small.peak_bytes > 2**20
    assert small.machine["python"] == platform.python_version()
    assert small.machine["cpu"] and small.machine["cores"]
    # What was made before this was kept is read as well.
    path = tmp_path / "small" / manifest.MANIFEST
    path.write_text('{"inputs": {}, "made_at": 1, "seconds": 1.0}')
    old = manifest.Record.read(tmp_path / "small")
    assert old and not old.peak_bytes and not old.machine
