"""Digests of source files, without reading what has not been touched.

A file whose size and time of change are those of the last time is taken for
the same; where either differs its content decides.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.run import manifest

# Beside the steps of a run.
FILE = ".stamps.json"


@dataclass
class Stamps:
    """Known digests, kept in a file.

    Attributes:
        path: Where; None keeps none.
    """

    path: Path | None = None
    _known: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    _is_new: bool = False

    def __post_init__(self) -> None:
        if self.path is not None and self.path.exists():
            found = json.loads(self.path.read_text("utf-8"))
            self._known = {name: tuple(stamp) for name, stamp in found.items()}

    def digest(self, file: Path) -> str:
        """Digest of a file, or of every file below a folder."""
        if file.is_dir():
            return manifest.digest(
                {
                    str(child.relative_to(file)): self.digest(child)
                    for child in sorted(file.rglob("*"))
                    if child.is_file()
                }
            )
        at = file.stat()
        size, changed, found = self._known.get(str(file), (-1, -1, ""))
        if (size, changed) != (at.st_size, at.st_mtime_ns):
            found = manifest.file_digest(file)
            self._known[str(file)] = (at.st_size, at.st_mtime_ns, found)
            self._is_new = True
        return found

    def save(self) -> None:
        """Keeps what was found, if anything is new."""
        if self.path is not None and self._is_new:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            manifest.write_json(self.path, self._known)
