"""Small logs and configs that the tests of the data side share."""

import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.prepare import step as prepare
from pipeline.run.config import Config
from pipeline.run.data import PrepareConfig, Source
from pipeline.tables.prepared import Prepared, load


def make_config(
    source: Source, name: str = "case", seed: int = 7, **options: Any
) -> Config:
    options.setdefault("split", "leave_last_out")
    return Config(name, seed, source=source, prepare=PrepareConfig(**options))


def prepared(
    directory: Path, source: Source, seed: int = 7, **options: Any
) -> Prepared:
    directory.mkdir(parents=True, exist_ok=True)
    prepare.run(make_config(source, seed=seed, **options), directory)
    return load(directory)


def write_csv(path: Path, header: str, *rows: str) -> str:
    path.write_text("\n".join((header, *rows)) + "\n", "utf-8")
    return str(path)


def events(found: Prepared, user: str) -> list[tuple[str, int, int]]:
    """A user's sequence as (item id, timestamp, part)."""
    block = found.sequences()
    row = list(block.user_ids).index(user)
    own = slice(block.offsets[row], block.offsets[row + 1])
    return [
        (str(found.items.ids[item]), int(time), int(part))
        for item, time, part in zip(
            block.item_indices[own],
            block.timestamps[own],
            block.parts[own],
            strict=True,
        )
    ]


@dataclass(frozen=True)
class Shape:
    """A log as people bring it, and what has to come out.

    Attributes:
        files: Content by name: the interactions, then items and users.
        options: Of the source, as `init-config` is to guess them.
        prepare: The same of the preparation.
        told: Words that the config or `check` must say.
        counts: Rows, users and items to be read; None for any.
        folder: Whether the path is the folder of the files.
    """

    files: dict[str, bytes]
    options: dict[str, Any]
    prepare: dict[str, Any] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    counts: tuple[int, int, int] | None = None
    folder: bool = False


def purchases(row: Callable[[int, str, str], Any]) -> list[Any]:
    """45 purchases of nine users with eight items, in order of time."""
    return [
        row(n, f"u{n % 9}", f"i{(n % 9 * 3 + n // 9 * 5) % 8}")
        for n in range(45)
    ]


def moment(n: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    start = datetime.datetime(2021, 4, 4, 7, 17, 22, tzinfo=datetime.UTC)
    return (start + datetime.timedelta(hours=25 * n)).strftime(form)


def table(header: str, rows: list[Any], separator: str = ",") -> bytes:
    lines = [separator.join(map(str, row)) for row in rows]
    return "\n".join([*([header] if header else []), *lines, ""]).encode()


def bought(
    header: str, row: Callable[[int, str, str], Any], separator: str = ","
) -> bytes:
    """A table of the purchases."""
    return table(header, purchases(row), separator)


def objects(rows: list[Any]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode() + b"\n"
