"""`make doctor`: what this machine lacks, and what to do.

Enters: a config, the pins, the machine. Leaves: one finding a line. Imports
nothing but the standard library until the packages are known to be there, so
that it runs before anything is installed.
"""

import argparse
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

GIB = 2**30
REQUIREMENTS = Path(__file__).parents[2] / "requirements.txt"
_PYTHONS = ((3, 11), (3, 12))
_PIN = re.compile(r"([\w.-]+)(?:\[[\w,]+\])?==([\w.]+)")
_CPU_FEATURES = ("avx2", "fma")
_LEAST_MEMORY = 4 * GIB
_LEAST_DISK = 5 * GIB
_CGROUPS = ("memory.max", "memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: "missing" is only needed for what `found` names.
        name: What was looked at.
        found: In words.
        advice: What to do, "" where nothing is.
    """

    state: Literal["ok", "missing", "wrong"]
    name: str
    found: str
    advice: str = ""

    def __str__(self) -> str:
        line = f"{self.state:8}{self.name:12}{self.found}"
        return f"{line}\n{'':20}{self.advice}" if self.advice else line


def examine(config: Path, ports: Sequence[int]) -> Iterator[Finding]:
    """Looks at everything, the cheapest first.

    Args:
        config: The run's TOML file.
        ports: Where the server is to listen.
    """
    yield _python()
    packages = _packages(REQUIREMENTS.read_text(encoding="utf-8"))
    yield packages
    yield cpu(Path("/proc/cpuinfo"))
    yield _memory()
    values, finding = _config(config)
    yield finding
    artifacts = Path(values.get("artifacts") or "artifacts")
    yield _disk(artifacts)
    yield from _data(values)
    for port in ports:
        yield _port(port)
    yield _program(
        "Java",
        ["java", "-version"],
        17,
        "Spark, nothing else",
        "Install a Java 17 runtime, on Debian openjdk-17-jre-headless.",
    )
    yield _program(
        "Node",
        ["node", "--version"],
        18,
        "the on-device page, nothing else",
        "Install Node 18 or newer, on Debian nodejs and npm.",
    )
    yield _program(
        "Chromium",
        ["chromium", "--version"],
        0,
        "the browser tests, nothing else",
        "Install it, on Debian chromium.",
    )
    yield from _steps(artifacts / "runs" / str(values.get("name", "")))
    if packages.state == "ok":
        yield _release(artifacts / "serving")


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] in _PYTHONS:
        return Finding("ok", "Python", found)
    wanted = " or ".join(".".join(map(str, one)) for one in _PYTHONS)
    return Finding(
        "wrong",
        "Python",
        f"{found}, {sys.executable}",
        f"Use {wanted}: make setup PYTHON=python3.11",
    )


def _packages(requirements: str) -> Finding:
    missing, other = [], []
    pins = dict(_PIN.findall(re.sub(r"#.*", "", requirements)))
    for name, pinned in pins.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if found != pinned:
            other.append(f"{name} {found}, not {pinned}")
    if not (missing or other):
        return Finding("ok", "packages", f"all {len(pins)} as pinned")
    parts = []
    if missing:
        parts.append(f"{len(missing)} of {len(pins)} absent ({missing[0]} ...)")
    return Finding(
        "wrong",
        "packages",
        "; ".join(parts + other[:3]),
        "make setup, which installs requirements.txt into .venv",
    )


def cpu(info: Path) -> Finding:
    """Whether the processor runs what the wheels were built for.

    Args:
        info: The kernel's description of it.
    """
    try:
        flags = re.search(r"^flags\s*:(.*)", info.read_text(), re.MULTILINE)
    except OSError:
        flags = None
    if flags is None:
        return Finding("ok", "CPU", f"{os.cpu_count()} cores, features unknown")
    lacking = sorted(set(_CPU_FEATURES) - set(flags[1].split()))
    if lacking:
        return Finding(
            "wrong",
            "CPU",
            f"lacks {' and '.join(lacking)}",
            "TensorFlow's and ScaNN's wheels end with an illegal instruction "
            "here: use a newer machine or another virtual CPU type.",
        )
    return Finding("ok", "CPU", f"{os.cpu_count()} cores, AVX2 and FMA")


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in _CGROUPS:
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(Path("/sys/fs/cgroup", name).read_text()))
    found = f"{total / GIB:.1f} GiB"
    if total >= _LEAST_MEMORY:
        return Finding("ok", "memory", found)
    return Finding(
        "wrong",
        "memory",
        found,
        f"The sample needs {_LEAST_MEMORY / GIB:.0f} GiB: a larger machine, or "
        "a higher limit of the container.",
    )


def _config(path: Path) -> tuple[dict[str, str], Finding]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        advice = "make init-config INTERACTIONS=<file> writes one."
        return {}, Finding("wrong", "config", f"{path}: {error}", advice)
    source = values.get("source", {})
    if not isinstance(source, dict):
        found = f"{path}: `source` is {source!r}, not a section"
        advice = "Write [source], and its options below it."
        return {}, Finding("wrong", "config", found, advice)
    data = os.environ.get("DATA_DIR", "data")
    flat = {
        key: value.replace("${DATA_DIR}", data)
        for key, value in (values | source).items()
        if isinstance(value, str)
    }
    return flat, Finding("ok", "config", str(path))


def _disk(artifacts: Path) -> Finding:
    there = next(
        p for p in (artifacts, *artifacts.absolute().parents) if p.exists()
    )
    if not os.access(there, os.W_OK):
        return Finding(
            "wrong",
            "disk",
            f"{there} cannot be written",
            "Set `artifacts` in the config to a directory that can.",
        )
    free = shutil.disk_usage(there).free
    found = f"{free / GIB:.1f} GiB free for {artifacts}"
    if free >= _LEAST_DISK:
        return Finding("ok", "disk", found)
    return Finding(
        "wrong",
        "disk",
        found,
        "Make room, or set `artifacts` in the config to another disk.",
    )


def _data(values: dict[str, str]) -> Iterator[Finding]:
    for key in ("path", "items_path", "users_path"):
        path = values.get(key, "")
        if not path or "://" in path or "*" in path:
            continue
        if Path(path).expanduser().exists():
            yield Finding("ok", "data", path)
        else:
            yield Finding(
                "wrong",
                "data",
                f"source.{key}: {path} does not exist",
                f"Correct it there, or set DATA_DIR; seen from {Path.cwd()}.",
            )


def _port(port: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except (OSError, OverflowError) as error:
            return Finding(
                "missing",
                "port",
                f"{port}: {getattr(error, 'strerror', error)}",
                "A server may be running already; else choose another: "
                "make serve PORT= REST_PORT=",
            )
    return Finding("ok", "port", f"{port} is free")


def _program(
    name: str, command: list[str], least: int, needed_for: str, advice: str
) -> Finding:
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return Finding("missing", name, f"for {needed_for}", advice)
    text = (run.stdout + run.stderr).strip().partition("\n")[0]
    number = re.search(r"\d+", text)
    if number is None or int(number[0]) < least:
        return Finding("missing", name, f"{text}: too old", advice)
    return Finding("ok", name, text)


def _steps(run: Path) -> Iterator[Finding]:
    if not run.is_dir():
        return
    done = sorted(found.parent.name for found in run.glob("*/manifest.json"))
    yield Finding("ok", "run", f"{run}: {', '.join(done) or 'no step is done'}")
    left = sorted(found.name for found in run.glob(".staging-*"))
    if left:
        yield Finding(
            "missing",
            "run",
            f"{', '.join(left)}: a step is at work, or was stopped",
            "make retrain goes on from there.",
        )


def _release(serving: Path) -> Finding:
    from serving.errors import ServingError
    from serving.releases import history

    try:
        live = history.read(serving)[:1]
        lacking = [
            path for one in live for path in history.missing(serving, one)
        ]
    except ServingError as error:
        return Finding("wrong", "release", str(error))
    if not live:
        return Finding("ok", "release", f"nothing is published in {serving}")
    if lacking:
        return Finding(
            "wrong",
            "release",
            f"version {live[0]} lacks {lacking[0]}",
            "make rollback, or make publish FORCE=1",
        )
    return Finding("ok", "release", f"version {live[0]} is live and whole")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints every finding; 1 where one is wrong."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.onboard.doctor")
    add = parser.add_argument
    add("--config", type=Path, required=True, help="whose data are looked for")
    add(
        "--port",
        type=int,
        nargs="*",
        default=[8500, 8501],
        help="that a server needs",
    )
    options = parser.parse_args(arguments)
    is_wrong = False
    for finding in examine(options.config.expanduser(), options.port):
        sys.stdout.write(f"{finding}\n")
        is_wrong |= finding.state == "wrong"
    return int(is_wrong)


if __name__ == "__main__":
    sys.exit(main())
