"""What callers want beside the models: popular items and titles.

`popular.json` is the client's answer for the moment when no model answers,
ids by interactions of the train and validation parts; `titles.tsv` turns ids
into words. Both belong to a release and go forth and back with it.
"""

import json
import shutil
from pathlib import Path

import numpy as np

from pipeline import manifest
from pipeline.prepare import Prepared
from pipeline.schema import TRAIN, VALIDATION
from serving import signatures

POPULAR = "popular.json"
TITLES = "titles.tsv"
_NUM_POPULAR = 500
_FIRST_ITEM = 2


def write(prepared: Prepared, directory: Path) -> None:
    """Writes both files into an exported model."""
    items = prepared.items
    counts = items.counts[[TRAIN, VALIDATION]].sum(axis=0)
    counts[:_FIRST_ITEM] = 0
    order = np.argsort(-counts, kind="stable")[:_NUM_POPULAR]
    directory.mkdir(parents=True, exist_ok=True)
    manifest.write_json(
        directory / POPULAR,
        [str(items.ids[row]) for row in order if counts[row]],
    )
    lines = [
        f"{item}\t{' '.join(title.split())}\n"
        for item, title in zip(
            items.ids[_FIRST_ITEM:].tolist(),
            items.titles[_FIRST_ITEM:].tolist(),
            strict=True,
        )
        # A file of lines and tabs has no place for an id with one.
        if title and item.split() == [item]
    ]
    (directory / TITLES).write_text("".join(lines), encoding="utf-8")


def release(model: Path, serving: Path) -> None:
    """Puts a published model's files beside the pointer, each by rename.

    Args:
        model: Version directory of `retrieval`.
        serving: Where clients look for them.
    """
    for name in (POPULAR, TITLES):
        source = model / signatures.EXTRA_ASSETS / name
        if not source.exists():
            # Published before there were such files; what lies there is of
            # another release.
            (serving / name).unlink(missing_ok=True)
            continue
        staged = serving / f".{name}.staging"
        shutil.copyfile(source, staged)
        manifest.sync_path(staged)
        staged.replace(serving / name)


def read_popular(serving: Path) -> list[str]:
    """The live release's popular items; none where there are none."""
    try:
        return json.loads((serving / POPULAR).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
