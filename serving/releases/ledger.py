"""What was released, when and why: one JSON line an event, never changed.

`ledger.jsonl` lies beside the pointer, which alone says what is served: a line
is written after the pointer moved. Where a command was killed between the two,
or another hand moved it, the next command writes what it found. A line that
cannot be read, as one cut short by a full disk, is passed over and told.
"""

import dataclasses
import datetime
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.releases.history import POINTER, State

FILE = "ledger.jsonl"
LIVE, STAGED, CANARY = "live", "staged", "canary"
WITHDRAWN, PRUNED, REJECTED = "withdrawn", "pruned", "rejected"


def moment(seconds: float | None = None) -> str:
    """A time of the clock, now or in seconds since 1970, in UTC."""
    now = datetime.datetime.now(datetime.UTC)
    if seconds is not None:
        now = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(at: str) -> float:
    """The time of an event in seconds since 1970."""
    return datetime.datetime.fromisoformat(at).timestamp()


@dataclass(frozen=True)
class Entry:
    """One event.

    Attributes:
        event: One of the words above; of a version, but for "rejected".
        version: Which; None for a bundle that got none.
        why: The reason, in words.
        at: When, in UTC.
        bundle_id: Of the models.
        run: Name of the run that they are of.
        share: Percent of users, of a canary.
        figures: What its evaluation found, by name.
    """

    event: str
    version: int | None
    why: str
    at: str = field(default_factory=moment)
    bundle_id: str = ""
    run: str = ""
    share: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)


def read(serving: Path) -> tuple[list[Entry], list[str]]:
    """All events in order, and what could not be read, in words."""
    path = serving / FILE
    entries: list[Entry] = []
    problems: list[str] = []
    if not path.exists():
        return entries, problems
    # A reason may hold what `splitlines` takes for the end of a line.
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    lines = lines[:-1] if not lines[-1] else lines
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            entries.append(_entry(values))
        except (ValueError, TypeError, KeyError):
            is_last = number == len(lines)
            problems.append(
                f"{path}, line {number}: "
                f"{'cut short or ' * is_last}no event, passed over"
            )
    return entries, problems


def _entry(values: Mapping[str, object]) -> Entry:
    """The event of a line.

    Raises:
        TypeError, KeyError: If it is none of ours.
    """
    known: dict[str, Any] = {
        option.name: values[option.name]
        for option in dataclasses.fields(Entry)
        if option.name in values
    }
    if not isinstance(known.setdefault("version", None), int | None):
        raise TypeError
    return Entry(**{"why": ""} | known | {"at": str(values["at"])})


def append(serving: Path, entry: Entry) -> None:
    """Adds one line, on disk when this returns.

    Raises:
        OSError: If it cannot be written; what was there stays.
    """
    values = {
        name: value
        for name, value in dataclasses.asdict(entry).items()
        if value not in (None, "", 0, {})
    }
    line = json.dumps(values, ensure_ascii=False) + "\n"
    with (serving / FILE).open("a+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = "\n" + line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def withdrawn(serving: Path, bundle_id: str) -> int | None:
    """The version of a bundle that was taken away and did not come back."""
    entries, _problems = read(serving)
    mine = {entry.version for entry in entries if entry.bundle_id == bundle_id}
    told = [
        entry
        for entry in entries
        if entry.version in mine - {None} and entry.event != PRUNED
    ]
    if not told or told[-1].event != WITHDRAWN:
        return None
    return told[-1].version


def unrecorded(serving: Path, state: State) -> Entry | None:
    """The event that the pointer tells of and no line does."""
    entries, _problems = read(serving)
    known = [entry for entry in entries if entry.event == LIVE]
    if state.live is None or known and known[-1].version == state.live:
        return None
    return Entry(
        LIVE,
        state.live,
        f"found in {POINTER}: its command was killed, or another hand wrote it",
        moment((serving / POINTER).stat().st_mtime),
    )
