"""Which versions were released, and whether a release still stands whole.

`serving` is the directory of the pointer, beside the models.

The order of releases is a comment line of the pointer, so that it is part of
the one file that a release replaces atomically; servers skip the line.

    # releases, live first: 4 2 1
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from serving import signatures
from serving.errors import ServingError
from serving.releases import versions

POINTER = "models.config"
# Of a published model's manifest: its other files and their sizes in bytes.
FILES = "files"
_LINE = "# releases, live first: "
_NUMBERS = re.compile(r"[0-9]{1,18}( [0-9]{1,18})*")


def comment(history: Sequence[int]) -> str:
    """The pointer's comment line for these releases, live first."""
    return _LINE + " ".join(map(str, history))


def read(serving: Path) -> list[int]:
    """Live version first, then those a rollback would return to.

    Raises:
        ServingError: If the line holds anything but versions, or the pointer
            is no models configuration.
    """
    pointer = serving / POINTER
    try:
        text = pointer.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return []
    for line in text.splitlines():
        if not line.startswith(_LINE.rstrip()):
            continue
        numbers = line[len(_LINE) :].strip()
        if not _NUMBERS.fullmatch(numbers):
            raise ServingError(
                f"`{_LINE.strip()}` must be followed by versions with blanks "
                f"between. Received: {numbers!r} (from {pointer}). Write the "
                "versions that stand there, the live one first, or delete the "
                "line and publish again."
            )
        return [int(number) for number in numbers.split()]
    # Written by another hand: what it serves is all there is to know.
    models = versions.read_models_config(pointer)
    _, served = models.get(signatures.RETRIEVAL, ("", []))
    return sorted(served)[-1:]


def missing(serving: Path, version: int) -> list[Path]:
    """What a release needs and is not there whole, one file a model."""
    models = [serving / name / str(version) for name in signatures.BUNDLE]
    return [path for path in map(_first_missing, models) if path is not None]


def sizes(model: Path) -> dict[str, int]:
    """Bytes of every file of a model but its manifest, which keeps them."""
    return {
        path.relative_to(model).as_posix(): path.stat().st_size
        for path in sorted(model.rglob("*"))
        if path.is_file() and path != model / versions.MANIFEST
    }


def _first_missing(model: Path) -> Path | None:
    graph = model / "saved_model.pb"
    if not graph.is_file():
        return graph
    try:
        facts = json.loads(
            (model / versions.MANIFEST).read_text(encoding="utf-8")
        )
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return model / versions.MANIFEST
    # Released before sizes were kept: what is there counts as whole.
    for name, size in facts.get(FILES, {}).items():
        path = model / name
        if not path.is_file() or path.stat().st_size != size:
            return path
    return None
