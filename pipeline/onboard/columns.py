"""What the files of somebody mean, as options of a source with reasons.

Guesses come from a sample of each table (`guess`, `kinds`, `peek`); what
`init-config` writes of them is `draft`.
"""

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.onboard import evidence, guess, kinds, names, peek, shapes
from pipeline.onboard.section import Section
from pipeline.run.data import TabularSource
from pipeline.sources.canonical import cells
from pipeline.sources.canonical.quarantine import FILE as QUARANTINE
from pipeline.sources.canonical.quarantine import Quarantine
from pipeline.sources.canonical.tables import Batch
from pipeline.sources.reading import files, formats, nested, text
from pipeline.sources.tabular.cleaning import Cleaner
from pipeline.tables.schema import DataError

SAMPLE_ROWS = 200_000


def guessed(interactions: str, items: str, users: str) -> Section:
    """The options of a tabular source, each with what speaks for it.

    The paths of the items and the users are empty for none.
    """
    encoding = peek.encoding(interactions, items, users)
    rough = TabularSource(path=interactions, encoding=encoding)
    paths = {"path": interactions, "items_path": items, "users_path": users}
    found = Section(
        {"kind": "tabular", **paths, "encoding": encoding, "columns": ()}
    )
    if encoding != "utf-8":
        found.doubts.append(
            f"the files are not UTF-8 and read as {encoding}: where letters "
            "look wrong, set source.encoding, such as to cp1252, cp1251, "
            "shift_jis or gb18030"
        )
    try:
        peek.refuse_preamble(rough, interactions, "interactions")
        lines = peek.first_lines(rough)
        turned = None
        if lines and not peek.are_sequences(lines):
            turned = shapes.of_lines(interactions, lines)
        if turned is None:
            rough, table, named = _log(rough, lines)
            turned = shapes.matrix(interactions, table, named)
    except DataError as error:
        found.problem = str(error)
        return found
    if turned:
        return _turned(found, turned)
    guess.log(found, table, named)
    _of_log(found, rough, table)
    for name, path in (("items", items), ("users", users)):
        try:
            _entity(found, name, path, table, rough)
        except DataError as error:
            found.problem = found.problem or str(error)
    return found


def _sample(source: TabularSource, path: str, table: str) -> Batch:
    """The first rows of a table, all columns."""
    option = f"--{table}"
    with tempfile.TemporaryDirectory() as directory:
        quarantine = Quarantine(Path(directory) / QUARANTINE, 1.0)
        with files.find(path, option) as found:
            file = formats.of_table(found, table, path, option)[0]
            for batch in formats.read(source, file, option, quarantine):
                few = {n: a[:SAMPLE_ROWS] for n, a in batch.columns.items()}
                rows = Batch(few, batch.lines[:SAMPLE_ROWS], batch.file)
                # What is missing is no value; nothing else is to change.
                every = {name: name for name in few}
                return Cleaner(source).clean(rows, every, "sample")
    unusable = "".join(f"\n  {line}" for line in quarantine.lines())
    raise DataError(
        f"The {table} must have rows. Received: {path} with none"
        f"{f':{unusable}' if unusable else '.'}\n"
        "Check the export that made it."
    )


def _named(
    source: TabularSource, path: str, table: str, lines: list[list[str]]
) -> tuple[Batch, tuple[str, ...]]:
    """A sample of a table, and names for columns that have none."""
    if lines:
        columns = tuple(f"column_{n}" for n in range(1, len(lines[0]) + 1))
        unnamed = dataclasses.replace(source, columns=columns)
        batch = _sample(unnamed, path, table)
        if peek.are_values(lines[0], batch.columns):
            return batch, columns
    return _sample(source, path, table), ()


def _turned(found: Section, turned: shapes.Turned) -> Section:
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
    found.options |= turned.options
    return found


def _log(
    rough: TabularSource, lines: list[list[str]]
) -> tuple[TabularSource, dict[str, pa.Array], bool]:
    """How to read the interactions, a sample, and whether it has names."""
    if lines and peek.are_sequences(lines):
        columns = ("user_id", "item_id" + text.REST)
        rough, lines = dataclasses.replace(rough, columns=columns), []
    batch, unnamed = _named(rough, rough.path, "interactions", lines)
    if unnamed:
        rough = dataclasses.replace(rough, columns=unnamed)
        return rough, dict(batch.columns), False
    lists = {n: a for n, a in batch.columns.items() if cells.is_list(a)}
    said = {n: names.score(n, names.ITEM, names.ITEM_WORDS) for n in lists}
    if item := kinds.likeliest(said):
        lengths = {n: pc.list_value_length(a) for n, a in lists.items()}
        odd = {n for n in lists if not lengths[n].equals(lengths[item])}
        kept = [name for name in batch.columns if name not in odd]
        batch = nested.unrolled(batch, item, kept)
    return rough, dict(batch.columns), True


