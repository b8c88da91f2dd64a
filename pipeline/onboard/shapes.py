"""Files of ratings that are no log yet, and the command that turns them.

A matrix has a row a user and a column an item; Netflix's files have a line
with an item and a colon before the lines of its users; logs of news have a
user's whole history and what was shown in a cell each.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.onboard import evidence, names, times
from pipeline.onboard.evidence import Column

# Fewest columns of items that make a matrix.
_FEWEST = 6
# Values of not rated in matrices that leave no cell empty: Jester's is 99.
_NOT_RATED = ("99", "99.0")


@dataclass(frozen=True)
class Turned:
    """A log that a command makes of a file.

    Attributes:
        what: What the file is, in words.
        command: Turns it.
        path: The log that the command writes.
        options: How to read that, as options of the source.
    """

    what: str
    command: str
    path: str
    options: dict[str, object]


def matrix(path: str, table: Mapping[str, pa.Array], named: bool) -> (
    Turned | None
):  # fmt: skip
    """How to turn a matrix; None where the file is none.

    Args:
        path: Of the file.
        table: A sample of its rows.
        named: Whether its first line holds names.
    """
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
    # The first column may hold numbers of users.
    first = next(iter(columns))
    distinct = columns[first].distinct
    by_user = first not in cells or distinct > 0.9 * len(columns[first].array)
    cells = [name for name in cells if not (by_user and name == first)]
    cells = [name for name in cells if _on_scale(columns[name])]
    if len(cells) < max(_FEWEST, 0.9 * len(columns) - 2):
        return None
    if sum(columns[name].distinct > 1 for name in cells) < 0.5 * len(cells):
        return None
    others = [name for name in columns if name not in cells]
    user = first if by_user else ""
    out = _beside(path)
    read = f"read_csv({_text(path)}, all_varchar = true, header = {named!s})"
    if user:
        rows = f"(SELECT * FROM {read})"
        hidden = [_column(name, named, len(columns)) for name in others]
    else:
        rows = f"(SELECT row_number() OVER () AS user, * FROM {read})"
        hidden = [
            "user",
            *(_column(name, named, len(columns)) for name in others),
        ]
    kept = f"* EXCLUDE ({', '.join(map(_sql, hidden))})"
    absent = ", ".join(_text(value) for value in ("", "0", *_NOT_RATED))
    owner = _column(user, named, len(columns)) if user else "user"
    query = (
        f"COPY (SELECT {_sql(owner)} AS user_id, item_id, rating FROM "
        f"(UNPIVOT {rows} ON COLUMNS({kept}) INTO NAME item_id VALUE "
        f"rating) WHERE rating NOT IN ({absent})) TO {_text(out)}"
    )
    return Turned(
        "a matrix, a row a user and a column an item",
        _python(query),
        out,
        {
            "user_id": "user_id",
            "item_id": "item_id",
            "timestamp": "",
            "rating": "rating",
        },
    )


_KEYS = frozenset(names.USER + names.ITEM + names.TIME)
_ROLES = frozenset(names.ITEM + names.TIME + names.RATING + names.WEIGHT)


def _column(name: str, named: bool, count: int) -> str:
    """Name of one of `count` columns as DuckDB has it."""
    if named:
        return name
    place = int(name.removeprefix("column_")) - 1
    return f"column{place:0{len(str(count - 1))}}"


def _on_scale(column: Column) -> bool:
    """Whether a column is empty or holds numbers as ratings are."""
    numbers = evidence.numbers(column.array)
    numbers = numbers.filter(pc.not_equal(numbers, 99.0))
    if not len(numbers):
        return True
    low, high = pc.min_max(numbers).as_py().values()
    return bool(low >= -10 and high <= 10)


def headed(path: str, lines: list[list[str]]) -> Turned | None:
    """How to turn lines of users below a line of an item and a colon."""
    first = [line for line in lines if line]
    heads = [line[0] for line in first if len(line) == 1]
    if not first or not re.fullmatch(r".+:", ",".join(first[0])):
        return None
    if not heads or not all(head.endswith(":") for head in heads):
        return None
    width = max(len(line) for line in first)
    told = ["user_id", "rating", "date"][: width if width > 2 else 1]
    told += ["rating"] if width == 2 else []
    out = _beside(path)
    return Turned(
        "a list of users below a line of each item, as 1:",
        f"""awk -F, '/:\\r?$/ {{ sub(/:\\r?$/, ""); item = $0; next }} """
        f"""{{ print item "," $0 }}' """
        f"{shlex.quote(path)} > {shlex.quote(out)}",
        out,
        {
            "columns": ("item_id", *told),
            "user_id": "user_id",
            "item_id": "item_id",
            "timestamp": "date" if "date" in told else "",
            "rating": "rating" if "rating" in told else "",
        },
    )


