"""Interactions that were read before, kept as canonical parts.

A log that grows by files is read file by file, in order of their names. What
was made of the files so far and what their reader knew by then is kept beside
the run; where the next run finds the same files, it goes on behind them. A
file that was changed, removed or put between them is read in full with all
others: what a reader knows depends on the rows before.

On disk, in one folder: `<number>.parquet`, `quarantine.jsonl`, `state.pickle`.
"""

from __future__ import annotations

import dataclasses
import pickle
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.run import manifest
from pipeline.run.data import TabularSource
from pipeline.sources.canonical.quarantine import FILE as QUARANTINE
from pipeline.sources.canonical.quarantine import Quarantine
from pipeline.sources.canonical.timestamps import Clock
from pipeline.sources.reading import stamps
from pipeline.sources.reading.files import File
from pipeline.sources.reading.stamps import Stamps
from pipeline.sources.tabular.cleaning import Cleaner
from pipeline.sources.tabular.selection import Selection
from pipeline.sources.tabular.titles import Titles
from serving.releases import files

_STATE = "state.pickle"
_MODULE = "pipeline.sources.tabular.reader"


@dataclass
class State:
    """What the reader of a log knows after some of its files."""

    quarantine: Quarantine
    cleaner: Cleaner
    selection: Selection
    clock: Clock
    titles: Titles | None


@dataclass
class Parts:
    """The parts of a log, those of the last run and those to come.

    Attributes:
        directory: Where they are kept; None keeps nothing.
        source: The options that they were read with.
        why: Why all files are read, "" where some are not.
        num_new: Files behind those that were kept, None where none were.
    """

    directory: Path | None
    source: TabularSource
    why: str = ""
    num_new: int | None = None
    _stamps: Mapping[str, str] = field(default_factory=dict)
    _state: bytes = b""
    _aside: bytes = b""

    def resume(
        self, found: Sequence[File], scratch: Path
    ) -> tuple[State | None, Sequence[File]]:
        """Places the parts that still hold in `scratch`.

        Args:
            found: Files of the log, in order.
            scratch: Existing folder of the interactions.

        Returns:
            What the reader knew after them, and the files that are left.
        """
        if self.directory is None or not self._can_keep(found):
            self.directory = None
            return None, found
        known = Stamps(self.directory.parent / stamps.FILE)
        self._stamps = {
            file.shown: known.digest(Path(file.shown)) for file in found
        }
        known.save()
        kept, self.why = self._kept(self.directory)
        if kept is None:
            return None, found
        names, state = kept
        for part in self.directory.glob("*.parquet"):
            files.link(part, scratch / part.name)
        # What was the future is so no more.
        state.clock.latest = Clock().latest
        path = scratch.with_name(QUARANTINE)
        if (self.directory / QUARANTINE).exists():
            shutil.copyfile(self.directory / QUARANTINE, path)
        state.quarantine.path = path
        self.num_new = len(found) - len(names)
        return state, found[len(names) :]

    def _can_keep(self, found: Sequence[File]) -> bool:
        """One file has no others, and positions go over all of them."""
        return (
            bool(self.source.timestamp)
            and len(found) > 1
            and all(Path(file.shown).is_file() for file in found)
        )

    def _kept(
        self, directory: Path
    ) -> tuple[tuple[Sequence[str], State] | None, str]:
        """Names of files and the state after them, or why not."""
        path = directory / _STATE
        try:
            said = pickle.loads(path.read_bytes())
        except FileNotFoundError:
            return None, ""
        except Exception as error:
            return None, f"what was kept cannot be read ({error})"
        before: Mapping[str, str] = said["stamps"]
        now = list(self._stamps.items())
        if said["made_from"] != self._made_from():
            return None, "options, code or libraries are others"
        for name, digest in before.items():
            if name not in self._stamps:
                return None, f"{name} is not there any more"
            if self._stamps[name] != digest:
                return None, f"{name} has changed"
        if list(before.items()) != now[: len(before)]:
            return None, "a new file comes before one that was read"
        state: State = said["state"]
        if any("in the future" in why for why in state.quarantine.counts):
            return None, "rows were in the future, which may have come"
        return (list(before), state), ""

    def _made_from(self) -> str:
        return manifest.digest(
            {
                "source": dataclasses.asdict(self.source),
                "code": manifest.code(_MODULE),
                "libraries": manifest.library_versions(_MODULE),
            }
        )

    def notes(self) -> list[str]:
        """Says how many files were read, where some could be kept."""
        count = len(self._stamps)
        if self.why:
            return [f"all {count:,} files were read again: {self.why}"]
        if self.num_new is None:
            return []
        return [
            f"{self.num_new:,} of {count:,} files were read, the others are "
            "as the run before read them"
        ]

    def remember(self, state: State) -> None:
        """Takes down what the reader knows after all files of the log."""
        self._aside = b""
        if state.quarantine.path.exists():
            self._aside = state.quarantine.path.read_bytes()
        if self.directory is not None:
            self._state = pickle.dumps(
                {
                    "made_from": self._made_from(),
                    "stamps": dict(self._stamps),
                    "state": state,
                }
            )

    def keep(self, scratch: Path) -> None:
        """Replaces what is kept by the parts now in a folder."""
        if self.directory is None:
            return
        staging = self.directory.with_name(f".staging-{self.directory.name}")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        for part in scratch.glob("*.parquet"):
            files.link(part, staging / part.name)
        if self._aside:
            (staging / QUARANTINE).write_bytes(self._aside)
        (staging / _STATE).write_bytes(self._state)
        manifest.replace(staging, self.directory)
