"""What the files of somebody mean, as options of a source with reasons.

Guesses come from a sample of each table (`guess`, `kinds`, `peek`); what
`init-config` writes of them is `draft`.
"""

import dataclasses
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.onboard import evidence, guess, kinds, names, peek, shapes, toml
from pipeline.sources.canonical import cells
from pipeline.sources.canonical.quarantine import FILE as QUARANTINE
from pipeline.sources.canonical.quarantine import Quarantine
from pipeline.sources.canonical.tables import Batch
from pipeline.sources.reading import files, formats, nested, text
from pipeline.sources.tabular import reader as tabular
from pipeline.sources.tabular.cleaning import Cleaner
from pipeline.tables.schema import DataError, SourceConfig

SAMPLE_ROWS = 200_000
_MEANT = ("user_id", "item_id", *tabular.OPTIONAL)
_ALWAYS = ("kind", "path", "user_id", "item_id", "timestamp")


@dataclass
class Columns:
    """Options of a source, as guessed, and what is to be said about them.

    Attributes:
        options: Of `SourceConfig`.
        beside: Comment behind an option.
        above: Comment lines before an option.
        below: Comment lines at the end of the section.
        top: Comment lines at the head of the config.
        doubts: What may well be wrong, a sentence each.
        problem: Why the data cannot be used as guessed.
        min_rating: Lowest rating that is one; 0 for any.
    """

    options: dict[str, Any]
    beside: dict[str, str] = field(default_factory=dict)
    above: dict[str, list[str]] = field(default_factory=dict)
    below: list[str] = field(default_factory=list)
    top: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    problem: str = ""
    min_rating: float = 0.0

    def lines(self) -> list[str]:
        """The section as TOML; what is as by default goes without saying."""
        lines = []
        for key, value in self.options.items():
            if value == getattr(SourceConfig(), key) and key not in _ALWAYS:
                continue
            lines += [f"# {line}" for line in self.above.get(key, [])]
            note = self.beside.get(key, "")
            lines.append(
                f"{key} = {toml.value(value)}" + (f"  # {note}" if note else "")
            )
        return lines + [f"# {line}" for line in self.below]


def guessed(interactions: str, items: str, users: str) -> Columns:
    """The options of a tabular source, each with what speaks for it.

    Args:
        interactions: Path of the interactions.
        items: Path of the items table; empty for none.
        users: Path of the users table; empty for none.
    """
    rough = SourceConfig(
        kind="tabular",
        path=interactions,
        encoding=peek.encoding(interactions, items, users),
    )
    options: dict[str, Any] = {
        "kind": "tabular",
        "path": interactions,
        "items_path": items,
        "users_path": users,
        "encoding": rough.encoding,
        "columns": (),
        "items_columns": (),
        "users_columns": (),
    }
    found = Columns(options)
    if rough.encoding != "utf-8":
        found.doubts.append(
            f"the files are not UTF-8 and read as {rough.encoding}: where "
            "letters look wrong, set source.encoding, such as to cp1252, "
            "cp1251, shift_jis or gb18030"
        )
    try:
        peek.refuse_preamble(rough, interactions, "interactions")
        lines = peek.first_lines(rough)
        turned = None
        if lines and not peek.are_sequences(lines):
            turned = (
                shapes.headed(interactions, lines)
                or shapes.impressions(interactions, lines)
                or shapes.baskets(interactions, lines)
            )
        log, table = guess.Log(), dict[str, pa.Array]()
        if not turned:
            rough, log, table, named = _log(rough, lines)
            turned = shapes.matrix(interactions, table, named)
    except DataError as error:
        found.problem = str(error)
        return found
    if turned:
        return _turned(found, turned)
    if not (log.user_id and log.item_id):
        found.problem = (
            "The interactions must have a column of users and one of items. "
            f"Received: {sorted(table)} (from {interactions}), of which none "
            "or one alone can hold ids. Name them in user_id and item_id."
        )
    _of_log(found, log, rough, table)
    for table_name, path, key in (
        ("items", items, "item_id"),
        ("users", users, "user_id"),
    ):
        try:
            _entity(found, table_name, path, table.get(options[key]), rough)
        except DataError as error:
            found.problem = found.problem or str(error)
    return found


