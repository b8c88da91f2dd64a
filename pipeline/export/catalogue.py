"""What callers want beside the models: popular items and titles.

`popular.json` is the client's answer for the moment when no model answers,
ids by interactions of the train and validation parts; `titles.tsv` turns ids
into words. Both belong to a release and go forth and back with it.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models.config import FIRST_ITEM
from pipeline.run import manifest
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import TRAIN, VALIDATION
from serving import signatures
from serving.releases import files

POPULAR = "popular.json"
TITLES = "titles.tsv"
_NUM_POPULAR = 500


def write(prepared: Prepared, directory: Path) -> None:
    """Writes both files into an exported model."""
    items = prepared.items
    counts = items.counts[[TRAIN, VALIDATION]].sum(axis=0)
    counts[:FIRST_ITEM] = 0
    counts[prepared.gone] = 0
    order = np.argsort(-counts, kind="stable")[:_NUM_POPULAR]
    directory.mkdir(parents=True, exist_ok=True)
    manifest.write_json(
        directory / POPULAR,
        [str(items.ids[row]) for row in order if counts[row]],
    )
    lines = [
        f"{item}\t{' '.join(title.split())}\n"
        for item, title in zip(
            items.ids[FIRST_ITEM:].tolist(),
            items.titles[FIRST_ITEM:].tolist(),
            strict=True,
        )
        # A file of lines and tabs has no place for an id with one.
        if title and item.split() == [item]
    ]
    (directory / TITLES).write_text("".join(lines), encoding="utf-8")


@contextlib.contextmanager
def released(model: Path, serving: Path) -> Iterator[None]:
    """Puts a published model's files beside the pointer once that has moved.

    They are copied before, under other names: when the pointer is replaced
    nothing is left that needs space on the disk.
    """
    copies = {name: serving / f".{name}.staging" for name in (POPULAR, TITLES)}
    try:
        for name, copy in copies.items():
            source = model / signatures.EXTRA_ASSETS / name
            copy.unlink(missing_ok=True)
            if source.exists():
                shutil.copyfile(source, copy)
                files.flush(copy)
        yield
        for name, copy in copies.items():
            if copy.exists():
                copy.replace(serving / name)
            else:
                # Published before there were such files; what lies there is
                # of another release.
                (serving / name).unlink(missing_ok=True)
    finally:
        for copy in copies.values():
            copy.unlink(missing_ok=True)


def read_popular(serving: Path) -> list[str]:
    """The live release's popular items; none where there are none."""
    try:
        return json.loads((serving / POPULAR).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
