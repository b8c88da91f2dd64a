"""Copies what is published to the repository that servers read.

    python -m serving.releases.deliver --source=/data/artifacts/serving \\
        --target=/repository

Training publishes on its own volume; this brings the live release to the one
of the servers. Each version is staged beside its place on the target's file
system, synced and renamed; the pointer, models.config, comes last. Killed at
any moment it leaves the old pointer and complete versions, and the next run
goes on. A rollback at the source arrives the same way. Nothing is overwritten.
"""

import argparse
import contextlib
import logging
import os
import shutil
import sys
from pathlib import Path

from serving.errors import ServingError
from serving.releases import files, locks, versions
from serving.releases.history import POINTER

_LOG = logging.getLogger("serving.releases.deliver")


def deliver(source: Path, target: Path, keep_versions: int = 0) -> list[Path]:
    """Brings the release that is live at `source` to `target`.

    Args:
        source: Directory of the published models.config and its models.
        target: The directory that servers read.
        keep_versions: That stay besides those listed; 0 keeps all.

    Returns:
        What was placed: version directories, files, the pointer last.

    Raises:
        ServingError: If nothing is published, or a version at the target is
            another bundle than the one of that number at the source.
        OSError: If a file cannot be read or written, such as a full disk.
    """
    pointer = source / POINTER
    # Read once: a release may replace it at any moment.
    text = versions.text_of(pointer)
    models = versions.read_models_config(pointer, text)
    labels = versions.read_labels(pointer, text)
    logging_configs = versions.read_logging(pointer, text)
    # Two runs at once would stage in each other's place.
    with locks.Lock(target / locks.FILE, locks.RELEASE_SECONDS):
        placed = []
        for name, (_, numbers) in models.items():
            # What a run that was killed left behind.
            for left in (target / name).glob(f"{files.STAGING}*"):
                files.discard(left)
            for number in numbers:
                path = _place(source / name, target / name, number)
                placed += [path] if path else []
        placed += _copy_files(source, target)
        comment = [line for line in text.splitlines() if line[:1] == "#"]
        live = {
            name: (str((target / name).resolve()), numbers)
            for name, (_, numbers) in models.items()
        }
        written = None
        with contextlib.suppress(FileNotFoundError, ServingError):
            written = (
                versions.read_models_config(target / POINTER),
                versions.read_labels(target / POINTER),
                versions.read_logging(target / POINTER),
            )
        if written != (live, labels, logging_configs):
            versions.write_models_config(
                target / POINTER,
                live,
                "\n".join(comment),
                labels,
                logging_configs,
            )
            placed.append(target / POINTER)
        if keep_versions:
            for name, (_, numbers) in models.items():
                _prune(target / name, numbers, keep_versions)
    return placed


def _place(source: Path, target: Path, number: int) -> Path | None:
    """Copies one version, complete or not at all; None if it is there."""
    original, final = source / str(number), target / str(number)
    if final.exists():
        here = versions.bundle_id_of(final)
        there = versions.bundle_id_of(original)
        if original.exists() and here != there:
            raise ServingError(
                "A version must be one bundle wherever it lies. Received: "
                f"{here or 'none'} (in {final}), {there or 'none'} (in "
                f"{original}). Publish under a number that is free in both.",
                "FAILED_PRECONDITION",
            )
        return None
    with files.staged(final) as staged:
        shutil.copytree(original, staged, copy_function=shutil.copyfile)
    return final


def _copy_files(source: Path, target: Path) -> list[Path]:
    """What clients want beside the models, such as popular items."""
    placed = []
    for path in sorted(source.iterdir()):
        is_ours = path.name.startswith(".") or path.name == POINTER
        if is_ours or not path.is_file():
            continue
        final = target / path.name
        if final.exists() and final.read_bytes() == path.read_bytes():
            continue
        with files.staged(final) as staged:
            shutil.copyfile(path, staged)
        placed.append(final)
    return placed


def _prune(model: Path, listed: list[int], keep: int) -> None:
    found = versions.list_versions(model)
    for number in set(found) - set(listed) - set(found[-keep:]):
        # Renamed first: half a version must not look like one.
        staged = model / f"{files.STAGING}{number}"
        os.rename(model / str(number), staged)
        files.discard(staged)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m serving.releases.deliver")
    add = parser.add_argument
    add("--source", type=Path, required=True, help="a published directory")
    add("--target", type=Path, required=True, help="where servers read it")
    text = "of each model at the target; 0 for all"
    add("--keep_versions", type=int, default=0, help=text)
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        placed = deliver(args.source, args.target, args.keep_versions)
    except (ServingError, OSError) as error:
        _LOG.error("%s", error)
        return 2
    for path in placed:
        _LOG.info("placed %s", path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
