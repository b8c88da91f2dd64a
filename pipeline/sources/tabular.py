"""Your own files: CSV, TSV, JSON lines or Parquet, one or many.

The config maps columns to meanings. Files may lie in folders named
`column=value` (hive style), in a zip archive with `interactions.*`, and
beside it `items.*` and `users.*`, or behind an fsspec address. What is not
there - ratings, timestamps, items, users - is done without.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import json as arrow_json

from pipeline.quarantine import Quarantine
from pipeline.schema import DataError, SourceConfig
from pipeline.sources import canonical, cells, files, text
from pipeline.sources.canonical import Batch, Tables
from pipeline.sources.timestamps import Clock

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
    quarantine = Quarantine(
        directory / "quarantine.jsonl", source.max_bad_share
    )
    notes: list[str] = []
    clock = Clock(source.time_unit)
    columns = {"user_id": source.user_id, "item_id": source.item_id}
    for name in ("timestamp", "rating", "weight"):
        if getattr(source, name):
            columns[name] = getattr(source, name)
    if source.event:
        columns["weight"] = "event_weight"
    interactions = directory / "interactions.parquet"
    left_out: dict[str, int] = {}
    canonical.write_interactions(
        _with_weights(
            rows(source, source.path, "path", "interactions", quarantine),
            source,
            left_out,
        ),
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
    notes.extend(
        f"{count:,} interactions of the type {name!r} left out: it has no "
        "weight in event_weights"
        for name, count in left_out.items()
    )
    items = _entities(source, "item", directory, quarantine)
    users = _entities(source, "user", directory, quarantine)
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
    )


def _entities(
    source: SourceConfig,
    entity: str,
    directory: Path,
    quarantine: Quarantine,
) -> Path | None:
    """Writes the items or users, if there are any."""
    features = getattr(source, f"{entity}_features")
    path = getattr(source, f"{entity}s_path")
    title = source.title if entity == "item" else ""
    wanted = bool(path or features or title)
    if not path and wanted and source.path.endswith(".zip"):
        path = source.path
    if not path:
        if not wanted:
            return None
        raise DataError(
            f"`{entity}_features` needs a table of {entity}s. Received: "
            f"{sorted(features) or title!r} and {entity}s_path = '' (from "
            f"[source]). Set source.{entity}s_path, or remove the features."
        )
    target = directory / f"{entity}s.parquet"
    canonical.write_rows(
        rows(source, path, f"{entity}s_path", f"{entity}s", quarantine),
        target,
        mapping(source, f"{entity}s")[f"{entity}_id"],
        f"{entity}_id",
        features,
        title,
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
) -> Iterator[Batch]:
    """Streams the mapped columns of a table.

    Args:
        source: Format and mapping.
        path: Of its files.
        option: Config key of the path, for messages.
        table: "interactions", "items" or "users".
        quarantine: Receives lines that are no rows.

    Raises:
        DataError: If a mapped column is missing.
    """
    mapped = mapping(source, table)
    option = f"source.{option}"
    with files.find(path, option) as found:
        if found and found[0].archive is not None:
            found = [f for f in found if f.name.split(".")[0] == table]
        if not found:
            raise DataError(
                f"The archive must hold {table}.csv, .tsv, .jsonl or "
                f".parquet. Received: {path} without it (from {option}). "
                f"Name the file so, or give its own path."
            )
        for file in found:
            for batch in read_file(source, file, option, quarantine):
                batch = _with_constants(batch, file)
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
                yield batch


OPTIONAL = ("timestamp", "rating", "weight", "event", "title")


def mapping(source: SourceConfig, table: str) -> dict[str, str]:
    """Columns a table must have, by the config key that says so."""
    if table == "interactions":
        keys = ["user_id", "item_id", "timestamp", "rating", "weight", "event"]
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
    if not file.constants:
        return batch
    columns = dict(batch.columns)
    for name, value in file.constants.items():
        if name not in columns:
            columns[name] = pa.array([value] * len(batch.lines), pa.string())
    return Batch(columns, batch.lines, batch.file)


def _with_weights(
    batches: Iterator[Batch], source: SourceConfig, left_out: dict[str, int]
) -> Iterator[Batch]:
    """Adds the weight of each event type; leaves out types without one."""
    if not source.event:
        yield from batches
        return
    names = pa.array(list(source.event_weights), pa.string())
    weights = pa.array(list(source.event_weights.values()), pa.float64())
    for batch in batches:
        types = cells.as_text(batch.columns[source.event])
        index = pc.index_in(types, value_set=names)
        known = index.is_valid()
        for pair in pc.value_counts(types.filter(pc.invert(known))):
            name = str(pair["values"].as_py() or "")
            left_out[name] = left_out.get(name, 0) + pair["counts"].as_py()
        columns = {n: c.filter(known) for n, c in batch.columns.items()}
        columns["event_weight"] = weights.take(index.filter(known))
        yield Batch(
            columns,
            batch.lines[known.to_numpy(zero_copy_only=False)],
            batch.file,
        )


def format_of(source: SourceConfig, file: files.File, option: str) -> str:
    """Format of a file by the config or its name.

    Raises:
        DataError: If neither says it.
    """
    if source.format != "auto":
        return source.format
    suffixes = [s for s in Path(file.name).suffixes if s != ".gz"]
    kind = FORMATS.get(suffixes[-1].lower(), "") if suffixes else ""
    if kind:
        return kind
    raise DataError(
        f"A file name must end in one of {sorted(FORMATS)}, or "
        f"`format` must say what it is. Received: {file.shown} (from "
        f"{option}). Set source.format."
    )


def read_file(
    source: SourceConfig, file: files.File, option: str, quarantine: Quarantine
) -> Iterator[Batch]:
    """Streams one file.

    Raises:
        DataError: If it is not what its format says.
    """
    kind = format_of(source, file, option)
    if kind == "parquet":
        return _parquet(file)
    if kind == "jsonl":
        return _json(file, source.encoding, quarantine)
    return text.read(
        file,
        None,
        source.delimiter or {"csv": ",", "tsv": "\t"}[kind],
        source.encoding,
        quarantine,
    )


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


def _json(
    file: files.File, encoding: str, quarantine: Quarantine
) -> Iterator[Batch]:
    line = 1
    for block in files.blocks(file):
        count = block.count(b"\n") + (not block.endswith(b"\n"))
        try:
            table = arrow_json.read_json(io.BytesIO(block)).combine_chunks()
            # Arrow's reader can leave broken arrays behind where the types
            # of nested values differ from row to row.
            table.validate(full=True)
            whole = table.num_rows == count
        except pa.ArrowInvalid:
            whole = False
        if whole:
            columns = {
                name: table[name].chunk(0) for name in table.column_names
            }
            yield Batch(columns, np.arange(line, line + count), file.shown)
        else:
            yield from _json_lines(block, line, encoding, file, quarantine)
        line += count


def _json_lines(
    block: bytes,
    line: int,
    encoding: str,
    file: files.File,
    quarantine: Quarantine,
) -> Iterator[Batch]:
    """Objects of a block line by line, where some line is none."""
    objects: list[dict[str, object]] = []
    lines: list[int] = []
    for number, raw in enumerate(block.split(b"\n"), start=line):
        if not raw.strip():
            continue
        text = raw.decode(encoding, "replace")
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if isinstance(value, dict):
            objects.append(value)
            lines.append(number)
        else:
            quarantine.add_line(
                "it is not a JSON object", file.shown, number, text
            )
    names = dict.fromkeys(name for value in objects for name in value)
    if objects:
        yield Batch(
            {name: _column([v.get(name) for v in objects]) for name in names},
            np.array(lines),
            file.shown,
        )


def _column(values: list[object]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        # Values of several types: text says them all.
        return pa.array(
            [
                v if v is None or isinstance(v, str) else json.dumps(v)
                for v in values
            ],
            pa.string(),
        )
