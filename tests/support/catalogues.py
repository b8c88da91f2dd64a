"""Item files of a run, and a run that is live without a gate."""

import csv
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from models.config import FIRST_ITEM
from pipeline.evaluate.evaluation import Evaluation
from pipeline.release import publish
from pipeline.release.publish import Parcel
from pipeline.run.config import Config
from pipeline.steps import Run
from pipeline.tables.prepared import Prepared
from serving import signatures

Row = Mapping[str, str]


def rows_of(prepared: Prepared) -> list[dict[str, str]]:
    """The catalogue as a file has it, in the order of the tables."""
    columns, cells = prepared.columns("items"), prepared.item_values()
    items = prepared.items
    rows = [
        {"item_id": str(id_), "title": str(title)}
        for id_, title in zip(
            items.ids[FIRST_ITEM:], items.titles[FIRST_ITEM:], strict=True
        )
    ]
    for name, column in columns.items():
        if name in cells:
            values = ["|".join(cell) for cell in cells[name].to_pylist()]
        elif column.spec.kind == "text":
            # The sample's only text.
            values = [row["title"] for row in rows]
        else:
            raw = column.decode(items.features[name][FIRST_ITEM:])
            values = [str(value) for value in raw]
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return rows


def write(path: Path, rows: Iterable[Row]) -> str:
    """Writes an item file; its path."""
    rows = list(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def publish_as_is(run: Run, artifacts: Path) -> Config:
    """Makes a copy of an evaluated run live, whatever a gate would say.

    Args:
        run: Its files stay as they are.
        artifacts: Where to.
    """
    config = replace(run.config, artifacts=str(artifacts))
    shutil.copytree(run.config.run_directory, config.run_directory)
    results = Evaluation.read(Run(config).evaluation)
    exports = config.run_directory / "export"
    sources = {name: exports / name for name in signatures.BUNDLE}
    student = results.ondevice
    assert student is not None
    beside = config.run_directory / "ondevice-export" / student.precision
    parcel = Parcel({**sources, "ondevice": beside}, results.bundle_id, results)
    assert publish.update(config, parcel, None) == (1, True)
    return config
