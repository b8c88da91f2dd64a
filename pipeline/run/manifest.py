"""Steps that are complete or absent, and skipped when nothing changed.

A step writes into a staging directory beside its target. When its work is
done, `manifest.json` is written last, everything is synced to disk, and one
rename puts the step in place; a process killed at any moment leaves either the
old step or the new one. The manifest holds the digest of everything the step
depends on: its config sections, the manifests of the steps before it, the
content of its source files, the code it runs and the versions of the libraries
behind its figures.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TypeAlias

from pipeline.run import machine
from pipeline.run.auto import Choice
from pipeline.run.config import Config
from serving.releases import files

MANIFEST = "manifest.json"
# What a step depends on: plain values by name.
Inputs: TypeAlias = Mapping[str, object]
_ROOT = Path(__file__).resolve().parents[2]
# What figures come out of, by the name it is imported under. Spark is not
# among them: clusters prepare with it for machines that do not have it.
_LIBRARIES = {
    "ai_edge_litert": ("ai-edge-litert",),
    "duckdb": ("duckdb",),
    "ibis": ("ibis-framework",),
    "numpy": ("numpy",),
    "pyarrow": ("pyarrow",),
    "scann": ("scann",),
    "scipy": ("scipy",),
    "tensorflow": ("tensorflow", "tf-keras"),
    "tensorflow_recommenders": ("tensorflow-recommenders",),
}


@dataclass(frozen=True)
class Record:
    """What a complete step says of itself, in its manifest.

    Attributes:
        inputs: What it was made from, as JSON gives it back.
        made_at: When, in nanoseconds: steps that follow depend on this file,
            and so on this very run.
        seconds: How long it took.
        choices: What was decided where the config leaves it to the data, with
            why, see `auto`.
        peak_bytes: Most memory in use meanwhile, see `machine`.
        machine: What it ran on, see `machine`.
    """

    inputs: Inputs
    made_at: int
    seconds: float
    choices: Sequence[Inputs] = ()
    peak_bytes: int = 0
    machine: Inputs = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path) -> Record | None:
        """The record of a step, or None where no complete step is.

        One that another hand damaged is none: the step is made again.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        try:
            values = json.loads((directory / MANIFEST).read_bytes())
            return cls(
                **{name: values[name] for name in known if name in values}
            )
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def write(self, directory: Path) -> None:
        """Marks the step in `directory` as complete."""
        write_json(directory / MANIFEST, dataclasses.asdict(self))


def inputs_of(config: Config, module: str, *sections: str) -> dict[str, object]:
    """What a step of `module` depends on besides the steps before it."""
    return {
        **{
            name: dataclasses.asdict(getattr(config, name)) for name in sections
        },
        "seed": config.seed,
        "code": code(module),
        "libraries": library_versions(module),
    }


def is_current(directory: Path, inputs: Inputs) -> bool:
    """Whether `directory` holds a complete step made from exactly `inputs`."""
    record = Record.read(directory)
    return record is not None and record.inputs == plain(inputs)


@contextlib.contextmanager
def stage(
    directory: Path, inputs: Inputs, choices: Sequence[Choice] = ()
) -> Iterator[Path]:
    """Yields an empty directory that becomes `directory` on success.

    Args:
        directory: Where the step will stand; replaced as a whole.
        inputs: What the step depends on, compared by `is_current`.
        choices: Kept in the record; read when the step is done.
    """
    start = time.monotonic()
    machine.reset_peak()
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = directory.with_name(f".staging-{directory.name}")
    # Left by a run that was killed; nothing ever reads it.
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        full = os.strerror(errno.ENOSPC)
        if full in str(error) and not isinstance(error, OSError):
            # TensorFlow and DuckDB have errors of their own for it.
            raise OSError(errno.ENOSPC, full, str(staging)) from error
        raise
    seconds = round(time.monotonic() - start, 1)
    kept = [dataclasses.asdict(choice) for choice in choices]
    Record(
        plain(inputs),
        time.time_ns(),
        seconds,
        kept,
        machine.peak_bytes(),
        machine.describe(),
    ).write(staging)
    replace(staging, directory)


def replace(staging: Path, directory: Path) -> None:
    """Syncs `staging` to disk and puts it in the place of `directory`."""
    files.sync(staging)
    retired = directory.with_name(f".retired-{directory.name}")
    shutil.rmtree(retired, ignore_errors=True)
    if directory.exists():
        os.rename(directory, retired)
    os.rename(staging, directory)
    files.flush(directory.parent)
    shutil.rmtree(retired, ignore_errors=True)


def write_json(path: Path, value: object) -> None:
    """Writes JSON so that `path` holds the old text or all of the new."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with files.staged(path) as staged:
        staged.write_text(text + "\n", encoding="utf-8")


def digest(value: object) -> str:
    """Hex digest of plain data."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Hex digest of a file's content, or of every file below a folder."""
    if path.is_dir():
        below = [child for child in sorted(path.rglob("*")) if child.is_file()]
        return digest({str(c.relative_to(path)): file_digest(c) for c in below})
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code(module: str) -> dict[str, str]:
    """Digests of a module's source and of all project modules it imports.

    A changed layer must retrain the models built with it; an edited report
    must not. Following the imports tells the two apart.
    """
    return {name: full[:16] for name, full in _reached(module)[0].items()}


def library_versions(module: str) -> dict[str, str]:
    """Versions of the libraries that a module's figures come out of."""
    versions = {}
    for library in _LIBRARIES.keys() & _reached(module)[1]:
        for name in _LIBRARIES[library]:
            versions[name] = "unknown"
            with contextlib.suppress(metadata.PackageNotFoundError):
                versions[name] = metadata.version(name)
    return versions


@functools.cache
def _reached(module: str) -> tuple[dict[str, str], set[str]]:
    """Project modules that a module imports, digested, and other packages."""
    found: dict[str, str] = {}
    packages: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        read = _read(name)
        if read is None:
            packages.add(name.partition(".")[0])
        elif name not in found:
            found[name], imported = read
            waiting.extend(imported)
    return found, packages


@functools.cache
def _read(module: str) -> tuple[str, tuple[str, ...]] | None:
    """A module's digest and what it imports; None where it is not ours."""
    path = _source(module)
    if path is None:
        return None
    text = path.read_text(encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest(), tuple(_imports(text))


def _imports(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _source(module: str) -> Path | None:
    if module.partition(".")[0] not in ("models", "pipeline", "serving"):
        return None
    path = _ROOT.joinpath(*module.split("."))
    places = (path.with_suffix(".py"), path / "__init__.py")
    return next(filter(Path.is_file, places), None)


def plain(value: Inputs) -> Inputs:
    """`value` as JSON would give it back, so that comparisons hold."""
    return json.loads(json.dumps(value, sort_keys=True, default=str))
