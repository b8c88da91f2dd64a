"""Where Ibis expressions run: DuckDB on one machine, Spark on a cluster.

An engine reads Parquet, keeps intermediate tables outside Python's memory and
hands results back as Arrow batches. Everything it writes lies in the scratch
directory it was opened with, which the caller deletes.
"""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import duckdb
import ibis
import pyarrow as pa
from ibis import _

from pipeline.run.data import PrepareConfig
from pipeline.tables.schema import DataError

if typing.TYPE_CHECKING:
    from pipeline.prepare.spark import SparkEngine

Engine: TypeAlias = "DuckDBEngine | SparkEngine"


def count(engine: Engine, table: ibis.Table) -> int:
    """Rows of a table."""
    return int(engine.collect(table.aggregate(n=_.count()))["n"][0].as_py())


class DuckDBEngine:
    """DuckDB on a file in a scratch directory, so that it can spill there.

    It does beyond `memory_limit`, such as "2GB".
    """

    def __init__(self, directory: Path, memory_limit: str) -> None:
        self.memory_limit = memory_limit
        try:
            self.connection = ibis.duckdb.connect(
                directory / "work.duckdb",
                memory_limit=memory_limit,
                temp_directory=str(directory / "spill"),
                # Every result that needs an order states it.
                preserve_insertion_order=False,
            )
            # A bar in a log file is no progress. In a notebook without
            # ipywidgets there is none, and DuckDB refuses to hear of it.
            has_bar = "SELECT current_setting('enable_progress_bar')"
            if self.connection.raw_sql(has_bar).fetchone()[0]:
                self.connection.raw_sql("SET enable_progress_bar = false")
        except Exception as error:
            raise DataError(
                "DuckDB refused its settings: "
                f"{str(error).splitlines()[0]} Received: memory_limit = "
                f"{memory_limit!r} (from [prepare]). Give a size such as "
                "'2GB'."
            ) from error

    def read(self, path: Path) -> ibis.Table:
        """Opens a Parquet file or a folder of them."""
        pattern = f"{path}/*.parquet" if path.is_dir() else str(path)
        return self.connection.read_parquet(pattern)

    def save(self, table: ibis.Table, name: str) -> ibis.Table:
        """Computes a table once and keeps it under a name."""
        # Ibis 12 writes DROP and RENAME that DuckDB cannot read where sqlglot
        # is newer than 28, so both are avoided here.
        with _explained(self.memory_limit):
            self.connection.raw_sql(f'DROP TABLE IF EXISTS "{name}"')
            return self.connection.create_table(name, table)

    def batches(self, table: ibis.Table, rows: int) -> Iterator[pa.RecordBatch]:
        """Streams a result in its order, about `rows` rows at a time."""
        with _explained(self.memory_limit):
            yield from self.connection.to_pyarrow_batches(
                table, chunk_size=rows
            )

    def collect(self, table: ibis.Table) -> pa.Table:
        """Brings a result that fits in memory."""
        with _explained(self.memory_limit):
            return self.connection.to_pyarrow(table)

    def close(self) -> None:
        """Lets the database file go."""
        self.connection.disconnect()


@contextlib.contextmanager
def _explained(memory_limit: str) -> Iterator[None]:
    """Says what to do where memory or disk end."""
    try:
        yield
    except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
        raise DataError(
            "DuckDB needs memory, and disk to spill to. Received: "
            f"{str(error).splitlines()[0]} Raise prepare.memory_limit (now "
            f"{memory_limit!r}), or free disk space under the artifacts "
            "directory."
        ) from error


@contextlib.contextmanager
def open_engine(config: PrepareConfig, directory: Path) -> Iterator[Engine]:
    """Opens the engine the config names in a scratch directory, for a block.

    Raises:
        DataError: If the engine does not start.
    """
    engine: Engine
    if config.engine == "duckdb":
        engine = DuckDBEngine(directory, config.memory_limit)
    else:
        from pipeline.prepare.spark import SparkEngine

        master = "local[*]" if config.engine == "spark" else config.engine
        engine = SparkEngine(directory, master, config.memory_limit)
    with contextlib.closing(engine):
        yield engine
