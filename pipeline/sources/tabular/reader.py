"""Your own files: CSV, TSV, JSON lines or Parquet, one or many.

The config maps columns to meanings. Files may lie in folders named
`column=value` (hive style), in a folder or zip archive with `interactions.*`,
and beside it `items.*` and `users.*`, or behind an fsspec address. What is not
there - ratings, timestamps, items, users - is done without; where there are no
items, the log may hold their titles.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.run.data import TabularSource
from pipeline.sources.canonical import tables as canonical
from pipeline.sources.canonical.quarantine import FILE as QUARANTINE
from pipeline.sources.canonical.quarantine import Quarantine
from pipeline.sources.canonical.tables import Batch, Tables
from pipeline.sources.canonical.timestamps import Clock
from pipeline.sources.reading import files, formats, nested
from pipeline.sources.tabular.cleaning import Cleaner
from pipeline.sources.tabular.selection import Selection
from pipeline.sources.tabular.titles import Titles
from pipeline.tables.schema import DataError

OPTIONAL = tuple(
    "timestamp time_of_day rating weight quantity event title".split()
)
FEATURES = {
    "interactions": "context_features",
    "items": "item_features",
    "users": "user_features",
}


def read(source: TabularSource, directory: Path) -> Tables:
    """Writes the canonical tables of the mapped files.

    Raises:
        DataError: If a file or a mapped column is missing, or too many rows
            are unusable.
    """
    quarantine = Quarantine(directory / QUARANTINE, source.max_bad_share)
    cleaner = Cleaner(source)
    selection = Selection(source)
    clock = Clock(source.time_format)
    columns = _columns(source)
    rows = functools.partial(_rows, quarantine, cleaner)
    # Without a table of the items, their titles stand in the log or nowhere.
    titles = None
    log = dataclasses.replace(source, title="")
    if source.title and not (_path(source, "items") or source.item_features):
        titles, log = Titles(source.item_id, source.title), source
    batches = selection.select(rows(log, "interactions", source.path))
    interactions = directory / "interactions.parquet"
    canonical.write_interactions(
        titles.collect(batches) if titles else batches,
        interactions,
        columns,
        source.context_features,
        quarantine,
        clock,
    )
    if titles:
        items: Path | None = titles.write(directory / "items.parquet")
    else:
        items = _entities(source, "items", directory, quarantine, rows)
    users = _entities(source, "users", directory, quarantine, rows)
    quarantine.check()
    notes = selection.notes() + cleaner.notes()
    order = f"timestamps were read as {clock.form}"
    if not source.timestamp:
        order = (
            "no timestamps: the order of the rows stands for time, so temporal "
            "splits and recency go by position"
        )
    return Tables(
        interactions,
        items,
        users,
        item_features=source.item_features if items else {},
        user_features=source.user_features if users else {},
        context_features=source.context_features,
        has_rating=bool(source.rating),
        has_weight="weight" in columns,
        notes=(order, *notes, *quarantine.lines()),
        facts={
            "unusable_share": quarantine.worst_share(),
            "time_doubt": clock.doubt(),
        },
    )


def _columns(source: TabularSource) -> dict[str, str]:
    """Column of the log by the canonical one."""
    names = ("user_id", "item_id", "timestamp", "rating", "weight")
    found = {name: getattr(source, name) for name in names}
    if source.event:
        found["weight"] = "event_weight"
    return {name: column for name, column in found.items() if column}


def _path(source: TabularSource, table: str) -> str:
    """Where the table of the items or users is; "" where none is wanted."""
    path: str = getattr(source, f"{table}_path")
    wanted = getattr(source, FEATURES[table]) or (
        table == "items" and source.title
    )
    if not path and wanted:
        with files.find(source.path, "source.path") as found:
            if any(formats.stem(file) == table for file in found):
                return source.path
    return path


def _entities(
    source: TabularSource,
    table: str,
    directory: Path,
    quarantine: Quarantine,
    rows: Callable[[TabularSource, str, str], Iterator[Batch]],
) -> Path | None:
    """Writes the items or users, if there are any."""
    features = getattr(source, FEATURES[table])
    path = _path(source, table)
    if not path:
        if not features:
            return None
        raise DataError(
            f"`{FEATURES[table]}` needs a table of {table}. Received: "
            f"{sorted(features)} and {table}_path = '' (from "
            f"[source]). Set source.{table}_path, or remove the features."
        )
    id_name = f"{table[:-1]}_id"
    columns = {id_name: _mapping(source, table)[id_name]}
    if table == "items" and source.title:
        columns["title_shown"] = source.title
    written = directory / f"{table}.parquet"
    batches = rows(source, table, path)
    canonical.write_entities(
        batches, written, columns, features, quarantine, source.separator
    )
    return written


def _rows(
    quarantine: Quarantine,
    cleaner: Cleaner,
    source: TabularSource,
    table: str,
    path: str,
) -> Iterator[Batch]:
    """Streams the mapped columns of a table, their cells put right."""
    mapped = _mapping(source, table)
    option = "source.path"
    if table != "interactions":
        option = f"source.{table}_path"
        source = dataclasses.replace(
            source, columns=getattr(source, f"{table}_columns")
        )
    with files.find(path, option) as found:
        for file in formats.of_table(found, table, path, option):
            for batch in formats.read(source, file, option, quarantine):
                for key, column in mapped.items():
                    if column not in batch.columns:
                        without = ", or set it to '' to do without"
                        raise DataError(
                            f"Every mapped column must be in the {table}. "
                            f"Received: {key} = {column!r} (from [source]), "
                            f"but {file.shown} has "
                            f"{sorted(batch.columns)}. Correct source.{key}"
                            f"{without * (key in OPTIONAL)}."
                        )
                if table == "interactions":
                    kept = list(mapped.values())
                    batch = nested.unrolled(batch, source.item_id, kept)
                yield cleaner.clean(batch, mapped, table)


def _mapping(source: TabularSource, table: str) -> dict[str, str]:
    """Columns a table must have, by the config key that says so."""
    keys = {
        "interactions": ("user_id", "item_id", *OPTIONAL),
        "items": ("item_id", "title"),
        "users": ("user_id",),
    }[table]
    columns = {key: getattr(source, key) for key in keys}
    if table != "interactions":
        own = getattr(source, f"{table}_id")
        columns[f"{table[:-1]}_id"] = own or columns[f"{table[:-1]}_id"]
    section = FEATURES[table]
    columns |= {f"{section}.{name}": name for name in getattr(source, section)}
    return {key: column for key, column in columns.items() if column}
