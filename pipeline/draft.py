"""Drafts a config from files alone: `python -m pipeline init-config`.

The columns are guessed from a sample (`guess`), the split and the sizes from
preparing the data once (`trial`). Every guess stands in the text with its
reason.
"""

import dataclasses
import logging
import math
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import guess, peek, trial
from pipeline.quarantine import FILE as QUARANTINE
from pipeline.quarantine import Quarantine
from pipeline.schema import (
    DataError,
    SourceConfig,
)
from pipeline.sources import files, tabular, text
from pipeline.sources.canonical import Batch

logger = logging.getLogger(__name__)

SAMPLE_ROWS = 200_000
# Share of unusable rows, above which the guesses are rather wrong.
MOST_UNUSABLE = 0.5
# Files that tell an official release of MovieLens.
MOVIELENS = (
    {"u.data", "u.item", "u.user"},
    {"ratings.dat", "movies.dat"},
    {"ratings.csv", "movies.csv"},
)
# File names that tell less than the folder they are in.
GENERIC = ("interactions", "ratings", "events", "log", "data", "part-0")


def init_config(
    interactions: str,
    items: str = "",
    users: str = "",
    progress: Callable[[str], None] = logger.info,
) -> str:
    """Writes a config for somebody's files, every guess with its reason.

    Args:
        interactions: Path of the interactions, or of a MovieLens release.
        items: Path of the items table; empty for none.
        users: Path of the users table; empty for none.
        progress: Receives lines to show.

    Returns:
        TOML text.

    Raises:
        DataError: If the files cannot be read or no columns can be ids.
    """
    if not items and not users and _is_movielens(interactions):
        source = SourceConfig(kind="movielens", path=interactions)
        lines = [
            "# An official MovieLens release: its layout is known.",
            'kind = "movielens"',
            f"path = {_quote(interactions)}",
        ]
    else:
        source, lines = _tabular(interactions, items, users)
    progress(
        "init-config: columns guessed, preparing the log to choose the rest"
    )
    tried = source
    if source.kind == "tabular":
        tried = dataclasses.replace(source, max_bad_share=MOST_UNUSABLE)
    split, reasons, figures = trial.split(tried)
    share = figures["source"].get("unusable_share", 0.0)
    if share > source.max_bad_share:
        source = dataclasses.replace(
            source, max_bad_share=min(1.0, math.ceil(120 * share) / 100)
        )
        lines = [
            _unusable(source.max_bad_share, figures["notes"])
            if line.startswith("max_bad_share")
            else line
            for line in lines
        ]
    repeated = []
    if figures["repeats"] > 0.1 * figures["interactions"]:
        share = figures["repeats"] / figures["interactions"]
        repeated = [
            f"# {share:.0%} of the interactions are exact repeats of another.",
            'repeated = "last"',
        ]
        figures = trial.prepared(source, split, "last")
    text = [
        f"# Written by init-config from {interactions}.",
        "# Check the guesses below, then:",
        "#   python -m pipeline --config THIS_FILE check",
        "#   make retrain CONFIG=THIS_FILE",
        f"name = {_quote(_name(Path(interactions.rstrip('/'))))}",
        "seed = 42",
        "",
        "[source]",
        *lines,
        "",
        "[prepare]",
        *[f"# {reason}" for reason in reasons],
        f'split = "{split}"',
        *repeated,
        "",
        *trial.sizes(figures),
    ]
    return "\n".join(text) + "\n"


def _unusable(share: float, notes: list[str]) -> str:
    """Lines about a log with many unusable rows."""
    reasons = [
        f"# {note.split('; the first')[0]}."
        for note in notes
        if " rows set aside because " in note
    ]
    return "\n".join(
        [
            "# Many rows are unusable; correct them if they should not be.",
            *reasons,
            f"max_bad_share = {share}  # the run stops above this share",
        ]
    )


def _name(place: Path) -> str:
    """Name of a run on what lies at a path."""
    stem = place.name.split(".")[0]
    if (stem.lower() in GENERIC or "*" in stem) and place.parent.name:
        stem = place.parent.name
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-._") or "data"


def _is_movielens(path: str) -> bool:
    with files.find(path, "--interactions") as found:
        names = {file.name for file in found}
    return any(layout <= names for layout in MOVIELENS)


def _sample(source: SourceConfig, path: str, table: str) -> Batch:
    """The first rows of a table, all columns."""
    option = f"--{table}"
    with tempfile.TemporaryDirectory() as directory:
        quarantine = Quarantine(Path(directory) / QUARANTINE, 1.0)
        with files.find(path, option) as found:
            file = tabular.of_table(found, table, path, option)[0]
            for batch in tabular.read_file(source, file, option, quarantine):
                return Batch(
                    {
                        key: array.slice(0, SAMPLE_ROWS)
                        for key, array in batch.columns.items()
                    },
                    batch.lines[:SAMPLE_ROWS],
                    batch.file,
                )
    unusable = "".join(f"\n  {line}" for line in quarantine.lines())
    raise DataError(
        f"The {table} must have rows. Received: {path} with none"
        f"{':' if unusable else ''}{unusable}{'' if unusable else '.'}\n"
        "Check the export that made it."
    )


