"""Which versions were released, and whether a release still stands whole.

`serving` is the directory of the pointer, beside the models.

The order of releases is a comment line of the pointer, so that it is part of
the one file that a release replaces atomically; servers skip the line.

    # releases, live first: 4 2 1
    # canary: 5, percent of users: 10
    # staged: 6

Labels are the servers' part of the same file, see `serving.labels`.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from serving import labels, signatures
from serving.errors import ServingError
from serving.releases import versions

POINTER = "models.config"
# Of a published model's manifest: its other files and their sizes in bytes.
FILES = "files"
_LINE = "# releases, live first: "
_NUMBERS = re.compile(r"[0-9]{1,18}( [0-9]{1,18})*")
_CANARY = re.compile(r"# canary: ([0-9]{1,18}), percent of users: ([0-9]{1,3})")
_STAGED = re.compile(r"# staged: ([0-9]{1,18})")


@dataclass(frozen=True)
class State:
    """What is released, as the pointer says.

    Attributes:
        releases: Live version first, then those a rollback would return to.
        canary: The version on trial, None without one.
        share: Percent of users that ask it.
        staged: Accepted and in its place, but served to nobody yet.
        is_labelled: Whether servers are told the label `stable`.
    """

    releases: tuple[int, ...] = ()
    canary: int | None = None
    share: int = 0
    staged: int | None = None
    is_labelled: bool = False

    @property
    def live(self) -> int | None:
        """The version that answers everybody, but for those on trial."""
        return self.releases[0] if self.releases else None

    @property
    def previous(self) -> int | None:
        """What a rollback returns to."""
        return self.releases[1] if len(self.releases) > 1 else None

    def role(self, version: int) -> str:
        """What a version is, in a word; "" where it is nothing of these."""
        names = {
            self.live: "live",
            self.canary: "canary",
            self.previous: "previous",
            self.staged: "staged",
        }
        return names.get(version, "")

    def comment(self) -> str:
        """The pointer's comment lines."""
        lines = [comment(self.releases)]
        if self.canary is not None:
            lines.append(
                f"# canary: {self.canary}, percent of users: {self.share}"
            )
        if self.staged is not None:
            lines.append(f"# staged: {self.staged}")
        return "\n".join(lines)

    def labels(self) -> dict[str, int]:
        """Versions by label, for each model."""
        if self.live is None:
            return {}
        if self.canary is not None:
            return labels.of_trial(self.live, self.canary, self.share)
        return {labels.STABLE: self.live} if self.is_labelled else {}


def comment(history: Sequence[int]) -> str:
    """The pointer's comment line for these releases, live first."""
    return _LINE + " ".join(map(str, history))


def state(serving: Path) -> State:
    """Reads the pointer; nothing is released where there is none.

    Raises:
        ServingError: As `read` does.
    """
    pointer = serving / POINTER
    # Read once: a release may replace it at any moment.
    text = _text(pointer)
    releases = _releases(pointer, text)
    if text is None or not releases:
        return State()
    lines = text.splitlines()
    canary = _said(pointer, lines, _CANARY)
    staged = _said(pointer, lines, _STAGED)
    found = versions.read_labels(pointer, text).get(signatures.RETRIEVAL, {})
    return State(
        tuple(releases),
        int(canary[1]) if canary else None,
        int(canary[2]) if canary else 0,
        int(staged[1]) if staged else None,
        labels.STABLE in found,
    )


def _said(
    pointer: Path, lines: Sequence[str], pattern: re.Pattern[str]
) -> re.Match[str] | None:
    """The line of a pattern, None where there is none.

    Raises:
        ServingError: If one begins like it and goes on otherwise.
    """
    begin = pattern.pattern.partition(":")[0]
    for line in lines:
        if line.startswith(f"{begin}:"):
            if found := pattern.fullmatch(line):
                return found
            raise ServingError(
                f"`{begin}:` must be followed as in `{pattern.pattern}`. "
                f"Received: {line!r} (from {pointer}). Correct the line, or "
                "delete it."
            )
    return None


def read(serving: Path) -> list[int]:
    """Live version first, then those a rollback would return to.

    Raises:
        ServingError: If the line holds anything but versions, or the pointer
            is no models configuration.
    """
    pointer = serving / POINTER
    return _releases(pointer, _text(pointer))


def _text(pointer: Path) -> str | None:
    """What the pointer holds, None where there is none."""
    try:
        return pointer.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


def _releases(pointer: Path, text: str | None) -> list[int]:
    if text is None:
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