def _sample(source: SourceConfig, path: str, table: str) -> Batch:
    """The first rows of a table, all columns."""
    option = f"--{table}"
    with tempfile.TemporaryDirectory() as directory:
        quarantine = Quarantine(Path(directory) / QUARANTINE, 1.0)
        with files.find(path, option) as found:
            file = formats.of_table(found, table, path, option)[0]
            for batch in formats.read(source, file, option, quarantine):
                batch = Batch(
                    {
                        key: array.slice(0, SAMPLE_ROWS)
                        for key, array in batch.columns.items()
                    },
                    batch.lines[:SAMPLE_ROWS],
                    batch.file,
                )
                # What is missing is no value; nothing else is to change.
                every = {name: name for name in batch.columns}
                return Cleaner(source).clean(batch, every, "sample")
    unusable = "".join(f"\n  {line}" for line in quarantine.lines())
    raise DataError(
        f"The {table} must have rows. Received: {path} with none"
        f"{':' if unusable else ''}{unusable}{'' if unusable else '.'}\n"
        "Check the export that made it."
    )


def _turned(found: Columns, turned: shapes.Turned) -> Columns:
    """The options of the log that a command is to make first."""
    found.top += [
        f"The file is {turned.what}. Turn it into a log first:",
        f"  {turned.command}",
        "This config reads the log that comes of it.",
    ]
    found.problem = (
        f"Interactions must be rows of a user and an item. Received: "
        f"{turned.what} ({found.options['path']}). Turn it into a log first, "
        f"which the config reads:\n{turned.command}"
    )
    found.options |= {"path": turned.path, **turned.options}
    return found


def _log(
    rough: SourceConfig, lines: list[list[str]]
) -> tuple[SourceConfig, guess.Log, dict[str, pa.Array], bool]:
    """The interactions: how to read them, what their columns mean, a sample.

    The last one tells whether the columns have names.
    """
    if lines and peek.are_sequences(lines):
        rough = dataclasses.replace(
            rough, columns=("user_id", "item_id" + text.REST)
        )
    elif lines:
        first = lines[0]
        unnamed = dataclasses.replace(rough, columns=peek.anonymous(len(first)))
        batch = _sample(unnamed, rough.path, "interactions")
        if peek.are_values(first, batch.columns):
            log = guess.log(batch.columns, named=False)
            return unnamed, log, dict(batch.columns), False
    batch = _sample(rough, rough.path, "interactions")
    lists = {n: a for n, a in batch.columns.items() if cells.is_list(a)}
    if lists:
        item = max(
            lists, key=lambda n: names.score(n, names.ITEM, names.ITEM_WORDS)
        )
        if names.score(item, names.ITEM, names.ITEM_WORDS):
            lengths = pc.list_value_length(lists[item])
            kept = [
                name
                for name in batch.columns
                if name not in lists
                or pc.list_value_length(lists[name]).equals(lengths)
            ]
            batch = nested.unrolled(batch, item, kept)
    return rough, guess.log(batch.columns), dict(batch.columns), True


def _of_log(
    found: Columns,
    log: guess.Log,
    rough: SourceConfig,
    table: dict[str, pa.Array],
) -> None:
    """What the columns of the interactions mean, into the options."""
    meant: dict[str, str] = {}
    if rough.columns and not rough.columns[-1].endswith(text.REST):
        # Columns without names are called what they mean.
        meant = {column: key for key in _MEANT if (column := getattr(log, key))}
    columns = tuple(meant.get(name, name) for name in rough.columns)
    for name in list(table):
        table[meant.get(name, name)] = table.pop(name)
    for key in _MEANT:
        column = getattr(log, key)
        found.options[key] = meant.get(column, column)
        if key in log.why:
            found.beside[key] = log.why[key]
    if columns:
        found.options["columns"] = columns
        found.beside["columns"] = (
            "the first line has no names: by content and order"
        )
    for key, kept in (("user_id", "user_id"), ("item_id", "item_id")):
        if not found.options[key]:
            found.options[key] = kept
            found.beside[key] = "none found: name its column"
    found.options |= {
        "time_format": log.form.format,
        "time_unit": log.form.unit or "auto",
        "event_weights": dict.fromkeys(log.event_types, 1.0),
        "max_bad_share": 0.01,
    }
    found.beside |= {
        "time_format": log.form.doubt,
        "time_unit": log.form.doubt,
        "max_bad_share": "share of unusable rows to set aside before stopping",
        "event_weights": "raise the types that matter more; 0 is a weight too",
        "quantity": "where it is not above 0: returns, which are left out",
    }
    if not log.timestamp:
        found.beside["timestamp"] = (
            "none found: the order of the rows stands for time"
        )
    if log.left_out:
        found.beside["event_weights"] += (
            f"; left out, as they take back or say no: "
            f"{', '.join(log.left_out)}"
        )
    found.doubts += log.doubts
    if log.form.doubt:
        found.doubts.append(f"time: {log.form.doubt}")
    if log.rating:
        _ratings(found, table[found.options["rating"]])
    if log.rest:
        found.below += [
            f"Not used of the interactions: {', '.join(log.rest)}. Those "
            "known when recommendations",
            "are asked for can be features: context_features = "
            '{ column = "categorical" }',
        ]


