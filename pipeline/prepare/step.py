"""The prepare step: an interaction log becomes the prepared tables.

Enters: a config. Leaves, in one directory: what `tables.prepared` describes,
and `quarantine.jsonl` where rows had to be set aside.

Everything that grows with the log runs as Ibis expressions on the engine or
as a stream of Arrow batches; items and users are held in memory.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import _

from models.config import FeatureSpec
from pipeline import sources
from pipeline.prepare import contexts, splits, summary, vocabulary
from pipeline.prepare import engine as engines
from pipeline.prepare.sequences import Writer
from pipeline.sources.canonical import quarantine
from pipeline.sources.canonical.tables import Tables
from pipeline.tables import prepared, sequences
from pipeline.tables.prepared import Table
from pipeline.tables.schema import TEST, DataError, PrepareConfig, SourceConfig

BATCH_ROWS = 262_144


class Config(Protocol):
    """The part of `pipeline.run.config.Config` this step reads."""

    @property
    def name(self) -> str:
        """Of the run."""

    @property
    def seed(self) -> int:
        """Of every random choice."""

    @property
    def source(self) -> SourceConfig:
        """What to read."""

    @property
    def prepare(self) -> PrepareConfig:
        """Filters, split and engine."""


def run(config: Config, directory: Path) -> None:
    """Writes the prepared tables.

    Args:
        config: Source, filters and split.
        directory: Existing; the caller makes it final by rename.

    Raises:
        DataError: If the input is unusable or a leak is found.
    """
    directory = Path(directory)
    scratch = directory / ".scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "source").mkdir(parents=True)
    try:
        tables = sources.read(config.source, config.seed, scratch / "source")
        with engines.open_engine(config.prepare, scratch) as engine:
            write(config, tables, engine, directory)
        aside = scratch / "source" / quarantine.FILE
        if aside.exists():
            shutil.move(aside, directory / quarantine.FILE)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write(
    config: Config, tables: Tables, engine: engines.Engine, directory: Path
) -> None:
    """Writes the prepared tables of canonical ones.

    Args:
        config: Filters and split.
        tables: From a source.
        engine: Open; keeps its tables in `directory/.scratch`.
        directory: Existing, with `.scratch` in it.

    Raises:
        DataError: If the input is unusable or a leak is found.
    """
    options = config.prepare
    log = engine.read(tables.interactions)
    num_read = _count(engine, log)
    if num_read == 0:
        raise DataError(
            "The interaction log must have rows. Received: 0 (from "
            f"source.path = {config.source.path!r}). Check the file."
        )
    kept = splits.select(engine, log, options, config.seed)
    num_kept = num_read
    if kept is not log:
        kept = engine.save(kept, "kept")
        num_kept = _count(engine, kept)
    if num_kept == 0:
        raise DataError(
            "The filters must leave interactions. Received: 0 of "
            f"{num_read:,} (from [prepare]). Loosen min_rating, the minimum "
            "counts or the dates."
        )
    parted, cuts = splits.assign(engine, kept, options, config.seed)
    parted = engine.save(parted, "parted")
    encoded: dict[str, Table] = {}
    values: dict[str, list[tuple[str, int]]] = {}
    indices: dict[str, ibis.Table] = {}
    active: dict[str, int] = {}
    for name, id_name, path, kinds in (
        ("items", "item_id", tables.items, tables.item_features),
        ("users", "user_id", tables.users, tables.user_features),
    ):
        counted = vocabulary.count(parted, id_name)
        active[f"active_{name}"] = _count(engine, counted)
        rows = vocabulary.rows(
            counted,
            engine.read(path) if path else None,
            id_name,
        )
        table = engine.collect(rows)
        encoded[name], found = vocabulary.encode(table, kinds, id_name, options)
        vocabulary.check_known(
            encoded[name], {n: [v for v, _c in f] for n, f in found.items()}
        )
        values |= {f"{name}.{feature}": v for feature, v in found.items()}
        index = directory / ".scratch" / f"{name}_index.parquet"
        pq.write_table(
            pa.table(
                {
                    id_name: table[id_name],
                    "row": pa.array(
                        np.arange(2, len(table) + 2, dtype=np.int32)
                    ),
                }
            ),
            index,
        )
        indices[name] = engine.read(index)
    specs = _write_sequences(
        engine, parted, tables, indices, encoded, values, options, directory
    )
    figures = summary.compute(
        directory, encoded["items"], encoded["users"], cuts, options, config
    )
    pairs = active["active_users"] * active["active_items"]
    figures |= active | {"density": figures["interactions"] / pairs}
    if figures["interactions"] != num_kept:
        raise DataError(
            "Every interaction must be in exactly one sequence. Received: "
            f"{figures['interactions']} of {num_kept} (an error of the "
            "prepare step). Please report it with the config."
        )
    figures |= {
        "interactions_read": num_read,
        "notes": list(tables.notes),
        "source": dict(tables.facts),
    }
    if tables.oracle:
        figures["oracle"] = summary.oracle(
            engine.collect(
                parted.inner_join(
                    engine.read(tables.oracle), ["user_id", "item_id"]
                )
                .filter(_.part == TEST)
                .select("best_rank")
            )["best_rank"].to_numpy()
        )
    prepared.write(directory, encoded, specs, values, figures, options)


def _write_sequences(
    engine: engines.Engine,
    parted: ibis.Table,
    tables: Tables,
    indices: Mapping[str, ibis.Table],
    encoded: Mapping[str, Table],
    values: dict[str, list[tuple[str, int]]],
    options: PrepareConfig,
    directory: Path,
) -> tuple[FeatureSpec, ...]:
    specs = contexts.fit(
        engine, parted, tables.context_features, options, values
    )
    items = indices["items"].rename(item_index="row")
    users = indices["users"].rename(user_row="row")
    rows = parted.mutate(tie=splits.tie_break(parted))
    rows = rows.left_join(items, "item_id")
    rows = rows.drop(*[c for c in rows.columns if c.endswith("_right")])
    rows = rows.inner_join(users, "user_id")
    rated = ["rating"] if tables.has_rating else []
    rows = rows.select(
        "user_row",
        "timestamp",
        "part",
        "tie",
        *rated,
        *(["weight"] if tables.has_weight else []),
        *tables.context_features,
        item_index=rows.item_index.fill_null(1).cast("int32"),
    )
    rows = rows.order_by(
        "user_row", "timestamp", "tie", *rated, *splits.rest(rows), "part"
    )
    writer = Writer(
        directory / sequences.FILE,
        pa.array(encoded["users"].ids[2:], pa.string()),
        {
            s.name: pa.float32() if s.kind == "numeric" else pa.int32()
            for s in specs
        },
        tables.has_rating,
        tables.has_weight,
        options.split != "random",
        options.row_group_size,
    )
    for batch in engine.batches(rows.drop("tie"), BATCH_ROWS):
        columns = {
            name: batch[name].to_numpy(zero_copy_only=False)
            for name in ("item_index", "timestamp", "part", *rated)
        }
        columns["user_row"] = batch["user_row"].to_numpy() - 2
        if tables.has_weight:
            columns["weight"] = batch["weight"].to_numpy(zero_copy_only=False)
        for spec in specs:
            columns[f"context_{spec.name}"] = contexts.encode(
                batch[spec.name], spec, values
            )
        writer.add(columns)
    writer.close()
    return specs


def _count(engine: engines.Engine, table: ibis.Table) -> int:
    return int(engine.collect(table.aggregate(n=_.count()))["n"][0].as_py())