def _log(
    rough: SourceConfig,
) -> tuple[SourceConfig, guess.Log, dict[str, pa.Array]]:
    """The interactions: how to read them, what their columns mean, a sample."""
    lines = peek.first_lines(rough)
    if lines and peek.are_sequences(lines):
        rough = dataclasses.replace(
            rough, columns=("user_id", "item_id" + text.REST)
        )
    elif lines:
        first = lines[0]
        unnamed = dataclasses.replace(rough, columns=peek.anonymous(len(first)))
        batch = _sample(unnamed, rough.path, "interactions")
        if peek.are_values(first, batch.columns):
            log = guess.unnamed_log(batch.columns)
            meant = {
                column: key
                for key in ("user_id", "item_id", "timestamp", "rating")
                if (column := getattr(log, key))
            }
            names = tuple(meant.get(name, name) for name in unnamed.columns)
            columns = dict(zip(names, batch.columns.values(), strict=True))
            log = dataclasses.replace(
                log,
                user_id=meant.get(log.user_id, ""),
                item_id=meant.get(log.item_id, ""),
                timestamp=meant.get(log.timestamp, ""),
                rating=meant.get(log.rating, ""),
            )
            return dataclasses.replace(rough, columns=names), log, columns
    batch = _sample(rough, rough.path, "interactions")
    log = guess.log(batch.columns)
    if log.item_id and tabular.is_list(batch.columns[log.item_id]):
        lengths = pc.list_value_length(batch.columns[log.item_id])
        batch = tabular.unrolled(
            batch,
            log.item_id,
            [
                name
                for name, array in batch.columns.items()
                if not tabular.is_list(array)
                or pc.list_value_length(array).equals(lengths)
            ],
        )
        log = guess.log(batch.columns)
    return rough, log, dict(batch.columns)


def _tabular(
    interactions: str, items: str, users: str
) -> tuple[SourceConfig, list[str]]:
    rough = SourceConfig(
        kind="tabular",
        path=interactions,
        encoding=peek.encoding(interactions, items, users),
    )
    rough, log, columns = _log(rough)
    if not (log.user_id and log.item_id):
        raise DataError(
            "The interactions must have a column of users and one of items. "
            f"Received: {sorted(columns)} (from {interactions}). Write the "
            "config by hand from pipeline/configs/movielens-100k.toml."
        )
    time_format = other = ""
    if log.timestamp:
        time_format, other = guess.time_format(columns[log.timestamp])
    options: dict[str, Any] = {
        "kind": "tabular",
        "path": interactions,
        "items_path": items,
        "users_path": users,
        "encoding": rough.encoding,
        "columns": rough.columns,
        "user_id": log.user_id,
        "item_id": log.item_id,
        "timestamp": log.timestamp,
        "time_format": time_format,
        "rating": log.rating,
        "weight": log.weight,
        "event": log.event,
        "event_weights": {name: 1.0 for name in log.event_types},
        "max_bad_share": 0.01,
    }
    notes = {
        "encoding": "the files are not UTF-8",
        "columns": "the first line has no names: by content and order",
        "timestamp": ""
        if log.timestamp
        else "none found: the order of the rows stands for time",
        "time_format": f"{other} fits as well" if other else "",
        "rating": "" if log.rating else "none found: all count alike",
        "max_bad_share": "share of unusable rows to set aside before stopping",
        "event_weights": "raise the types that matter more; 0 is a weight too",
    }
    sections: list[str] = []
    for table, path, known in (
        ("items", items, log.item_id),
        ("users", users, log.user_id),
    ):
        sections += _entity(table, path, known, rough, options)
    if log.rest:
        sections.append(
            f"# Not used of the interactions: {', '.join(log.rest)}. Those "
            "known when recommendations"
        )
        sections.append(
            "# are asked for can be features: context_features = "
            '{ column = "categorical" }'
        )
    source = SourceConfig(**options)
    lines = []
    for key, value in options.items():
        default = getattr(SourceConfig(), key)
        if value == default and key not in ("user_id", "item_id", "timestamp"):
            continue
        note = notes.get(key, "")
        lines.append(
            f"{key} = {_value(value)}" + (f"  # {note}" if note else "")
        )
    return source, lines + sections


def _entity(
    table: str,
    path: str,
    known: str,
    rough: SourceConfig,
    options: dict[str, Any],
) -> list[str]:
    """Guesses the columns of the items or users into `options`."""
    if not path:
        # The folder or archive of the interactions may bring it along.
        with files.find(rough.path, "--interactions") as found:
            if not any(tabular.stem(file) == table for file in found):
                return []
        path = rough.path
    rough = dataclasses.replace(rough, columns=())
    columns = _sample(rough, path, table).columns
    entity = table[:-1]
    if known in columns:
        id_column = known
    else:
        names = guess.ITEM_NAMES if entity == "item" else guess.USER_NAMES
        id_column = guess.by_name(columns, ["id", *names], set())
        if not id_column:
            raise DataError(
                f"The {table} table must have the id column {known!r}. "
                f"Received: {sorted(columns)} (from {path}). Rename its id "
                "column."
            )
        options[f"{table}_id"] = id_column
    kinds, left_out, separator = guess.features(columns, id_column)
    if entity == "item":
        options["title"] = guess.title(columns, id_column)
        options["separator"] = separator
    elif "multi_categorical" in kinds.values():
        options.setdefault("separator", separator)
    options[f"{entity}_features"] = kinds
    return [
        f"# {entity}_features leaves out {name}: {reason}."
        for name, reason in left_out.items()
    ]


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _quote(text)


def _value(value: object) -> str:
    """A value as TOML."""
    if isinstance(value, dict):
        pairs = (f"{_key(k)} = {_value(v)}" for k, v in value.items())
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, tuple):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    if isinstance(value, str):
        return _quote(value).replace("\t", "\\t")
    return str(value).lower() if isinstance(value, bool) else str(value)
