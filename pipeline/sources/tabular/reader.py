"""Your own files: CSV, TSV, JSON lines or Parquet, one or many.

The config maps columns to meanings. Files may lie in folders named
`column=value` (hive style), in a folder or zip archive with `interactions.*`,
and beside it `items.*` and `users.*`, or behind an fsspec address. What is not
there - ratings, timestamps, items, users - is done without; where there are no
items, the log may hold their titles.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.run.data import TabularSource
from pipeline.sources.canonical import tables as canonical
from pipeline.sources.canonical.quarantine import FILE as QUARANTINE
from pipeline.sources.canonical.quarantine import Quarantine
from pipeline.sources.canonical.tables import Batch, Tables
from pipeline.sources.canonical.timestamps import Clock
from pipeline.sources.reading import files, formats, nested
from pipeline.sources.tabular import features
from pipeline.sources.tabular.cleaning import Cleaner
from pipeline.sources.tabular.parts import Parts, State
from pipeline.sources.tabular.selection import Selection
from pipeline.sources.tabular.titles import Titles
from pipeline.tables.schema import DataError

OPTIONAL = tuple(
    "timestamp time_of_day rating weight quantity event title".split()
)


def read(
    source: TabularSource, directory: Path, kept: Path | None = None
) -> Tables:
    """Writes the canonical tables of the mapped files.

    Args:
        source: What to read.
        directory: Empty.
        kept: Folder of what was read before, see `parts`; None reads all.

    Raises:
        DataError: If a file or a mapped column is missing, or too many rows
            are unusable.
    """
    parts = Parts(kept, source)
    interactions = directory / "interactions"
    interactions.mkdir(exist_ok=True)
    state, only = _begin(source, parts, interactions)
    quarantine, cleaner, titles = state.quarantine, state.cleaner, state.titles
    rows = functools.partial(_rows, quarantine, cleaner)
    # Without a table of the items, their titles stand in the log or nowhere.
    log = source if titles else dataclasses.replace(source, title="")
    if only:
        linked = len(list(interactions.iterdir()))
        number = 0 if parts.num_new is None else linked
        _write(
            source,
            state,
            rows(log, "interactions", source.path, only),
            interactions / f"{number:06}.parquet",
        )
    parts.remember(state)
    if titles:
        items: Path | None = titles.write(directory / "items.parquet")
    else:
        items = _entities(source, "items", directory, quarantine, rows)
    users = _entities(source, "users", directory, quarantine, rows)
    quarantine.check()
    parts.keep(interactions)
    notes = state.selection.notes() + cleaner.notes()
    written = list(interactions.iterdir())
    return Tables(
        written[0] if len(written) == 1 else interactions,
        items,
        users,
        item_features=features.kinds(source, "items") if items else {},
        user_features=features.kinds(source, "users") if users else {},
        context_features=features.kinds(source, "interactions"),
        has_rating=bool(source.rating),
        notes=(
            _order(source, state.clock),
            *parts.notes(),
            *features.called(source),
            *notes,
            *quarantine.lines(),
        ),
        facts={
            "unusable_share": quarantine.worst_share(),
            "time_doubt": state.clock.doubt(),
            "float_ids": cleaner.floats,
        },
    )


def read_items(
    source: TabularSource,
    directory: Path,
    option: str,
    float_ids: Mapping[str, bool] | None = None,
) -> tuple[Path, Sequence[str]]:
    """Writes the canonical items of a table that is there by itself.

    Args:
        source: Its `items_path` is read.
        directory: Empty.
        option: Where the path is from, for messages.
        float_ids: What the run has decided, `facts` of its tables.

    Returns:
        The table, and what a person should know of it.

    Raises:
        DataError: As `read` does.
    """
    quarantine = Quarantine(directory / QUARANTINE, source.max_bad_share)
    cleaner = Cleaner(source, float_ids)
    rows = functools.partial(_rows, quarantine, cleaner, option=option)
    written = _entities(source, "items", directory, quarantine, rows)
    quarantine.check()
    if written is None:
        raise DataError(f"`{option}` must be a path. Received: ''.")
    return written, (*cleaner.notes(), *quarantine.lines())


def _write(
    source: TabularSource, state: State, batches: Iterator[Batch], path: Path
) -> None:
    """Writes the interactions of some files."""
    chosen = state.selection.select(batches)
    canonical.write_interactions(
        state.titles.collect(chosen) if state.titles else chosen,
        path,
        _columns(source),
        features.kinds(source, "interactions"),
        state.quarantine,
        state.clock,
    )


def _order(source: TabularSource, clock: Clock) -> str:
    """Says what the order of a user's interactions goes by."""
    if source.timestamp:
        return f"timestamps were read as {clock.form}"
    return (
        "no timestamps: the order of the rows stands for time, so temporal "
        "splits and recency go by position"
    )


