"""JSON lines as batches of columns, fast where every line is an object.

A block that Arrow's reader takes whole goes through it. Any other block is
read line by line, so that a bad line is set aside with its number and costs
nothing else.
"""

import io
import json
import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyarrow import json as arrow_json

from pipeline.sources.canonical.quarantine import Quarantine
from pipeline.sources.canonical.tables import Batch
from pipeline.sources.reading import files
from pipeline.tables.schema import DataError

# An object that goes on behind its first line.
_DOCUMENT = re.compile(rb"\s*\{\s*\n")


def read(
    file: files.File, encoding: str, quarantine: Quarantine
) -> Iterator[Batch]:
    """Streams a file of one JSON object a line as batches of columns.

    Args:
        file: The file.
        encoding: Of the file.
        quarantine: Receives lines that are no objects.

    Raises:
        DataError: If the file is one array or object, or compressed data
            that ends early.
    """
    line = 1
    for block in files.blocks(file):
        if line == 1 and re.match(rb"\s*\[\s*\{", block):
            raise DataError(
                "JSON must be one object a line. Received: an array (in "
                f"{file.shown}). Convert it: jq -c '.[]' old.json > new.jsonl."
            )
        if line == 1 and _DOCUMENT.match(block):
            raise DataError(
                "JSON must be one object a line. Received: one object over "
                f"several lines (in {file.shown}). Convert it: "
                f"jq -c '.{_list_of(block)}[]' {file.name} > new.jsonl."
            )
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


def _list_of(block: bytes) -> str:
    """Name of the first list of objects in a document; "" for none."""
    found = re.search(rb'"(\w+)"\s*:\s*\[\s*\{', block)
    return found[1].decode() if found else ""


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
        text = quarantine.decode(raw, encoding, file.shown, number)
        if text is None:
            continue
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
