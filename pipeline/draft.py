"""Drafts a config from files alone: `python -m pipeline init-config`.

The columns are guessed from a sample (`guess`), the split and the sizes from
preparing the data once. Every guess stands in the text with its reason.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline import guess, prepare
from pipeline.quarantine import Quarantine
from pipeline.schema import DataError, PrepareConfig, SourceConfig
from pipeline.sources import files, tabular

SAMPLE_ROWS = 200_000
MOVIELENS = ("u.data", "ratings.dat")
# File names that tell less than the folder they are in.
GENERIC = ("interactions", "ratings", "events", "log", "data", "part-0")
DELIMITERS = (",", "\t", ";", "|")


@dataclass(frozen=True)
class _Probe:
    """The part of a config that preparing needs."""

    source: SourceConfig
    prepare: PrepareConfig
    name: str = "check"
    seed: int = 42


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory to prepare in, deleted after the block."""
    directory = Path(tempfile.mkdtemp(prefix="check-"))
    try:
        (directory / ".scratch" / "source").mkdir(parents=True)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def init_config(interactions: str, items: str = "", users: str = "") -> str:
    """Writes a config for somebody's files, every guess with its reason.

    Args:
        interactions: Path of the interactions, or of a MovieLens release.
        items: Path of the items table; empty for none.
        users: Path of the users table; empty for none.

    Returns:
        TOML text.

    Raises:
        DataError: If the files cannot be read or no columns can be ids.
    """
    place = Path(interactions.rstrip("/"))
    stem = place.stem
    if stem.lower() in GENERIC and place.parent.name:
        stem = place.parent.name
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", stem)
    name = name.strip("-._") or "data"
    if not items and not users and _is_movielens(interactions):
        source = SourceConfig(kind="movielens", path=interactions)
        lines = [
            "# An official MovieLens release: its layout is known.",
            'kind = "movielens"',
            f"path = {_quote(interactions)}",
        ]
    else:
        source, lines = _tabular(interactions, items, users)
    split, reasons, figures = _split(source)
    text = [
        f"# Written by init-config from {interactions}.",
        "# Check the guesses below, then:",
        "#   python -m pipeline --config THIS_FILE check",
        "#   make retrain CONFIG=THIS_FILE",
        f"name = {_quote(name)}",
        "seed = 42",
        "",
        "[source]",
        *lines,
        "",
        "[prepare]",
        *[f"# {reason}" for reason in reasons],
        f'split = "{split}"',
        "",
        *_sizes(figures),
    ]
    return "\n".join(text) + "\n"


def _is_movielens(path: str) -> bool:
    with files.find(path, "--interactions") as found:
        names = {file.name for file in found}
    return (
        bool(names & set(MOVIELENS))
        or {
            "ratings.csv",
            "movies.csv",
        }
        <= names
    )


def _sample(source: SourceConfig, path: str, table: str) -> dict[str, pa.Array]:
    """The first rows of a table, all columns."""
    with tempfile.TemporaryDirectory() as directory:
        quarantine = Quarantine(Path(directory) / "quarantine.jsonl", 1.0)
        with files.find(path, f"--{table}") as found:
            if found and found[0].archive is not None:
                found = [f for f in found if f.name.split(".")[0] == table]
            if not found:
                raise DataError(
                    f"The archive must hold {table}.csv, .tsv, .jsonl or "
                    f".parquet. Received: {path} without it. Give the path "
                    "of the file."
                )
            for batch in tabular.read_file(
                source, found[0], f"--{table}", quarantine
            ):
                columns = dict(batch.columns)
                for key, value in found[0].constants.items():
                    columns.setdefault(
                        key, pa.array([value] * len(batch.lines))
                    )
                return {
                    key: array.slice(0, SAMPLE_ROWS)
                    for key, array in columns.items()
                }
    raise DataError(
        f"The {table} must have rows. Received: {path} with none. Check the "
        "export that made it."
    )


def _delimiter(path: str) -> str:
    """Separator of the columns, where it is not what the name says."""
    with files.find(path, "--interactions") as found:
        texts = [f for f in found if not f.name.endswith((".parquet", ".pq"))]
        if not texts or texts[0].name.split(".")[-1] in ("jsonl", "ndjson"):
            return ""
        head = next(files.blocks(texts[0]), b"").split(b"\n")[0]
        usual = "\t" if ".tsv" in texts[0].name else ","
    counts = {d: head.count(d.encode()) for d in DELIMITERS}
    best = max(counts, key=lambda d: (counts[d], d == usual))
    return "" if best == usual or not counts[best] else best