def _begin(
    source: TabularSource, parts: Parts, interactions: Path
) -> tuple[State, Collection[str]]:
    """What is known at the start, and the files to read.

    One that comes while others are looked at is for the next run.
    """
    with files.find(source.path, "source.path") as found:
        log = formats.of_table(
            found, "interactions", source.path, "source.path"
        )
        state, left = parts.resume(log, interactions)
    only = frozenset(file.shown for file in left)
    if state is not None:
        return state, only
    titles = None
    if source.title and not (_path(source, "items") or source.item_features):
        titles = Titles(source.item_id, source.title)
    path = interactions.with_name(QUARANTINE)
    return State(
        Quarantine(path, source.max_bad_share),
        Cleaner(source),
        Selection(source),
        Clock(source.time_format),
        titles,
    ), only


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
    wanted = getattr(source, features.SECTIONS[table]) or (
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
    section = features.SECTIONS[table]
    wanted = getattr(source, section)
    path = _path(source, table)
    if not path:
        if not wanted:
            return None
        raise DataError(
            f"`{section}` needs a table of {table}. Received: "
            f"{sorted(wanted)} and {table}_path = '' (from "
            f"[source]). Set source.{table}_path, or remove the features."
        )
    id_name = f"{table[:-1]}_id"
    columns = {id_name: _mapping(source, table)[id_name]}
    if table == "items" and source.title:
        columns["title_shown"] = source.title
    written = directory / f"{table}.parquet"
    batches = rows(source, table, path)
    kinds = features.kinds(source, table)
    canonical.write_entities(
        batches, written, columns, kinds, quarantine, source.separator
    )
    return written


def _rows(
    quarantine: Quarantine,
    cleaner: Cleaner,
    source: TabularSource,
    table: str,
    path: str,
    only: Collection[str] | None = None,
    option: str = "",
) -> Iterator[Batch]:
    """Streams the mapped columns of a table, their cells put right.

    Of all its files, or `only` of some by how they are shown.
    """
    mapped = _mapping(source, table)
    prefix = "" if table == "interactions" else f"{table}_"
    option = option or f"source.{prefix}path"
    if table != "interactions":
        source = dataclasses.replace(
            source, columns=source.table_columns.get(table, ())
        )
    with files.find(path, option) as found:
        for file in formats.of_table(found, table, path, option):
            if only is not None and file.shown not in only:
                continue
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
                clean = cleaner.clean(batch, mapped, table)
                yield features.renamed(clean, mapped, table)


def _mapping(source: TabularSource, table: str) -> dict[str, str]:
    """Columns a table must have, by the config key that says so."""
    keys = {
        "interactions": ("user_id", "item_id", *OPTIONAL),
        "items": ("item_id", "title"),
        "users": ("user_id",),
    }[table]
    columns = {key: getattr(source, key) for key in keys}
    if table != "interactions":
        name = f"{table[:-1]}_id"
        columns[name] = source.table_ids.get(table, columns[name])
    section = features.SECTIONS[table]
    columns |= {f"{section}.{name}": name for name in getattr(source, section)}
    return {key: column for key, column in columns.items() if column}
