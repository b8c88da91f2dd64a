"""Your own files: CSV, TSV, JSON lines or Parquet, one or many.

The config maps columns to meanings. Files may lie in folders named
`column=value` (hive style), in a folder or zip archive with `interactions.*`,
and beside it `items.*` and `users.*`, or behind an fsspec address. What is not
there - ratings, timestamps, items, users - is done without; where there are no
items, the log may hold their titles.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.sources.canonical import tables as canonical
from pipeline.sources.canonical.quarantine import FILE as QUARANTINE
from pipeline.sources.canonical.quarantine import Quarantine
from pipeline.sources.canonical.tables import Batch, Tables
from pipeline.sources.canonical.timestamps import Clock
from pipeline.sources.reading import files, json_lines, nested, text
from pipeline.sources.tabular.cleaning import Cleaner
from pipeline.sources.tabular.selection import Selection
from pipeline.sources.tabular.titles import Titles
from pipeline.tables.schema import DataError, SourceConfig

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
# Names that say nothing about the format: the content does.
VAGUE = ("", ".txt", ".dat", ".data", ".inter", ".log")
TABLES = ("interactions", "items", "users")
BATCH_ROWS = 131_072


def read(source: SourceConfig, directory: Path) -> Tables:
    """Writes the canonical tables of the mapped files.

    Args:
        source: Paths and the meaning of their columns.
        directory: Existing; receives Parquet files.

    Raises:
        DataError: If a file or a mapped column is missing, or too many rows
            are unusable.
    """
    quarantine = Quarantine(directory / QUARANTINE, source.max_bad_share)
    catalogue = _path(source, "item")
    # Without a table of the items, their titles stand in the log or nowhere.
    alone = bool(source.title) and not (catalogue or source.item_features)
    titles = Titles(source.item_id, source.title) if alone else None
    log = source if alone else dataclasses.replace(source, title="")
    notes: list[str] = []
    clock = Clock(source.time_unit, source.time_format)
    columns = {"user_id": source.user_id, "item_id": source.item_id}
    for name in ("timestamp", "rating", "weight"):
        if getattr(source, name):
            columns[name] = getattr(source, name)
    if source.event:
        columns["weight"] = "event_weight"
    interactions = directory / "interactions.parquet"
    cleaner = Cleaner(source)
    selection = Selection(source)
    batches = selection.select(
        rows(log, source.path, "path", "interactions", quarantine, cleaner)
    )
    canonical.write_interactions(
        titles.collect(batches) if titles else batches,
        interactions,
        columns,
        source.context_features,
        quarantine,
        clock,
    )
    if source.timestamp:
        notes.append(f"timestamps were read as {clock.form}")
    else:
        notes.append(
            "no timestamps: the order of the rows stands for time, so "
            "temporal splits and recency go by position"
        )
    items = (
        titles.write(directory / "items.parquet")
        if titles
        else _entities(
            source, "item", catalogue, directory, quarantine, cleaner
        )
    )
    users = _entities(
        source, "user", _path(source, "user"), directory, quarantine, cleaner
    )
    notes += selection.notes() + cleaner.notes()
    quarantine.check()
    return Tables(
        interactions=interactions,
        items=items,
        users=users,
        item_features=source.item_features if items else {},
        user_features=source.user_features if users else {},
        context_features=source.context_features,
        has_rating=bool(source.rating),
        has_weight="weight" in columns,
        notes=(*notes, *quarantine.lines()),
        facts={
            "unusable_share": quarantine.worst_share(),
            "time_doubt": clock.doubt(),
        },
    )


def _path(source: SourceConfig, entity: str) -> str:
    """Where the table of the items or users is; "" where none is wanted."""
    path: str = getattr(source, f"{entity}s_path")
    wanted = getattr(source, f"{entity}_features") or (
        entity == "item" and source.title
    )
    if not path and wanted:
        with files.find(source.path, "source.path") as found:
            if any(stem(file) == f"{entity}s" for file in found):
                return source.path
    return path


def _entities(
    source: SourceConfig,
    entity: str,
    path: str,
    directory: Path,
    quarantine: Quarantine,
    cleaner: Cleaner,
) -> Path | None:
    """Writes the items or users, if there are any."""
    features = getattr(source, f"{entity}_features")
    if not path:
        if not features:
            return None
        raise DataError(
            f"`{entity}_features` needs a table of {entity}s. Received: "
            f"{sorted(features)} and {entity}s_path = '' (from "
            f"[source]). Set source.{entity}s_path, or remove the features."
        )
    target = directory / f"{entity}s.parquet"
    canonical.write_rows(
        rows(
            source, path, f"{entity}s_path", f"{entity}s", quarantine, cleaner
        ),
        target,
        mapping(source, f"{entity}s")[f"{entity}_id"],
        f"{entity}_id",
        features,
        source.title if entity == "item" else "",
        source.separator,
        quarantine,
    )
    return target


def rows(
    source: SourceConfig,
    path: str,
    option: str,
    table: str,
    quarantine: Quarantine,
    cleaner: Cleaner,
) -> Iterator[Batch]:
    """Streams the mapped columns of a table, their cells put right.

    Args:
        source: Format and mapping.
        path: Of its files.
        option: Config key of the path, for messages.
        table: "interactions", "items" or "users".
        quarantine: Receives lines that are no rows.
        cleaner: Puts the cells right.

    Raises:
        DataError: If a mapped column is missing.
    """
    mapped = mapping(source, table)
    option = f"source.{option}"
    if table != "interactions":
        source = dataclasses.replace(
            source, columns=getattr(source, f"{table}_columns")
        )
    with files.find(path, option) as found:
        for file in of_table(found, table, path, option):
            for batch in read_file(source, file, option, quarantine):
                for key, column in mapped.items():
                    if column not in batch.columns:
                        raise DataError(
                            f"Every mapped column must be in the {table}. "
                            f"Received: {key} = {column!r} (from [source]), "
                            f"but {file.shown} has "
                            f"{sorted(batch.columns)}. Correct source.{key}"
                            + (
                                ", or set it to '' to do without."
                                if key in OPTIONAL
                                else "."
                            )
                        )
                if table == "interactions":
                    item = mapped["item_id"]
                    names = list(mapped.values())
                    batch = nested.unrolled(batch, item, names)
                yield cleaner.clean(batch, mapped, table)


def stem(file: files.File) -> str:
    """Name of a file up to its first dot, lower-case."""
    return file.name.split(".")[0].lower()


def of_table(
    found: list[files.File], table: str, path: str, option: str
) -> list[files.File]:
    """Files of one table among all that lie at a path.

    Those named after the table; where none is, those not named after another
    one.

    Args:
        found: All files there.
        table: "interactions", "items" or "users".
        path: Where they are, for messages.
        option: Where the path is from, for messages.

    Raises:
        DataError: If there are none.
    """
    named = [file for file in found if stem(file) == table]
    mine = named or [file for file in found if stem(file) not in TABLES]
    # A path of its own may bear any name.
    mine = mine or (found if len(found) == 1 else [])
    if not mine:
        raise DataError(
            f"An archive or folder of several tables must hold {table}.csv, "
            f".tsv, .jsonl or .parquet. Received: {path} with "
            f"{sorted(file.name for file in found)[:8]} (from {option}). "
            "Name the file so, or give its own path."
        )
    return mine


OPTIONAL = (
    "timestamp",
    "time_of_day",
    "rating",
    "weight",
    "quantity",
    "event",
    "title",
)


def mapping(source: SourceConfig, table: str) -> dict[str, str]:
    """Columns a table must have, by the config key that says so."""
    if table == "interactions":
        keys = ["user_id", "item_id", *OPTIONAL]
        features = source.context_features
        section = "context_features"
    elif table == "items":
        keys, features = ["item_id", "title"], source.item_features
        section = "item_features"
    else:
        keys, features = ["user_id"], source.user_features
        section = "user_features"
    columns = {key: getattr(source, key) for key in keys}
    if table == "items":
        columns["item_id"] = source.items_id or source.item_id
    if table == "users":
        columns["user_id"] = source.users_id or source.user_id
    columns |= {f"{section}.{name}": name for name in features}
    return {key: column for key, column in columns.items() if column}


def _with_constants(batch: Batch, file: files.File) -> Batch:
    columns = nested.flat(batch.columns)
    for name, value in file.constants.items():
        if name not in columns:
            columns[name] = pa.array([value] * len(batch.lines), pa.string())
    return Batch(columns, batch.lines, batch.file)


def format_of(source: SourceConfig, file: files.File, option: str) -> str:
    """Format of a file by the config or its name.

    Raises:
        DataError: If neither says it.
    """
    if source.format != "auto":
        return source.format
    suffixes = [s.lower() for s in Path(file.name).suffixes if s != ".gz"]
    suffix = suffixes[-1] if suffixes else ""
    if suffix in FORMATS:
        return FORMATS[suffix]
    if suffix in VAGUE:
        head = next(files.blocks(file), b"").lstrip()
        if head.startswith(b"PAR1"):
            return "parquet"
        return "jsonl" if head.startswith(b"{") else "csv"
    raise DataError(
        f"A file name must end in one of {sorted(FORMATS)}, or "
        f"`format` must say what it is. Received: {file.shown} (from "
        f"{option}). Set source.format, or give a path or pattern without "
        "this file."
    )


def read_file(
    source: SourceConfig, file: files.File, option: str, quarantine: Quarantine
) -> Iterator[Batch]:
    """Streams one file.

    Raises:
        DataError: If it is not what its format says.
    """
    kind = format_of(source, file, option)
    if source.columns and kind in ("parquet", "jsonl"):
        raise DataError(
            "`columns` names those of text files without a line of names. "
            f"Received: {list(source.columns)} and {file.shown}, which is "
            f"{kind} and has names (from [source]). Remove source.columns."
        )
    if kind == "parquet":
        batches = _parquet(file)
    elif kind == "jsonl":
        batches = json_lines.read(file, source.encoding, quarantine)
    else:
        batches = text.read(
            file,
            source.columns or None,
            delimiter_of(source, kind),
            source.encoding,
            quarantine,
        )
    return (_with_constants(batch, file) for batch in batches)


def delimiter_of(source: SourceConfig, kind: str) -> str:
    """What separates the columns of a text file; "" to go by its content."""
    return source.delimiter or ("\t" if kind == "tsv" else "")


def _parquet(file: files.File) -> Iterator[Batch]:
    line = 1
    try:
        with file.open() as stream, pq.ParquetFile(stream) as parquet:
            for batch in parquet.iter_batches(BATCH_ROWS):
                count = batch.num_rows
                yield Batch(
                    dict(zip(batch.schema.names, batch.columns, strict=True)),
                    np.arange(line, line + count),
                    file.shown,
                )
                line += count
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"A Parquet file must be complete. Received: {file.shown}: "
            f"{str(error).splitlines()[0]}. It is probably cut off or of "
            "another format: fetch it again, or set source.format."
        ) from error