def baskets(path: str, lines: list[list[str]]) -> Turned | None:
    """How to turn lines of items that were taken together, and nothing else."""
    full = [[cell for cell in line if cell] for line in lines]
    full = [line for line in full if line]
    lengths = [len(line) for line in full]
    usual = max((lengths.count(n) for n in set(lengths)), default=0)
    if len(full) < 10 or usual > 0.6 * len(full):
        return None
    everything = [cell for line in full for cell in line]
    # The same words in any place, where columns would have words of their own.
    first, other = (
        {cell for line in full for cell in line[:1]},
        {cell for line in full for cell in line[1:]},
    )
    if len(first & other) < 0.5 * len(first):
        return None
    if 2 * len(set(everything)) > len(everything):
        return None
    out = _beside(path)
    return Turned(
        "a list of baskets, a line for what was taken together",
        """awk -F, '{ for (i = 1; i <= NF; i++) """
        """if ($i != "") print NR "," $i }' """
        f"{shlex.quote(path)} > {shlex.quote(out)}",
        out,
        {
            "columns": ("user_id", "item_id"),
            "user_id": "user_id",
            "item_id": "item_id",
            "timestamp": "",
        },
    )


def impressions(path: str, lines: list[list[str]]) -> Turned | None:
    """How to turn lines with what was shown as `N1-0 N2-1`, 1 for a click."""
    shown = re.compile(r"\S+-[01]( \S+-[01])*")
    full = [line for line in lines if line]
    if not full or len({len(line) for line in full}) != 1:
        return None
    place = next(
        (
            n
            for n in range(len(full[0]))
            if all(shown.fullmatch(line[n]) for line in full)
            and any(" " in line[n] for line in full)
        ),
        None,
    )
    if place is None or len(full[0]) < 4:
        return None
    out = _beside(path)
    known = times.form(pa.array([line[2] for line in full]))
    query = (
        "COPY (SELECT user_id, left(shown, length(shown) - 2) AS item_id, "
        "time, right(shown, 1) AS click FROM (SELECT column1 AS user_id, "
        f"column2 AS time, unnest(string_split(column{place}, $$ $$)) AS "
        f"shown FROM read_csv({_text(path)}, delim = chr(9), header = False, "
        f"all_varchar = true, quote = $$$$))) TO {_text(out)}"
    )
    return Turned(
        "a log of what was shown together, as N1-0 N2-1",
        _python(query),
        out,
        {
            "user_id": "user_id",
            "item_id": "item_id",
            "timestamp": "time",
            "time_format": known.format if known else "",
            "event": "click",
            "event_weights": {"1": 1.0},
        },
    )


def _beside(path: str) -> str:
    """Path of the log that is made of a file."""
    place = Path(path)
    stem = place.name.split(".")[0].replace("*", "") or "log"
    return str(place.with_name(f"{stem}-long.csv"))


def _python(query: str) -> str:
    """A command for any shell: the query has no single quotes."""
    return f"""python -c 'import duckdb; duckdb.sql(\"\"\"{query}\"\"\")'"""


def _sql(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    """Text in SQL without quotes that a shell would take for its own."""
    return f"$${value}$$"