def _of_log(
    found: Section, rough: TabularSource, table: dict[str, pa.Array]
) -> None:
    """How the log is read, and what its ratings mean, into the options."""
    options = found.options
    options["columns"] = rough.columns
    if rough.columns and not rough.columns[-1].endswith(text.REST):
        # Columns without names are called what they mean.
        called = {options[key]: key for key in guess.MEANT if options[key]}
        for name in list(table):
            table[called.get(name, name)] = table.pop(name)
        for key in guess.MEANT:
            options[key] = called.get(options[key], options[key])
        options["columns"] = tuple(called.get(n, n) for n in rough.columns)
    if not (options["user_id"] and options["item_id"]):
        found.problem = (
            "The interactions must have a column of users and one of items. "
            f"Received: {sorted(table)} (from {rough.path}), of which none "
            "or one alone can hold ids. Name them in user_id and item_id."
        )
    for key in ("user_id", "item_id"):
        if not options[key]:
            options[key] = key
            found.beside[key] = "none found: name its column"
    if options["rating"]:
        _ratings(found, table[options["rating"]])


def _ratings(found: Section, array: pa.Array) -> None:
    """What ratings below 0, or of 0 alone beside a scale, may mean."""
    numbers = evidence.Column("rating", array).numbers
    values = sorted(pc.unique(numbers).to_pylist())
    above = [value for value in values if value > 0]

    def share(value: float) -> str:
        return f"{cells.share(pc.equal(numbers, value)):.0%} of the ratings are"

    if values and above and values == [-1.0, *above]:
        found.min_rating = above[0]
        found.doubts.append(
            f"{share(-1.0)} -1, taken for not rated and left "
            'out; to keep them as interactions, set rating = "" and no '
            "min_rating"
        )
    elif values and values[0] < 0:
        found.doubts.append(
            f"ratings go from {values[0]:g} to {values[-1]:g}: those below 0 "
            "count as interactions too; set prepare.min_rating to leave out "
            "what is disliked"
        )
    elif len(above) > 1 and values[0] == 0.0 and above[0] >= 1.0:
        found.doubts.append(
            f"{share(0.0)} 0: if that means not rated, set "
            f"prepare.min_rating = {above[0]}"
        )


def _entity(
    found: Section,
    table: str,
    path: str,
    log: Mapping[str, pa.Array],
    rough: TabularSource,
) -> None:
    """Guesses the columns of the items or users into the options."""
    if not path:
        # The folder or archive of the interactions may bring it along.
        path = rough.path
        with files.find(path, "--interactions") as all_files:
            if not any(formats.stem(file) == table for file in all_files):
                return
    rough = dataclasses.replace(rough, columns=())
    peek.refuse_preamble(rough, path, table)
    lines = peek.first_lines(rough, path, table)
    batch, unnamed = _named(rough, path, table, lines)
    if unnamed:
        found.options.setdefault("table_columns", {})[table] = unnamed
    columns = evidence.columns(batch.columns)
    entity = table[:-1]
    same = found.options[f"{entity}_id"]
    ids = cells.as_text(log.get(same, pa.array([], "string")))
    own_id, second, shared = kinds.id_column(columns, ids, entity, same)
    if not own_id:
        raise DataError(
            f"The {table} table must have the id column {same!r}. "
            f"Received: {sorted(columns)} (from {path}). Name it in "
            f"table_ids, {{ {table} = ... }}."
        )
    if own_id != same:
        named = found.options.setdefault("table_ids", {})
        named[table] = own_id
        beside = found.beside.get("table_ids", "")
        if second:
            beside += f"{', ' * bool(beside)}or {table}: {second}"
        found.beside["table_ids"] = beside
    if not shared and len(ids):
        own, theirs = (
            next(iter(array.drop_null()), pa.scalar("")).as_py()
            for array in (columns[own_id].text, ids)
        )
        found.doubts.append(
            f"none of the ids in {own_id!r} of the {table}, such as {own!r}, "
            f"is among the {entity}s of the first interactions, such as "
            f"{theirs!r}"
        )
    chosen, left_out, separator = kinds.features(columns, own_id)
    if entity == "item":
        found.name("title", *kinds.title(columns, own_id))
        found.options["separator"] = separator
    elif "multi_categorical" in chosen.values():
        found.options.setdefault("separator", separator)
    found.options[f"{entity}_features"] = chosen
    found.below += [
        f"{entity}_features leaves out {name}: {reason}."
        for name, reason in left_out.items()
    ]
