"""Guesses what the columns of somebody's interaction log mean.

Every column gets points for its name (`names`) and for its values
(`evidence`); the best pair of a user and an item is taken. The reasons and
the columns that came second go with the guess into a config that a person
reads, so a wrong one costs little.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.onboard import evidence, kinds, names, times
from pipeline.onboard.evidence import Column
from pipeline.sources.canonical import cells

# Fewer points apart, the second choice is as good as the first.
_CLOSE = 1.0
_MOST_TYPES = 20
# What holds decimals or times is no second choice of an id.
_IMPOSSIBLE = -6.0
_NONE = evidence.Evidence(0.0, "")


@dataclass
class Log:
    """Meaning of the columns of an interaction log; "" for none.

    Attributes:
        user_id: Column of the user.
        item_id: Column of the item.
        timestamp: Column of the time.
        time_of_day: Column of the time of day, apart from the day.
        form: How the times are written.
        rating: Column of the rating.
        event: Column of the event type.
        event_types: Types of `event` that count, the most frequent first.
        left_out: Types that take back or say no.
        weight: Column of the weight.
        quantity: Column whose values below 1 are returns.
        title: Column that says what each item is called.
        why: What speaks for the column of a meaning, and what came second.
        doubts: Sentences on what may well be wrong.
        rest: Columns without a meaning.
    """

    user_id: str = ""
    item_id: str = ""
    timestamp: str = ""
    time_of_day: str = ""
    form: times.Form = field(default_factory=times.Form)
    rating: str = ""
    event: str = ""
    event_types: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    weight: str = ""
    quantity: str = ""
    title: str = ""
    why: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)
    rest: tuple[str, ...] = ()


def log(table: Mapping[str, pa.Array], named: bool = True) -> Log:
    """Guesses the columns of an interaction log.

    Args:
        table: A sample of its rows.
        named: Whether the names of the columns say anything.
    """
    columns = evidence.columns(table)
    found = Log()
    _time(found, columns, named)
    free = _without(columns, found)
    _event(found, free, named)
    free = _without(columns, found)
    _numbers(found, free, named)
    free = _without(columns, found)
    _ids(found, free, named)
    if not named and not found.rating:
        found.rating = _first_rating(_without(columns, found))
    _title(found, columns)
    found.rest = tuple(_without(columns, found))
    return found


def _without(columns: dict[str, Column], found: Log) -> dict[str, Column]:
    """Columns that have no meaning yet."""
    taken = {
        found.user_id,
        found.item_id,
        found.timestamp,
        found.time_of_day,
        found.rating,
        found.event,
        found.weight,
        found.quantity,
        found.title,
    }
    return {name: c for name, c in columns.items() if name not in taken}


def _time(found: Log, columns: dict[str, Column], named: bool) -> None:
    points: dict[str, float] = {}
    forms: dict[str, times.Form] = {}
    for place, (name, column) in enumerate(columns.items()):
        form = times.form(column.array)
        if form is None or not column.present:
            continue
        points[name] = 3.0 * column.is_time - 0.01 * place
        points[name] -= 3.0 * (1.0 - column.present / len(column.array))
        if named:
            said = names.score(name, names.TIME, names.TIME_WORDS)
            form = times.with_unit(column.array, form) if said else form
            if set(names.words(name)) & names.OTHER_TIMES:
                points[name] -= 1.5
            points[name] += said
            if not said and not column.is_time:
                del points[name]
                continue
        elif not column.is_time:
            del points[name]
            continue
        if column.is_time and times.are_days(column.array, form):
            points[name] -= 1.5
        forms[name] = form
    best = sorted(points, key=lambda name: -points[name])
    if not best:
        found.doubts += [
            f"{name!r} sounds like the time, but not all of it is of one form "
            f"that is known, such as {_sample(column)}: put it right, or set "
            "timestamp and time_format"
            for name, column in columns.items()
            if named
            and names.plain(name) in names.TIME
            and column.distinct > 1
            and not column.numeric
            and not pa.types.is_nested(column.array.type)
        ]
        return
    found.timestamp, found.form = best[0], forms[best[0]]
    if len(best) > 1:
        found.why["timestamp"] = f"or: {best[1]}"
    _time_of_day(found, columns)
    if columns[best[0]].distinct < 2 and not found.time_of_day:
        # All at one moment tells nothing.
        found.timestamp, found.form = "", times.Form()


def _sample(column: Column) -> str:
    """Two values beside each other."""
    shown = cells.as_text(column.array).drop_null()[:2].to_pylist()
    return " and ".join(map(repr, shown))


def _time_of_day(found: Log, columns: dict[str, Column]) -> None:
    """The column of the time of day where the timestamps are days."""
    day = columns[found.timestamp].array
    if not times.are_days(day, found.form):
        return
    for name, column in columns.items():
        if column.is_time_of_day:
            joined = pc.binary_join_element_wise(
                cells.as_text(day),
                cells.as_text(column.array),
                " ",
                null_handling="skip",
            )
            form = times.form(joined)
            if form is not None:
                found.time_of_day, found.form = name, form
                return


def _event(found: Log, columns: dict[str, Column], named: bool) -> None:
    """The type of what happened: a word, a state, or taken or not."""
    best, most = "", 0.0
    for name, column in columns.items():
        types = {value.lower() for value in column.values}
        if not 1 < len(types) <= _MOST_TYPES:
            continue
        points = 0.0
        if types <= names.KNOWN_EVENTS and len(types) > 1:
            points = 2.5
        if named:
            plain = names.plain(name)
            if plain in names.EVENT:
                points = max(points, 3.0)
            elif plain in names.TAKEN and types <= _YES_OR_NO:
                # A click before what comes of it, which is rarer.
                points = max(points, 2.0 - 0.01 * names.TAKEN.index(plain))
            elif {"status", "state"} & set(names.words(name)):
                back = any(names.TAKEN_BACK.search(t) for t in types)
                points = max(points, 1.0 * back)
        if points > most:
            best, most = name, points
    if not best:
        return
    found.event = best
    values = columns[best].values
    taken_back = [v for v in values if names.TAKEN_BACK.search(v)]
    if names.plain(best) in names.EVENT and {v.lower() for v in values} <= {
        str(n) for n in range(10)
    }:
        # Codes, of which 0 is as good as another.
        taken_back = []
        found.doubts.append(
            f"the types in {best!r} are codes ({', '.join(values)}): give "
            "those that are no interest no place in event_weights"
        )
    found.left_out = tuple(taken_back)
    found.event_types = tuple(v for v in values if v not in taken_back)
    if not found.event_types:
        found.event_types, found.left_out = tuple(values), ()


_YES_OR_NO = {"0", "1", "0.0", "1.0", "true", "false", "yes", "no", "y", "n"}


def _numbers(found: Log, columns: dict[str, Column], named: bool) -> None:
    """The rating, the weight and the quantity, which only names tell."""
    if not named:
        return
    rated = {
        name: names.score(name, names.RATING, ("rating", "stars"))
        for name, column in columns.items()
        if column.numeric
        and column.distinct > 1
        and not set(names.words(name)) & {"count", "avg", "average", "num"}
        and not names.is_id(name)
    }
    found.rating = max(rated, key=lambda n: rated[n], default="")
    if not rated.get(found.rating):
        found.rating = ""
        found.doubts += [
            f"{name!r} sounds like the rating, but is no number, such as "
            f"{_sample(column)}: every row counts as an interaction, whatever "
            "it says there"
            for name, column in columns.items()
            if names.plain(name) in names.RATING
            and len(column.values) > 1
            and not column.numeric
        ]
    weighed = {
        name: names.score(name, names.WEIGHT, ("quantity", "qty"))
        for name, column in columns.items()
        if column.numeric and name != found.rating
    }
    best = max(weighed, key=lambda n: weighed[n], default="")
    if not weighed.get(best):
        return
    array = columns[best].array
    if pc.any(pc.less_equal(evidence.numbers(array), 0.0)).as_py():
        found.quantity = best
    if not found.event and evidence.can_weigh(array):
        found.weight = best


def _ids(found: Log, columns: dict[str, Column], named: bool) -> None:
    """The pair of columns that does best as the user and the item."""
    users = _points(columns, "user", named)
    items = _points(columns, "item", named)
    pairs: dict[tuple[str, str], float] = {}
    between: dict[tuple[str, str], str] = {}
    for user, item in itertools.product(_best(users), _best(items)):
        if user == item:
            continue
        both = evidence.between(columns[user], columns[item])
        finer = 0.3 * np.log10(max(columns[item].distinct, 1))
        pairs[user, item] = (
            users[user] + items[item] + finer + sum(e.points for e in both)
        )
        between[user, item] = ", ".join(e.reason for e in both)
    ranked = sorted(pairs, key=lambda pair: -pairs[pair])
    if not ranked:
        return
    best = ranked[0]
    found.user_id, found.item_id = best
    for place, key in enumerate(("user_id", "item_id")):
        column = columns[best[place]]
        against = [e.reason for e in column.identity]
        rows = column.present / max(column.distinct, 1)
        told = ", ".join(
            [f"{column.distinct:,} values, {rows:.1f} rows each", *against]
        )
        other = best[1 - place]
        second = next(
            (
                p
                for p in ranked
                if p[place] != best[place]
                and p[1 - place] == other
                and min(e.points for e in [*columns[p[place]].identity, _NONE])
                > _IMPOSSIBLE
            ),
            None,
        )
        if second:
            name = second[place]
            reasons = [e.reason for e in columns[name].identity]
            if p := between[second]:
                reasons.append(p)
            shown = f" ({', '.join(reasons)})" if reasons else ""
            told += f"; or: {name}{shown}"
            if pairs[best] - pairs[second] < _CLOSE:
                found.doubts.append(
                    f"{key} may as well be {name!r} as {best[place]!r}"
                )
        found.why[key] = told
        if against:
            found.doubts.append(
                f"{key} = {best[place]!r} {' and '.join(against)}"
            )
    if reason := between[best]:
        found.doubts.append(
            f"each of {best[0]!r} (the user) or {best[1]!r} (the item) "
            f"{reason}: it repeats too little to learn from"
        )
    if not named:
        found.doubts.append(
            "without names of columns, which is the user and which the item "
            "goes by their order: swap them where it is the other way round"
        )


def _title(found: Log, columns: dict[str, Column]) -> None:
    """The column that holds one text an item, as a table of items would."""
    if not found.item_id:
        return
    items = columns[found.item_id]
    codes, first, rows = np.unique(
        items.codes, return_index=True, return_counts=True
    )
    repeated = np.isin(items.codes, codes[(rows > 1) & (codes >= 0)])
    same = {
        name: column.array.take(first)
        for name, column in _without(columns, found).items()
        if repeated.any()
        and column.present
        and evidence.depends(column.codes[repeated], items.codes[repeated])
    }
    choice = kinds.title(same, found.item_id)
    found.title = choice.name
    if choice.other:
        found.why["title"] = f"or: {choice.other}"


def _points(
    columns: dict[str, Column], entity: str, named: bool
) -> dict[str, float]:
    """Points of every column as the user or the item, by itself."""
    if entity == "user":
        whole, parts = names.USER, names.USER_WORDS
    else:
        whole, parts = names.ITEM, names.ITEM_WORDS
    points = {}
    for place, (name, column) in enumerate(columns.items()):
        total = sum(e.points for e in column.identity)
        if entity == "user":
            # Users stand before items, and first of all.
            total -= 0.05 * place if named else 0.25 * place
        if named:
            said = names.score(name, whole, parts)
            told = set(names.words(name))
            total += said + (1.0 if names.is_id(name) else 0.0)
            if told & names.ACT_WORDS and said < 2.5:
                total -= 1.0 if entity == "user" else 2.0
            if told & names.PROPERTY_WORDS and said < 2.5:
                total -= 1.5 if said else 3.0
        elif evidence.is_rating(column.array):
            total -= 2.0
        points[name] = total
    return points


def _best(points: dict[str, float]) -> list[str]:
    return sorted(points, key=lambda name: -points[name])[:8]


def _first_rating(columns: dict[str, Column]) -> str:
    return next(
        (
            name
            for name, column in columns.items()
            if evidence.is_rating(column.array) and not column.is_time
        ),
        "",
    )