def _tabular(
    interactions: str, items: str, users: str
) -> tuple[SourceConfig, list[str]]:
    delimiter = _delimiter(interactions)
    rough = SourceConfig(kind="tabular", path=interactions, delimiter=delimiter)
    columns = _sample(rough, interactions, "interactions")
    if all(re.fullmatch(r"[\d.:+-]*", name) for name in columns):
        raise DataError(
            "The first line must name the columns. Received: "
            f"{list(columns)} (from {interactions}). Put a line such as "
            "'user_id,item_id,timestamp' at the top."
        )
    log = guess.log(columns)
    if not (log.user_id and log.item_id):
        raise DataError(
            "The interactions must have a column of users and one of items. "
            f"Received: {sorted(columns)} (from {interactions}). Write the "
            "config by hand from pipeline/configs/movielens-100k.toml."
        )
    options: dict[str, Any] = {
        "kind": "tabular",
        "path": interactions,
        "items_path": items,
        "users_path": users,
        "delimiter": delimiter,
        "user_id": log.user_id,
        "item_id": log.item_id,
        "timestamp": log.timestamp,
        "rating": log.rating,
        "weight": log.weight,
        "event": log.event,
        "event_weights": {name: 1.0 for name in log.event_types},
        "max_bad_share": 0.01,
    }
    notes = {
        "user_id": "",
        "timestamp": ""
        if log.timestamp
        else "none found: the order of the rows stands for time",
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
        if isinstance(value, dict):
            pairs = (f"{_key(k)} = {_value(v)}" for k, v in value.items())
            text = "{ " + ", ".join(pairs) + " }"
        else:
            text = _value(value)
        note = notes.get(key, "")
        lines.append(f"{key} = {text}" + (f"  # {note}" if note else ""))
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
        # An archive may bring the table along.
        with files.find(rough.path, "--interactions") as found:
            if not found or found[0].archive is None:
                return []
            if not any(f.name.split(".")[0] == table for f in found):
                return []
        path = rough.path
    columns = _sample(rough, path, table)
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
    if isinstance(value, str):
        return _quote(value).replace("\t", "\\t")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _split(
    source: SourceConfig,
) -> tuple[str, list[str], dict[str, Any]]:
    """Chooses the split the data can bear, and says why."""
    if source.kind == "movielens" or source.timestamp:
        try:
            figures = _prepared(source, "temporal")
        except DataError as error:
            if "temporal split needs" not in str(error):
                raise
            figures = {}
        if figures and figures["first"] >= 0 and figures["last"] < 10**8:
            reason = "The timestamps are positions or counters, not moments."
        elif figures:
            test = figures["parts"]["test"]
            warm = round(test["users"] * (1.0 - test["cold_users_share"]))
            if warm >= 300 and test["cold_users_share"] <= 0.5:
                return (
                    "temporal",
                    [
                        "Cuts the log at two moments, as in production: train "
                        "on the past,",
                        f"test on the future ({warm:,} users have both).",
                    ],
                    figures,
                )
            reason = (
                f"A cut in time would leave {warm:,} known users to test on "
                f"({test['cold_users_share']:.0%} would be new)."
            )
        else:
            reason = "The timestamps allow no two cuts."
    else:
        reason = "There are no timestamps to cut at."
    return (
        "leave_last_out",
        [reason, "So each user's last interaction is the test."],
        _prepared(source, "leave_last_out"),
    )


def _prepared(source: SourceConfig, split: Any) -> dict[str, Any]:
    with scratch() as directory:
        prepare.run(_Probe(source, PrepareConfig(split=split)), directory)
        return prepare.load(directory).summary


def _sizes(figures: dict[str, Any]) -> list[str]:
    """Model sizes for as much data as there is."""
    rows, users = figures["interactions"], max(figures["users"], 1)
    width = 32 if rows < 50_000 else 64 if rows < 5_000_000 else 128
    length = min(100, max(20, 10 * round(1.5 * rows / users / 10)))
    return [
        "[retrieval]",
        f"# For {rows:,} interactions of {users:,} users with "
        f"{figures['items']:,} items.",
        f"embedding_dim = {width}",
        f"history_length = {length}",
        "",
        "[student]",
        f"history_length = {length}",
    ]
