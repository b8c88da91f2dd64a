import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.bench import generate
from pipeline.prepare import summary
from pipeline.run.data import MovielensSource, Source, TabularSource
from pipeline.tables.schema import DataError
from tests.support.data_cases import prepared, write_csv

needs_spark = pytest.mark.skipif(
    importlib.util.find_spec("pyspark") is None or not shutil.which("java"),
    reason="needs requirements-spark.txt and Java 17",
)


def same_tables(tmp_path: Path, source: Source, **options: Any) -> None:
    master = options.pop("engine", "local[2]")
    one = prepared(tmp_path / "duckdb", source, **options)
    other = prepared(
        tmp_path / "spark",
        source,
        engine=master,
        **options,
    )
    names = [
        path.relative_to(one.directory)
        for path in sorted(one.directory.rglob("*"))
        if path.is_file()
    ]
    assert len(names) >= 5
    for name in names:
        left, right = one.directory / name, other.directory / name
        if name.suffix == ".parquet":
            # Values, since Spark and DuckDB cut batches elsewhere.
            assert pq.read_table(left).equals(pq.read_table(right)), name
        else:
            assert json.loads(left.read_text()) == json.loads(
                right.read_text()
            ), name


@needs_spark
@pytest.mark.spark
@pytest.mark.slow
def test_spark_prepares_movielens_as_duckdb_does(
    tmp_path: Path, movielens_100k: Path
) -> None:
    same_tables(
        tmp_path,
        MovielensSource(kind="movielens", path=str(movielens_100k)),
        split="temporal",
        min_user_interactions=25,
        min_item_interactions=5,
        repeated="last",
        keep_days=120,
    )


@needs_spark
@pytest.mark.spark
def test_spark_prepares_context_and_odd_texts_as_duckdb_does(
    tmp_path: Path,
) -> None:
    names = ["ä", "Z", "a", "🎬", "10", "9", "_", "é'\"", "ﬀ"]
    log = write_csv(
        tmp_path / "log.csv",
        "user_id,item_id,timestamp,device,hour",
        *[
            ",".join(
                (
                    f"u{n % 13}",
                    '"' + names[n % 9].replace('"', '""') + '"',
                    str(n % 40),
                    "" if n % 5 == 0 else f"d{n % 4}",
                    str(n % 24),
                )
            )
            for n in range(200)
        ],
    )
    same_tables(
        tmp_path,
        TabularSource(
            kind="tabular",
            path=log,
            context_features={"device": "categorical", "hour": "categorical"},
        ),
    )


@needs_spark
@pytest.mark.spark
@pytest.mark.slow
def test_a_cluster_prepares_a_million_rows_as_duckdb_does(
    tmp_path: Path,
) -> None:
    from pipeline.prepare import spark_cluster

    log = generate.write(tmp_path / "log", 1_000_000, 5)
    source = TabularSource(kind="tabular", path=str(log), rating="rating")
    (tmp_path / "cluster").mkdir()
    with spark_cluster.run(tmp_path / "cluster", num_workers=2) as master:
        same_tables(tmp_path, source, engine=master)
        registered = (tmp_path / "cluster" / "master.log").read_text()
    assert registered.count("Registering worker") == 2
    # Both workers took part.
    for number in (0, 1):
        log_text = (tmp_path / "cluster" / f"worker-{number}.log").read_text()
        assert "Asked to launch executor" in log_text


def test_without_pyspark_the_engine_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    log = write_csv(tmp_path / "x.csv", "user_id,item_id,timestamp", "u,i,1")
    source = TabularSource(kind="tabular", path=log)
    with pytest.raises(DataError, match=r"Install requirements-spark\.txt"):
        prepared(tmp_path / "out", source, engine="spark")


def test_a_generated_log_takes_the_place_of_a_larger_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "SHARD_ROWS", 500)
    for size in (2_000, 700):
        assert pq.read_table(generate.write(tmp_path, size, 1)).num_rows == size


def test_generated_logs_are_seeded_and_long_tailed(tmp_path: Path) -> None:
    first = generate.write(tmp_path / "a", 20_000, 5)
    again = generate.write(tmp_path / "b", 20_000, 5)
    other = generate.write(tmp_path / "c", 20_000, 6)
    tables = [pq.read_table(path) for path in (first, again, other)]
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])
    assert tables[0].num_rows == 20_000
    counts = sorted(
        (c.as_py() for c in pa.compute.value_counts(tables[0]["item_id"])
         .field("counts")),
        reverse=True,
    )  # fmt: skip
    assert sum(counts[: len(counts) // 10]) > 0.3 * 20_000
    source = TabularSource(kind="tabular", path=str(first), rating="rating")
    figures = prepared(tmp_path / "out", source, split="temporal").summary
    assert figures["interactions"] == 20_000
    assert summary.describe(figures)
