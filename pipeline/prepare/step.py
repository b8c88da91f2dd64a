"""The prepare step: an interaction log becomes the prepared tables.

Enters: a config. Leaves, in one directory: what `tables.prepared` describes,
and `quarantine.jsonl` where rows had to be set aside.

Everything that grows with the log runs as Ibis expressions on the engine or
as a stream of Arrow batches; items and users are held in memory.
"""

import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import _

from pipeline import sources
from pipeline.prepare import engine as engines
from pipeline.prepare import splits, summary, vocabulary
from pipeline.prepare.sequences import Writer
from pipeline.run.config import Config
from pipeline.sources.canonical import quarantine
from pipeline.sources.canonical.tables import Tables
from pipeline.tables import prepared, sequences
from pipeline.tables.columns import FeatureColumn
from pipeline.tables.prepared import Counted
from pipeline.tables.schema import TEST, DataError

BATCH_ROWS = 262_144


def run(config: Config, directory: Path, kept: Path | None = None) -> None:
    """Writes the prepared tables into a directory that exists.

    Args:
        config: Of the run.
        directory: Existing.
        kept: Folder of what was read before; None reads all.

    Raises:
        DataError: If the input is unusable or a leak is found.
    """
    scratch = directory / ".scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "source").mkdir(parents=True)
    try:
        tables = sources.read(
            config.source, config.seed, scratch / "source", kept
        )
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
    """Writes the prepared tables; the engine is open in their `.scratch`.

    Raises:
        DataError: If the input is unusable or a leak is found.
    """
    options = config.prepare
    kept, num_read, num_kept = _select(config, tables, engine)
    parted, cuts = splits.assign(engine, kept, options, config.seed)
    parted = engine.save(parted, "parted")
    encoded, rows, active = {}, {}, {}
    values: dict[str, Counted] = {}
    for name, id_name, row, path, kinds in (
        ("items", "item_id", "item_index", tables.items, tables.item_features),
        ("users", "user_id", "user_row", tables.users, tables.user_features),
    ):
        counted = vocabulary.count(parted, id_name)
        active[f"active_{name}"] = engines.count(engine, counted)
        listed = engine.read(path) if path else None
        table = engine.collect(vocabulary.rows(counted, listed, id_name))
        encoded[name], found = vocabulary.encode(table, kinds, id_name)
        values |= {f"{name}.{feature}": v for feature, v in found.items()}
        if name == "items":
            prepared.write_item_values(directory, table, kinds)
        places = _places(table[id_name], id_name, row, directory / ".scratch")
        rows[name] = engine.read(places)
    context, found = vocabulary.fit_context(
        engine, parted, tables.context_features
    )
    values |= {f"context.{feature}": v for feature, v in found.items()}
    writer = Writer(
        directory / sequences.FILE,
        pa.array(encoded["users"].ids[2:], pa.string()),
        ordered=options.split != "random",
    )
    log = _in_order(parted, rows["items"], rows["users"], context)
    for batch in engine.batches(log, BATCH_ROWS):
        writer.add(_columns(batch, context))
    writer.close()
    figures = summary.compute(directory, encoded, cuts, config)
    if figures["interactions"] != num_kept:
        raise DataError(
            "Every interaction must be in exactly one sequence. Received: "
            f"{figures['interactions']} of {num_kept} (an error of the prepare "
            "step). Please report it with the config."
        )
    figures |= active | {
        "density": num_kept / math.prod(active.values()),
        "interactions_read": num_read,
        "notes": list(tables.notes),
        "source": dict(tables.facts),
        **_oracle(engine, parted, tables.oracle),
    }
    specs = [column.spec for column in context.values()]
    meaning = {
        name: getattr(options, name) for name in ("split", "repeat_consumption")
    }
    prepared.write(directory, encoded, specs, values, figures, meaning)


def _places(
    ids: pa.ChunkedArray, id_name: str, row: str, scratch: Path
) -> Path:
    """Writes which row of its table each id has."""
    path = scratch / f"{row}.parquet"
    rows = np.arange(2, len(ids) + 2, dtype=np.int32)
    pq.write_table(pa.table({id_name: ids, row: rows}), path)
    return path


def _oracle(
    engine: engines.Engine, parted: ibis.Table, path: Path | None
) -> dict[str, dict[str, float]]:
    """What the source knows of the best that can be reached, if anything."""
    if path is None:
        return {}
    known = parted.inner_join(engine.read(path), ["user_id", "item_id"])
    ranks = engine.collect(known.filter(_.part == TEST).select("best_rank"))
    return {"oracle": summary.oracle(ranks["best_rank"].to_numpy())}


def _select(
    config: Config, tables: Tables, engine: engines.Engine
) -> tuple[ibis.Table, int, int]:
    """The interactions that pass the filters, how many were read and passed."""
    log = engine.read(tables.interactions)
    num_read = engines.count(engine, log)
    if num_read == 0:
        raise DataError(
            "The interaction log must have rows. Received: 0 (from "
            f"source.path = {sources.paths(config.source)}). Check the file."
        )
    kept = splits.select(engine, log, config.prepare)
    if kept is log:
        return log, num_read, num_read
    kept = engine.save(kept, "kept")
    num_kept = engines.count(engine, kept)
    if num_kept == 0:
        raise DataError(
            "The filters must leave interactions. Received: 0 of "
            f"{num_read:,} (from [prepare]). Loosen min_rating, the minimum "
            "counts or the dates."
        )
    return kept, num_read, num_kept


def _in_order(
    parted: ibis.Table,
    items: ibis.Table,
    users: ibis.Table,
    context: Iterable[str],
) -> ibis.Table:
    """The interactions by user and time, with rows instead of ids."""
    rows = parted.mutate(tie=splits.tie_break(parted))
    rows = rows.left_join(items, "item_id")
    rows = rows.drop(*[c for c in rows.columns if c.endswith("_right")])
    rows = rows.inner_join(users, "user_id")
    names = ["user_row", "timestamp", "part", "tie", "rating", "weight"]
    rows = rows.select(
        *[name for name in names if name in rows.columns],
        *context,
        item_index=rows.item_index.fill_null(1).cast("int32"),
    )
    keys = ["user_row", "timestamp", "tie"]
    keys += ["rating"] if "rating" in rows.columns else []
    return rows.order_by(*keys, *splits.rest(rows), "part").drop("tie")


# Engines widen small numbers as they like; the files do not depend on it.
_TYPES = {
    "item_index": np.int32,
    "timestamp": np.int64,
    "part": np.int8,
    "rating": np.float32,
    "weight": np.float32,
}


def _columns(
    batch: pa.RecordBatch, context: Mapping[str, FeatureColumn]
) -> dict[str, np.ndarray]:
    """Columns as the writer takes them."""
    return {
        "user_row": batch["user_row"].to_numpy() - 2,
        **{
            name: batch[name].to_numpy(zero_copy_only=False).astype(kind)
            for name, kind in _TYPES.items()
            if name in batch.schema.names
        },
        **{
            f"context_{name}": column.encode(batch[name])
            for name, column in context.items()
        },
    }
