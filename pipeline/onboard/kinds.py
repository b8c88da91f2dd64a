"""Guesses what the columns of a table of items or users are good for.

Names come first, then content: how many values differ, whether they are
numbers, times, lists or sentences.
"""

import re
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.onboard import names
from pipeline.onboard.evidence import Column
from pipeline.sources.canonical import cells

# Commas also stand in sentences, so another one is enough to win.
SEPARATORS = ("|", ";", ",")
# What a look at the column tells no model anything.
IGNORED = re.compile(r"url|link|image|img|path|uuid|email|phone|zip|password")
# What many items have in common.
_KINDS = frozenset(
    "type group category department brand colour color genre section index "
    "garment original author artist director publisher vendor".split()
)


def ranked(points: Mapping[str, float]) -> list[str]:
    """Names of columns, the one with most points first."""
    return sorted(points, key=lambda name: -points[name])


def likeliest(points: Mapping[str, float]) -> str:
    """The column with most points, "" where none has any."""
    return next((name for name in ranked(points) if points[name] > 0), "")


def id_column(
    columns: Mapping[str, Column], known: pa.Array, entity: str, same: str
) -> tuple[str, str, float]:
    """The column of a table of an "item" or "user" that its ids are in.

    Args:
        columns: Of a sample of its rows.
        known: Ids in a sample of the interactions.
        entity: "item" or "user".
        same: Column of the ids in the interactions, likely called the same.

    Returns:
        Its name and the runner-up's, "" for none; the share of its values, or
        of the ids of the interactions, that are in both, 0 to 1.
    """
    whole, parts = names.of(entity)
    known = pc.unique(known.drop_null())
    points: dict[str, float] = {}
    shared: dict[str, float] = {}
    for name, column in columns.items():
        if column.nested or not column.present:
            continue
        own = pc.unique(column.text.drop_null())
        found = cells.count(pc.is_in(own, value_set=known))
        shared[name] = found / max(min(len(own), len(known)), 1)
        points[name] = (
            4.0 * shared[name]
            + names.score(name, ["id", *whole], parts)
            + (2.0 if name == same else 0.0)
            + (1.0 if names.is_id(name) else 0.0)
            - 2.0 * (1.0 - column.distinct / column.present)
            - (3.0 if column.fractions else 0.0)
        )
    best, second, *_rest = *ranked(points), "", ""
    if points.get(best, 0.0) < 1.0:
        return "", "", 0.0
    return best, second, shared[best]


def features(
    columns: Mapping[str, Column], id_column: str
) -> tuple[dict[str, str], dict[str, str], str]:
    """Guesses the kinds of the columns of a table of items or users.

    Returns:
        Kind of each feature; why each other column is left out; the separator
        of multi_categorical cells.
    """
    arrays = [column.array for column in columns.values()]
    texts = [array for array in arrays if pa.types.is_string(array.type)]
    found = (
        separator
        for separator in SEPARATORS
        for array in texts
        if cells.count(pc.match_substring(array, separator))
    )
    separator = next(found, "|")
    kinds: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for name in [name for name in columns if name != id_column]:
        kind, reason = _kind(columns[name], separator)
        (kinds if kind else left_out)[name] = kind or reason
    return kinds, left_out, separator


def _kind(column: Column, separator: str) -> tuple[str, str]:
    name, array, distinct = column.name, column.array, column.distinct
    rows = len(array) - array.null_count
    if not rows:
        return "", "it is empty"
    if pa.types.is_list(array.type):
        return "multi_categorical", ""
    if column.nested:
        return "", "it holds objects"
    if distinct <= 1:
        return "", "all its values are the same"
    if IGNORED.search(name.lower()):
        return "", "it looks like an address or a code"
    if column.numeric:
        # Few whole numbers are codes: an age group, an occupation.
        few = distinct <= 25
        coded = names.plain(name).endswith(("id", "code", "no", "number"))
        if column.fractions or not (few or coded):
            return "numeric", ""
        if few or 2 * distinct < rows:
            return "categorical", ""
        return "", "it is another id"
    if column.is_time:
        return "", "it is a date; give a number, such as the year, instead"
    text = column.text.drop_null()
    many = cells.share(pc.match_substring(text, separator))
    split = pc.list_value_length(pc.utf8_split_whitespace(text))
    words = pc.mean(split).as_py()
    is_title = names.plain(name) in names.TITLE or (
        names.words(name)[-1:] in (["title"], ["name"])
        and not set(names.words(name)) & _KINDS
    )
    if is_title and 2 * distinct > rows:
        return "text", ""
    if many > 0.2 and (separator != "," or words < 4):
        return "multi_categorical", ""
    if is_title or (words >= 2.5 and 5 * distinct > rows):
        return "text", ""
    if 2 * distinct <= rows or distinct <= 20:
        return "categorical", ""
    return "", "nearly every row has another value"


def title(columns: Mapping[str, Column], id_column: str) -> tuple[str, str]:
    """The items column to display, and the runner-up; "" for none."""
    points: dict[str, float] = {}
    for name, column in columns.items():
        odd = column.nested or pa.types.is_boolean(column.array.type)
        if odd or name == id_column or not column.present or column.numeric:
            continue
        parts = names.words(name)
        points[name] = (
            names.score(name, names.TITLE, ())
            + (1.5 if parts and parts[-1] in ("title", "name") else 0.0)
            + (1.0 if set(parts) & names.ITEM_WORDS else 0.0)
            - (2.0 if set(parts) & _KINDS else 0.0)
            - (2.0 if column.length > 12 else 0.0)
            # Without names, words that differ from row to row.
            + (1.0 if name.startswith("column_") and column.length > 1.2 else 0)
            + 2.0 * column.distinct / column.present
            - 2.0
        )
    good = [name for name in ranked(points) if points[name] > 0.5]
    best, second, *_rest = *good, "", ""
    return best, second