def _first(ids: pa.Array) -> str:
    """The first id there is."""
    there = cells.as_text(ids.drop_null())
    return str(there[0]) if len(there) else ""


def _ratings(found: Columns, array: pa.Array) -> None:
    """What ratings below 0, or of 0 alone beside a scale, may mean."""
    numbers = evidence.numbers(array)
    values = sorted(pc.unique(numbers).to_pylist())
    below = [value for value in values if value < 0]
    above = [value for value in values if value > 0]
    if below == [-1.0] and above and 0.0 not in values:
        found.min_rating = above[0]
        share = pc.mean(pc.cast(pc.equal(numbers, -1.0), pa.int8())).as_py()
        found.doubts.append(
            f"{share:.0%} of the ratings are -1, taken for not rated and left "
            'out; to keep them as interactions, set rating = "" and no '
            "min_rating"
        )
    elif below:
        found.doubts.append(
            f"ratings go from {values[0]:g} to {values[-1]:g}: those below 0 "
            "count as interactions too; set prepare.min_rating to leave out "
            "what is disliked"
        )
    elif values and values[0] == 0.0 and len(above) > 1 and above[0] >= 1.0:
        share = pc.mean(pc.cast(pc.equal(numbers, 0.0), pa.int8())).as_py()
        found.doubts.append(
            f"{share:.0%} of the ratings are 0: if that means not rated, set "
            f"prepare.min_rating = {above[0]}"
        )


def _entity(
    found: Columns,
    table: str,
    path: str,
    known: pa.Array | None,
    rough: SourceConfig,
) -> None:
    """Guesses the columns of the items or users into the options.

    Raises:
        DataError: If the table cannot be read or has no ids.
    """
    if not path:
        # The folder or archive of the interactions may bring it along.
        with files.find(rough.path, "--interactions") as all_files:
            if not any(formats.stem(file) == table for file in all_files):
                return
        path = rough.path
    entity = table[:-1]
    rough = dataclasses.replace(rough, columns=())
    peek.refuse_preamble(rough, path, table)
    lines = peek.first_lines(rough, path, table)
    columns = _sample(rough, path, table).columns
    if lines:
        unnamed = dataclasses.replace(
            rough, columns=peek.anonymous(len(lines[0]))
        )
        first = _sample(unnamed, path, table).columns
        if peek.are_values(lines[0], first):
            columns = first
            found.options[f"{table}_columns"] = tuple(first)
            found.beside[f"{table}_columns"] = "the first line has no names"
    same = found.options[f"{entity}_id"]
    ids = cells.as_text(known) if known is not None else pa.array([], "string")
    choice = kinds.id_column(columns, ids, entity, same)
    if not choice.name:
        raise DataError(
            f"The {table} table must have the id column {same!r}. "
            f"Received: {sorted(columns)} (from {path}). Name it in {table}_id."
        )
    if choice.name != same:
        found.options[f"{table}_id"] = choice.name
        if choice.other:
            found.beside[f"{table}_id"] = f"or: {choice.other}"
    if not choice.shared and len(ids):
        found.doubts.append(
            f"none of the ids in {choice.name!r} of the {table}, such as "
            f"{_first(columns[choice.name])!r}, is among the {entity}s of the "
            f"first interactions, such as {_first(ids)!r}"
        )
    chosen, left_out, separator = kinds.features(columns, choice.name)
    if entity == "item":
        title = kinds.title(columns, choice.name)
        found.options["title"] = title.name
        found.beside["title"] = f"or: {title.other}" if title.other else ""
        found.options["separator"] = separator
    elif "multi_categorical" in chosen.values():
        found.options.setdefault("separator", separator)
    found.options[f"{entity}_features"] = chosen
    found.below += [
        f"{entity}_features leaves out {name}: {reason}."
        for name, reason in left_out.items()
    ]
