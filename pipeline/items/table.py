"""The item file: the catalogue as of now, in any form that sources may have."""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.run.config import Config
from pipeline.run.data import TabularSource
from pipeline.sources.tabular import reader
from pipeline.tables import names
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import DataError

OPTION = "ITEMS"


def read(
    config: Config, prepared: Prepared, path: str
) -> tuple[pa.Table, Sequence[str]]:
    """Reads the item file as the run reads its items.

    The config says which columns mean what; where its source is no file of
    one's own they are named as the run's tables name them.

    Args:
        config: Of the run.
        prepared: Tables whose features the file must have.
        path: Of the file, or a folder, a pattern, an address.

    Returns:
        `item_id`, `title_shown` where there are titles, and each feature; what
        a person should know of it.

    Raises:
        DataError: If it cannot be read, has no rows, lacks a column, or has an
            id twice.
    """
    kinds = {spec.name: spec.kind for spec in prepared.items.specs}
    if isinstance(config.source, TabularSource):
        source = dataclasses.replace(
            config.source,
            items_path=path,
            item_features={
                column: kind
                for column, kind in config.source.item_features.items()
                if names.of("item_features", column) in kinds
            },
        )
    else:
        source = TabularSource(
            path=path,
            items_path=path,
            title="title",
            item_features=dict(kinds),
        )
    with tempfile.TemporaryDirectory() as scratch:
        floats = prepared.summary.get("source", {}).get("float_ids")
        written, notes = reader.read_items(
            source, Path(scratch), OPTION, floats
        )
        table = pq.read_table(written)
    if not len(table):
        raise DataError(
            "The item file must have rows: it is the whole catalogue as of "
            f"now. Received: none (from {OPTION} = {path}). Check the file."
        )
    return table, notes
