"""Files of a table in any format: which they are, and their rows."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.run.data import TabularSource
from pipeline.sources.canonical.quarantine import Quarantine
from pipeline.sources.canonical.tables import Batch
from pipeline.sources.reading import files, json_lines, nested, text
from pipeline.tables.schema import DataError

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
TABLES = ("interactions", "items", "users")
BATCH_ROWS = 131_072


def stem(file: files.File) -> str:
    """Name of a file up to its first dot, lower-case."""
    return file.name.split(".")[0].lower()


def of_table(
    found: list[files.File], table: str, path: str, option: str
) -> list[files.File]:
    """Files of one table among all that were found at a path.

    Those named after the table; where none is, those not named after another
    one. Messages say where the path is from (`option`).

    Raises:
        DataError: If there are none.
    """
    named = [file for file in found if stem(file) == table]
    mine = named or [file for file in found if stem(file) not in TABLES]
    # A path of its own may bear any name.
    if not mine and len(found) != 1:
        raise DataError(
            f"An archive or folder of several tables must hold {table}.csv, "
            f".tsv, .jsonl or .parquet. Received: {path} with "
            f"{sorted(file.name for file in found)[:8]} (from {option}). "
            "Name the file so, or give its own path."
        )
    return mine or found


def format_of(file: files.File) -> str:
    """Format of a file by its name or, where that says nothing, its content."""
    suffix = Path(file.name.removesuffix(".gz")).suffix.lower()
    if suffix in FORMATS:
        return FORMATS[suffix]
    head = next(files.blocks(file), b"").lstrip()
    if head.startswith(b"PAR1"):
        return "parquet"
    return "jsonl" if head.startswith(b"{") else "csv"


def read(
    source: TabularSource, file: files.File, option: str, quarantine: Quarantine
) -> Iterator[Batch]:
    """Streams one file, what its folders fix and the fields of objects added.

    Raises:
        DataError: If it is not what its format says.
    """
    kind = format_of(file)
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
        separator = delimiter_of(source, kind)
        names = source.columns or None
        batches = text.read(file, names, separator, source.encoding, quarantine)
    for batch in batches:
        columns = nested.flat(batch.columns)
        for name, value in file.constants.items():
            fixed = pa.array([value] * len(batch.lines), pa.string())
            columns.setdefault(name, fixed)
        yield Batch(columns, batch.lines, batch.file)


def delimiter_of(source: TabularSource, kind: str) -> str:
    """What separates the columns of a text file; "" to go by its content."""
    return source.delimiter or ("\t" if kind == "tsv" else "")


def _parquet(file: files.File) -> Iterator[Batch]:
    line = 1
    try:
        with file.open() as stream, pq.ParquetFile(stream) as parquet:
            for batch in parquet.iter_batches(BATCH_ROWS):
                columns = dict(zip(batch.schema.names, batch, strict=True))
                lines = np.arange(line, line + batch.num_rows)
                yield Batch(columns, lines, file.shown)
                line += batch.num_rows
    except (pa.ArrowInvalid, *files.DAMAGE) as error:
        raise DataError(
            f"A Parquet file must be complete. Received: {file.shown}: "
            f"{str(error).splitlines()[0]}. It is probably cut off or of "
            "another format: fetch it again, or give it another name."
        ) from error
