"""Files of ratings that are no log yet, and the command that turns them.

A matrix has a row a user and a column an item; Netflix's files have a line
with an item and a colon before the lines of its users; logs of news have a
user's whole history and what was shown in a cell each.
"""

import re
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.onboard import evidence, names, times
from pipeline.onboard.evidence import Column

# Fewest columns of items that make a matrix.
_FEWEST = 6
# Values of not rated in matrices that leave no cell empty: Jester's is 99.
_NOT_RATED = ("99", "99.0")
_KEYS = frozenset(names.USER + names.ITEM + names.TIME)
_ROLES = frozenset(names.ITEM + names.TIME + names.RATING + names.WEIGHT)


class Turned(NamedTuple):
    """A file in words, the command that makes a log of it, and that log.

    The options say how a source reads the log, its path among them.
    """

    what: str
    command: str
    options: dict[str, object]


def _beside(path: str) -> str:
    """Path of the log that is made of a file."""
    place = Path(path)
    stem = place.name.split(".")[0].replace("*", "") or "log"
    return str(place.with_name(f"{stem}-long.csv"))


def _by_duckdb(path: str, what: str, query: str, **options: object) -> Turned:
    """A command for any shell: the query has no single quotes."""
    out = _beside(path)
    query = f"COPY ({query}) TO {_text(out)}"
    command = f"""python -c 'import duckdb; duckdb.sql(\"\"\"{query}\"\"\")'"""
    return Turned(what, command, _USUAL | options | {"path": out})


def _by_awk(path: str, what: str, program: str, **options: object) -> Turned:
    out = _beside(path)
    command = f"awk -F, '{program}' {shlex.quote(path)} > {shlex.quote(out)}"
    return Turned(what, command, _USUAL | options | {"path": out})


_USUAL = {"user_id": "user_id", "item_id": "item_id", "timestamp": ""}


def of_lines(path: str, lines: list[list[str]]) -> Turned | None:
    """How to turn a file of such lines; None where it may be a log."""
    if not (full := [line for line in lines if line]):
        return None
    makers = (_headed, _impressions, _baskets)
    return next(filter(None, (make(path, full) for make in makers)), None)


def matrix(
    path: str, table: Mapping[str, pa.Array], named: bool
) -> Turned | None:
    """How to turn a matrix with such columns; None where the file is none."""
    columns = evidence.columns(table)
    # A log with many flags names its user and its item.
    if named and sum(names.plain(name) in _KEYS for name in columns) > 1:
        return None
    cells = [
        name
        for name, column in columns.items()
        if (column.numeric or not column.present)
        and names.plain(name) not in _ROLES
    ]
    if not columns:
        return None
    # The first column may hold numbers of users.
    first = next(iter(columns))
    distinct = columns[first].distinct
    by_user = first not in cells or distinct > 0.9 * len(columns[first].array)
    cells = [
        name
        for name in cells
        if not (by_user and name == first) and _on_scale(columns[name])
    ]
    varied = sum(columns[name].distinct > 1 for name in cells)
    fewest = max(_FEWEST, 0.9 * len(columns) - 2)
    if len(cells) < fewest or varied < 0.5 * len(cells):
        return None
    # As DuckDB calls columns without names.
    width = len(str(len(columns) - 1))
    called = {
        name: _sql(name if named else f"column{place:0{width}}")
        for place, name in enumerate(columns)
    }
    hidden = [called[name] for name in columns if name not in cells]
    read = f"read_csv({_text(path)}, all_varchar = true, header = {named!s})"
    owner, rows = called[first], f"(SELECT * FROM {read})"
    if not by_user:
        owner, hidden = _sql("user"), [_sql("user"), *hidden]
        rows = f"(SELECT row_number() OVER () AS user, * FROM {read})"
    absent = ", ".join(_text(value) for value in ("", "0", *_NOT_RATED))
    return _by_duckdb(
        path,
        "a matrix, a row a user and a column an item",
        f"SELECT {owner} AS user_id, item_id, rating FROM (UNPIVOT {rows} ON "
        f"COLUMNS(* EXCLUDE ({', '.join(hidden)})) INTO NAME item_id VALUE "
        f"rating) WHERE rating NOT IN ({absent})",
        rating="rating",
    )


def _on_scale(column: Column) -> bool:
    """Whether a column is empty or holds numbers as ratings are."""
    numbers = column.numbers.filter(pc.not_equal(column.numbers, 99.0))
    if not len(numbers):
        return True
    low, high = pc.min_max(numbers).as_py().values()
    return bool(low >= -10 and high <= 10)


def _headed(path: str, lines: list[list[str]]) -> Turned | None:
    """How to turn lines of users below a line of an item and a colon."""
    heads = [line[0] for line in lines if len(line) == 1]
    is_first = re.fullmatch(r".+:", ",".join(lines[0]))
    if not (is_first and heads and all(head.endswith(":") for head in heads)):
        return None
    width = max(map(len, lines))
    told = ["user_id", "rating", "date"][:width]
    return _by_awk(
        path,
        "a list of users below a line of each item, as 1:",
        r"""/:\r?$/ { sub(/:\r?$/, ""); item = $0; next } """
        """{ print item "," $0 }""",
        columns=("item_id", *told),
        timestamp="date" if "date" in told else "",
        rating="rating" if "rating" in told else "",
    )


def _baskets(path: str, lines: list[list[str]]) -> Turned | None:
    """How to turn lines of items that were taken together, and nothing else."""
    full = [[cell for cell in line if cell] for line in lines]
    full = [line for line in full if line]
    usual = max(Counter(map(len, full)).values(), default=0)
    if len(full) < 10 or usual > 0.6 * len(full):
        return None
    everything = [cell for line in full for cell in line]
    # The same words in any place, where columns would have words of their own.
    first = {line[0] for line in full}
    other = {cell for line in full for cell in line[1:]}
    repeats = 2 * len(set(everything)) <= len(everything)
    if not repeats or len(first & other) < 0.5 * len(first):
        return None
    return _by_awk(
        path,
        "a list of baskets, a line for what was taken together",
        """{ for (i = 1; i <= NF; i++) if ($i != "") print NR "," $i }""",
        columns=("user_id", "item_id"),
    )


def _impressions(path: str, lines: list[list[str]]) -> Turned | None:
    """How to turn lines with what was shown as `N1-0 N2-1`, 1 for a click."""
    shown = re.compile(r"\S+-[01]( \S+-[01])*")
    same = len(set(map(len, lines))) == 1 and len(lines[0]) >= 4
    places = [
        place
        for place, cells in enumerate(zip(*lines, strict=False))
        if all(map(shown.fullmatch, cells)) and any(" " in c for c in cells)
    ]
    if not (same and places):
        return None
    known = times.form(pa.array([line[2] for line in lines]))
    return _by_duckdb(
        path,
        "a log of what was shown together, as N1-0 N2-1",
        "SELECT user_id, left(shown, length(shown) - 2) AS item_id, time, "
        "right(shown, 1) AS click FROM (SELECT column1 AS user_id, column2 AS "
        f"time, unnest(string_split(column{places[0]}, $$ $$)) AS shown FROM "
        f"read_csv({_text(path)}, delim = chr(9), header = False, "
        "all_varchar = true, quote = $$$$))",
        timestamp="time",
        time_format=(known and known.format) or "auto",
        event="click",
        event_weights={"1": 1.0},
    )


def _sql(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    """Text in SQL without quotes that a shell would take for its own."""
    return f"$${value}$$"
