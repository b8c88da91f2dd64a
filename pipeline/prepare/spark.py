"""Apache Spark as an engine: the same expressions on a cluster.

The only module that imports pyspark. Intermediate tables are Parquet in the
scratch directory, which every worker must reach under the same path: a local
disk for `local[*]`, a shared one for a cluster of several machines.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.tables.schema import DataError


class SparkEngine:
    """A Spark session for the length of one step.

    Args:
        directory: Scratch directory, existing.
        master: "local[*]", "spark://host:7077", "yarn", "k8s://...".
        memory_limit: Of the driver, such as "2GB".
    """

    def __init__(self, directory: Path, master: str, memory_limit: str) -> None:
        try:
            from pyspark.sql import SparkSession
        except ImportError as error:
            raise DataError(
                "The engine 'spark' needs pyspark. Received: an environment "
                f"without it (for {master!r}). Install "
                "requirements-spark.txt, or set prepare.engine = 'duckdb'."
            ) from error
        self._directory = directory.resolve() / "spark"
        self._directory.mkdir()
        builder = SparkSession.builder.master(master).appName("prepare")
        for name, value in self._settings(master, memory_limit).items():
            builder = builder.config(name, value)
        # Spark writes its banner before any log level can be set.
        log = os.open(directory / "spark.log", os.O_WRONLY | os.O_CREAT)
        kept = os.dup(2)
        os.dup2(log, 2)
        try:
            self._session = builder.getOrCreate()
            self._session.sparkContext.setLogLevel("ERROR")
            self.connection = ibis.pyspark.connect(self._session)
        except Exception as error:
            raise DataError(
                "Spark must start with the configured master. Received: "
                f"{master!r} (from prepare.engine): "
                f"{str(error).splitlines()[0]}. Check the address, and that "
                "Java 17 is installed (java -version)."
            ) from error
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(log)
        self._turn = 0

    def _settings(self, master: str, memory_limit: str) -> dict[str, str]:
        settings = {
            "spark.driver.memory": _memory(memory_limit),
            "spark.sql.session.timeZone": "UTC",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.local.dir": str(self._directory / "local"),
            "spark.sql.warehouse.dir": str(self._directory / "warehouse"),
            # Cached plans of an overwritten file would be read again.
            "spark.sql.parquet.compression.codec": "zstd",
        }
        if re.match(r"local|spark://(127\.0\.0\.1|localhost)", master):
            settings |= {
                "spark.driver.host": "127.0.0.1",
                "spark.driver.bindAddress": "127.0.0.1",
                # The default of 200 is for clusters of that size.
                "spark.sql.shuffle.partitions": str(2 * (os.cpu_count() or 1)),
            }
        return settings

    def read(self, path: Path) -> ibis.Table:
        """Opens a Parquet file or a folder of them."""
        return self.connection.read_parquet(str(Path(path).resolve()))

    def save(self, table: ibis.Table, name: str) -> ibis.Table:
        """Computes a table once and keeps it under a name."""
        return self.read(self._write(table, name))

    def _write(self, table: ibis.Table, name: str) -> Path:
        # Never the same path twice: a table may be made of its predecessor.
        self._turn += 1
        path = self._directory / f"{name}_{self._turn}"
        frame = self._session.sql(self.connection.compile(table))
        frame.write.parquet(str(path))
        return path

    def batches(self, table: ibis.Table, rows: int) -> Iterator[pa.RecordBatch]:
        """Streams a result in its order, about `rows` rows at a time."""
        # A global sort writes its ranges to files whose names follow it, and
        # reading them beats fetching rows through the driver.
        path = self._write(table, "result")
        for file in sorted(path.glob("part-*.parquet")):
            with pq.ParquetFile(file) as parquet:
                yield from parquet.iter_batches(rows)

    def collect(self, table: ibis.Table) -> pa.Table:
        """Brings a result that fits in memory."""
        schema = table.schema().to_pyarrow()
        found = [
            batch.select(schema.names)
            for batch in self.batches(table, 1_000_000)
        ]
        return pa.Table.from_batches(found) if found else schema.empty_table()

    def close(self) -> None:
        """Ends the session."""
        self._session.stop()


def _memory(limit: str) -> str:
    """Spark's spelling of a size such as "2GB"."""
    found = re.fullmatch(r"\s*(\d+)\s*([KMGT])i?B?\s*", limit, re.IGNORECASE)
    if found is None:
        raise DataError(
            "`memory_limit` must be a whole size such as '2GB'. Received: "
            f"{limit!r} (from [prepare])."
        )
    return f"{found[1]}{found[2].lower()}"
