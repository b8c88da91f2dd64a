"""Small logs and configs that the tests of the data side share."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pipeline import prepare
from pipeline.schema import PrepareConfig, SourceConfig


def make_config(
    source: SourceConfig, name: str = "case", seed: int = 7, **options: Any
) -> Any:
    options.setdefault("split", "leave_last_out")
    return SimpleNamespace(
        name=name, seed=seed, source=source, prepare=PrepareConfig(**options)
    )


def prepared(
    directory: Path, source: SourceConfig, seed: int = 7, **options: Any
) -> prepare.Prepared:
    directory.mkdir(parents=True, exist_ok=True)
    prepare.run(make_config(source, seed=seed, **options), directory)
    return prepare.load(directory)


def write_csv(path: Path, header: str, *rows: str) -> str:
    path.write_text("\n".join((header, *rows)) + "\n", "utf-8")
    return str(path)


def events(found: prepare.Prepared, user: str) -> list[tuple[str, int, int]]:
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
