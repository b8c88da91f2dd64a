"""A healthy machine, and each way in which one is not."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.onboard import doctor
from serving.releases import history
from tests.support.ports import free_port

ROOT = Path(__file__).parents[3]
DOCTOR = ["pipeline.onboard.doctor"]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text("user,item\n")
    path = tmp_path / "run.toml"
    path.write_text('name = "run"\n[source]\npath = "log.csv"\n')
    return path


def examined(
    config: Path, port: int | None = None
) -> dict[str, doctor.Finding]:
    """The worst finding by name."""
    found: dict[str, doctor.Finding] = {}
    for one in doctor.examine(config, [port or free_port()]):
        if one.name not in found or found[one.name].state == "ok":
            found[one.name] = one
    return found


def test_a_healthy_machine(config: Path) -> None:
    found = examined(config)
    assert {name for name, one in found.items() if one.state == "wrong"} <= {
        "memory",
        "disk",
    }
    assert found["data"].found == "log.csv"
    assert found["release"].found.startswith("nothing is published")
    assert not any(one.advice for one in found.values() if one.state == "ok")


def old_python(monkeypatch: pytest.MonkeyPatch, config: Path) -> str:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    return "PYTHON=python3.11"


def other_packages(monkeypatch: pytest.MonkeyPatch, config: Path) -> str:
    pins = config.with_name("requirements.txt")
    pins.write_text("numpy==1.0  # old\nnot-there-at-all[extra]==2.1\n")
    monkeypatch.setattr(doctor, "REQUIREMENTS", pins)
    return "make setup"


def full_disk(monkeypatch: pytest.MonkeyPatch, config: Path) -> str:
    usage = shutil.disk_usage("/")._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    return "`artifacts`"


def little_memory(monkeypatch: pytest.MonkeyPatch, config: Path) -> str:
    monkeypatch.setattr(os, "sysconf", lambda name: 2**15)
    return "4 GiB"


def no_data(monkeypatch: pytest.MonkeyPatch, config: Path) -> str:
    config.with_name("log.csv").unlink()
    return "seen from"


def no_config(monkeypatch: pytest.MonkeyPatch, config: Path) -> str:
    config.write_text("name = ")
    return "make init-config"


def no_programs(monkeypatch: pytest.MonkeyPatch, config: Path) -> str:
    monkeypatch.setenv("PATH", str(config.parent))
    return "openjdk-17-jre-headless"


def broken_release(monkeypatch: pytest.MonkeyPatch, config: Path) -> str:
    serving = config.parent / "artifacts" / "serving"
    serving.mkdir(parents=True)
    (serving / history.POINTER).write_text(history.comment([3]) + "\n")
    return "make rollback"


@pytest.mark.parametrize(
    ("spoil", "name", "state"),
    [
        (old_python, "Python", "wrong"),
        (other_packages, "packages", "wrong"),
        (full_disk, "disk", "wrong"),
        (little_memory, "memory", "wrong"),
        (no_data, "data", "wrong"),
        (no_config, "config", "wrong"),
        (no_programs, "Java", "missing"),
        (broken_release, "release", "wrong"),
    ],
)
def test_what_is_broken_is_named_with_what_to_do(
    spoil: Callable[[pytest.MonkeyPatch, Path], str],
    name: str,
    state: str,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = examined(config).get(name)
    advice = spoil(monkeypatch, config)
    found = examined(config)[name]
    assert found.state == state
    assert advice in found.advice
    assert before is None or before != found


def test_a_port_that_is_taken_or_none(config: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        for port in (taken.getsockname()[1], 85_000):
            found = examined(config, port)["port"]
            assert found.state == "missing" and "PORT=" in found.advice


def test_data_are_where_the_environment_says(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('[source]\npath = "${DATA_DIR}/log.csv"\n')
    assert examined(config)["data"].state == "wrong"
    monkeypatch.setenv("DATA_DIR", str(config.parent))
    assert examined(config)["data"].state == "ok"


def test_data_are_in_the_home_of_who_says_so(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('[source]\npath = "~/log.csv"\n')
    monkeypatch.setenv("HOME", str(config.parent))
    assert examined(config)["data"].state == "ok"


def test_a_source_that_is_no_section(config: Path) -> None:
    config.write_text('source = "movielens"\n')
    found = examined(config)["config"]
    assert found.state == "wrong" and "[source]" in found.advice


def test_a_processor_without_vectors(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nflags : fpu sse2 fma\n")
    found = doctor.cpu(info)
    assert found.state == "wrong" and found.found == "lacks avx2"
    info.write_text("processor : 0\nflags : avx2 fpu fma\n")
    assert doctor.cpu(info).state == "ok"


def test_a_step_that_was_stopped_is_named(config: Path) -> None:
    run = config.parent / "artifacts" / "runs" / "run"
    (run / ".staging-index").mkdir(parents=True)
    (run / "prepare").mkdir()
    (run / "prepare" / "manifest.json").write_text("{}")
    found = [str(one) for one in doctor.examine(config, [])]
    assert any(line.endswith("run: prepare") for line in found)
    assert any(".staging-index" in line for line in found)


def test_it_runs_before_anything_is_installed(config: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-S", "-m", *DOCTOR, "--config", config],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        cwd=config.parent,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert "make setup" in run.stdout
    assert not run.stderr
