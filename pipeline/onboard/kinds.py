"""Guesses what the columns of a table of items or users are good for.

Names come first, then content: how many values differ, whether they are
numbers, times, lists or sentences.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.onboard import evidence, names, times
from pipeline.sources.canonical import cells

SEPARATORS = ("|", ";", ",")
# What a look at the column tells no model anything.
IGNORED = re.compile(r"url|link|image|img|path|uuid|email|phone|zip|password")


@dataclass(frozen=True)
class Choice:
    """A column and the one that was nearly taken; "" for none.

    Attributes:
        name: Chosen.
        other: The runner-up.
        shared: Share of its values that are ids of the interactions, or of
            those that are among its values, 0 to 1.
    """

    name: str
    other: str = ""
    shared: float = 0.0


def id_column(
    columns: Mapping[str, pa.Array], known: pa.Array, entity: str, same: str
) -> Choice:
    """The column of a table of items or users that its ids are in.

    Args:
        columns: A sample of its rows.
        known: Ids in a sample of the interactions.
        entity: "item" or "user".
        same: Column of the ids in the interactions, likely called the same.
    """
    whole = ["id", *(names.ITEM if entity == "item" else names.USER)]
    parts = names.ITEM_WORDS if entity == "item" else names.USER_WORDS
    known = pc.unique(known.drop_null())
    points: dict[str, float] = {}
    shared: dict[str, float] = {}
    for name, array in columns.items():
        column = evidence.Column(name, array)
        if pa.types.is_nested(array.type) or not column.present:
            continue
        own = pc.unique(cells.as_text(array).drop_null())
        found = pc.sum(pc.is_in(own, value_set=known)).as_py() or 0
        shared[name] = found / max(min(len(own), len(known)), 1)
        points[name] = (
            4.0 * shared[name]
            + names.score(name, whole, parts)
            + (2.0 if name == same else 0.0)
            + (1.0 if names.is_id(name) else 0.0)
            - 2.0 * (1.0 - column.distinct / column.present)
            - (3.0 if column.fractions else 0.0)
        )
    best = sorted(points, key=lambda name: -points[name])[:2]
    if not best or points[best[0]] < 1.0:
        return Choice("")
    return Choice(best[0], best[1] if len(best) > 1 else "", shared[best[0]])


def features(
    columns: Mapping[str, pa.Array], id_column: str
) -> tuple[dict[str, str], dict[str, str], str]:
    """Guesses the kinds of the columns of a table of items or users.

    Args:
        columns: A sample of its rows.
        id_column: Not a feature.

    Returns:
        Kind of each feature; why each other column is left out; the separator
        of multi_categorical cells.
    """
    separator = _separator(columns)
    kinds: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for name, array in columns.items():
        if name == id_column:
            continue
        kind, reason = _kind(name, array, separator)
        if kind:
            kinds[name] = kind
        else:
            left_out[name] = reason
    return kinds, left_out, separator


def _kind(name: str, array: pa.Array, separator: str) -> tuple[str, str]:
    if array.null_count == len(array):
        return "", "it is empty"
    if pa.types.is_list(array.type):
        return "multi_categorical", ""
    if pa.types.is_nested(array.type):
        return "", "it holds objects"
    distinct, rows = (
        evidence.Column(name, array).distinct,
        len(array) - array.null_count,
    )
    if distinct <= 1:
        return "", "all its values are the same"
    if IGNORED.search(name.lower()):
        return "", "it looks like an address or a code"
    if evidence.is_numeric(array):
        if evidence.are_whole(array):
            # Few whole numbers are codes: an age group, an occupation.
            if distinct <= 25:
                return "categorical", ""
            if names.plain(name).endswith(("id", "code", "no", "number")):
                return ("categorical", "") if 2 * distinct < rows else (
                    "", "it is another id"
                )  # fmt: skip
        return "numeric", ""
    if times.are_moments(array):
        return "", "it is a date; give a number, such as the year, instead"
    text = cells.as_text(array).drop_null()
    split = pc.list_value_length(pc.split_pattern(text, separator))
    many = pc.mean(pc.greater(split, 1)).as_py()
    words = pc.mean(
        pc.list_value_length(pc.utf8_split_whitespace(text))
    ).as_py()
    if _is_title(name) and 2 * distinct > rows:
        return "text", ""
    if many > 0.2 and (separator != "," or words < 4):
        return "multi_categorical", ""
    if _is_title(name) or (words >= 2.5 and 5 * distinct > rows):
        return "text", ""
    if 2 * distinct <= rows or distinct <= 20:
        return "categorical", ""
    return "", "nearly every row has another value"


def _is_title(name: str) -> bool:
    parts = names.words(name)
    return names.plain(name) in names.TITLE or (
        parts[-1:] in (["title"], ["name"]) and not set(parts) & _KINDS
    )


def title(columns: Mapping[str, pa.Array], id_column: str) -> Choice:
    """The items column to display."""
    points: dict[str, float] = {}
    for name, array in columns.items():
        column = evidence.Column(name, array)
        if name == id_column or not column.present or column.numeric:
            continue
        if pa.types.is_nested(array.type) or pa.types.is_boolean(array.type):
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
    best = sorted(points, key=lambda name: -points[name])[:2]
    good = [name for name in best if points[name] > 0.5]
    return (
        Choice(good[0], good[1] if len(good) > 1 else "")
        if good
        else Choice("")
    )


# What many items have in common.
_KINDS = frozenset(
    "type group category department brand colour color genre section index "
    "garment original author artist director publisher vendor".split()
)


def _separator(columns: Mapping[str, pa.Array]) -> str:
    counts: Counter[str] = Counter()
    for array in columns.values():
        if pa.types.is_string(array.type):
            for separator in SEPARATORS:
                has = pc.match_substring(array, separator)
                counts[separator] += (
                    pc.sum(pc.cast(has, pa.int64())).as_py() or 0
                )
    # Commas also stand in sentences, so another one is enough to win.
    for separator in SEPARATORS[:2]:
        if counts[separator]:
            return separator
    return "," if counts[","] else "|"
