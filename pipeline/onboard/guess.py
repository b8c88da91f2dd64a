"""Guesses what the columns of somebody's interaction log mean.

Every column gets points for its name (`names`) and for its values
(`evidence`); the best pair of a user and an item is taken. The reasons and
the columns that came second go with the guess into a config that a person
reads, so a wrong one costs little.
"""

import itertools
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.onboard import evidence, kinds, names, times
from pipeline.onboard.evidence import Column
from pipeline.onboard.section import Section
from pipeline.sources.canonical import cells
from pipeline.sources.tabular import reader as tabular

# Options of the source that name a column of the log.
MEANT = ("user_id", "item_id", *tabular.OPTIONAL)
_NOTES = {
    "columns": "the first line has no names: by content and order",
    "table_columns": "their first lines have no names",
    "timestamp": "none found: the order of the rows stands for time",
    "quantity": "where it is not above 0: returns, which are left out",
    "event_weights": "raise the types that matter more; 0 is a weight too",
    "max_bad_share": "share of unusable rows to set aside before stopping",
}
# Fewer points apart, the second choice is as good as the first.
_CLOSE = 1.0
_MOST_TYPES = 20
# What holds decimals or times is no second choice of an id.
_IMPOSSIBLE = -6.0
_YES_OR_NO = {"0", "1", "0.0", "1.0", "true", "false", "yes", "no", "y", "n"}


def log(found: Section, table: Mapping[str, pa.Array], named: bool) -> None:
    """Guesses the columns of an interaction log from a sample of its rows.

    Where they are not `named`, only the values and the order say something.
    The options of `MEANT` are "" where no column has that meaning.
    """
    columns = evidence.columns(table)
    found.options |= dict.fromkeys(MEANT, "")
    found.beside |= _NOTES
    form = _time(found, columns, named)
    found.options |= {
        "time_format": form.format or form.unit or "auto",
        "event_weights": {},
        "max_bad_share": 0.01,
    }
    found.beside["time_format"] = form.doubt
    _event(found, _without(columns, found), named)
    if named:
        _numbers(found, _without(columns, found))
    _ids(found, _without(columns, found), named)
    if not named:
        left = _without(columns, found).values()
        rated = (c.name for c in left if c.is_rating and not c.is_time)
        found.options["rating"] = next(rated, "")
    if item := found.options["item_id"]:
        _title(found, columns[item], _without(columns, found))
    if form.doubt:
        found.doubts.append(f"time: {form.doubt}")
    if rest := _without(columns, found):
        found.below += [
            f"Not used of the interactions: {', '.join(rest)}. Those "
            "known when recommendations",
            "are asked for can be features: context_features = "
            '{ column = "categorical" }',
        ]


def _without(columns: dict[str, Column], found: Section) -> dict[str, Column]:
    """Columns that have no meaning yet."""
    taken = {found.options[key] for key in MEANT}
    return {name: c for name, c in columns.items() if name not in taken}


def _time(
    found: Section, columns: dict[str, Column], named: bool
) -> times.Form:
    """The column of the time; how the times are written."""
    points: dict[str, float] = {}
    forms: dict[str, times.Form] = {}
    for place, (name, column) in enumerate(columns.items()):
        form = column.form
        said = named * names.score(name, names.TIME, names.TIME_WORDS)
        if form is None or not (column.present and (said or column.is_time)):
            continue
        if said:
            form = times.with_unit(column.array, form)
        other = named and set(names.words(name)) & names.OTHER_TIMES
        days = column.is_time and times.are_days(column.array, form)
        points[name] = (
            (3.0 * column.is_time - 0.01 * place)
            - 3.0 * (1.0 - column.present / len(column.array))
            - (1.5 if other else 0.0)
            + said
            - (1.5 if days else 0.0)
        )
        forms[name] = form
    best = kinds.ranked(points)
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
            and not column.nested
        ]
        return times.Form()
    form = forms[best[0]]
    time_of_day, joined = _time_of_day(columns, columns[best[0]], form)
    if columns[best[0]].distinct < 2 and not time_of_day:
        # All at one moment tells nothing.
        return times.Form()
    found.name("timestamp", *[*best, ""][:2])
    found.options["time_of_day"] = time_of_day
    return joined


def _sample(column: Column) -> str:
    """Two values beside each other."""
    return " and ".join(map(repr, column.text.drop_null()[:2].to_pylist()))


def _time_of_day(
    columns: dict[str, Column], day: Column, form: times.Form
) -> tuple[str, times.Form]:
    """The column of the time of day beside days, and the form of both."""
    if times.are_days(day.array, form):
        for name, column in columns.items():
            if column.is_time_of_day:
                text = cells.joined(day.array, column.array)
                if joined := times.form(text):
                    return name, joined
    return "", form


def _event(found: Section, columns: dict[str, Column], named: bool) -> None:
    """The type of what happened: a word, a state, or taken or not."""
    points: dict[str, float] = {}
    for name, column in columns.items():
        types = {value.lower() for value in column.values}
        if not 1 < len(types) <= _MOST_TYPES:
            continue
        points[name] = 2.5 if types <= names.KNOWN_EVENTS else 0.0
        plain = names.plain(name) if named else ""
        if plain in names.EVENT:
            points[name] = 3.0
        elif plain in names.TAKEN and types <= _YES_OR_NO:
            # A click before what comes of it, which is rarer.
            taken = 2.0 - 0.01 * names.TAKEN.index(plain)
            points[name] = max(points[name], taken)
        elif named and {"status", "state"} & set(names.words(name)):
            back = any(names.TAKEN_BACK.search(t) for t in types)
            points[name] = max(points[name], 1.0 * back)
    best = kinds.likeliest(points)
    if not best:
        return
    found.options["event"] = best
    values = columns[best].values
    taken_back = [v for v in values if names.TAKEN_BACK.search(v)]
    # Of codes 0 is as good as another.
    codes = names.plain(best) in names.EVENT and set(values) <= set(
        "0123456789"
    )
    if codes:
        found.doubts.append(
            f"the types in {best!r} are codes ({', '.join(values)}): give "
            "those that are no interest no place in event_weights"
        )
    if codes or len(taken_back) == len(values):
        taken_back = []
    kept = [v for v in values if v not in taken_back]
    found.options["event_weights"] = dict.fromkeys(kept, 1.0)
    if taken_back:
        found.beside["event_weights"] += (
            "; left out, as they take back or say no: " + ", ".join(taken_back)
        )


def _numbers(found: Section, columns: dict[str, Column]) -> None:
    """The rating, the weight and the quantity, which only names tell."""
    rated = {
        name: names.score(name, names.RATING, ("rating", "stars"))
        for name, column in columns.items()
        if column.numeric
        and column.distinct > 1
        and not set(names.words(name)) & {"count", "avg", "average", "num"}
        and not names.is_id(name)
    }
    rating = kinds.likeliest(rated)
    found.options["rating"] = rating
    if not rating:
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
        if column.numeric and name != rating
    }
    best = kinds.likeliest(weighed)
    if not best:
        return
    if pc.any(pc.less_equal(columns[best].numbers, 0.0)).as_py():
        found.options["quantity"] = best
    if not found.options["event"] and columns[best].can_weigh:
        found.options["weight"] = best


def _pairs(
    columns: dict[str, Column], named: bool
) -> dict[tuple[str, str], evidence.Evidence]:
    """Points and doubts of each user and item, the best pair first."""
    users = _points(columns, "user", named)
    items = _points(columns, "item", named)
    pairs: dict[tuple[str, str], evidence.Evidence] = {}
    for user, item in itertools.product(
        kinds.ranked(users)[:8], kinds.ranked(items)[:8]
    ):
        if user == item:
            continue
        both = evidence.between(columns[user], columns[item])
        finer = 0.3 * np.log10(max(columns[item].distinct, 1))
        points = users[user] + items[item] + finer + sum(p for p, _ in both)
        pairs[user, item] = points, ", ".join(reason for _, reason in both)
    return dict(sorted(pairs.items(), key=lambda pair: -pair[1][0]))


def _ids(found: Section, columns: dict[str, Column], named: bool) -> None:
    """The pair of columns that does best as the user and the item."""
    pairs = _pairs(columns, named)
    if not pairs:
        return
    best = next(iter(pairs))
    for place, key in enumerate(("user_id", "item_id")):
        name = found.options[key] = best[place]
        column = columns[name]
        against = [reason for _, reason in column.identity]
        rows = column.present / max(column.distinct, 1)
        told = [f"{column.distinct:,} values, {rows:.1f} rows each", *against]
        found.beside[key] = ", ".join(told)
        for pair, (points, both) in pairs.items():
            other = pair[place]
            known = columns[other].identity
            if (
                other == name
                or pair[1 - place] != best[1 - place]
                or min((p for p, _ in known), default=0.0) <= _IMPOSSIBLE
            ):
                continue
            reasons = [*(reason for _, reason in known), *filter(None, [both])]
            shown = f" ({', '.join(reasons)})" if reasons else ""
            found.beside[key] += f"; or: {other}{shown}"
            if pairs[best][0] - points < _CLOSE:
                found.doubts.append(
                    f"{key} may as well be {other!r} as {name!r}"
                )
            break
        if against:
            found.doubts.append(f"{key} = {name!r} {' and '.join(against)}")
    if reason := pairs[best][1]:
        found.doubts.append(
            f"each of {best[0]!r} (the user) or {best[1]!r} (the item) "
            f"{reason}: it repeats too little to learn from"
        )
    if not named:
        found.doubts.append(
            "without names of columns, which is the user and which the item "
            "goes by their order: swap them where it is the other way round"
        )


def _title(found: Section, items: Column, columns: dict[str, Column]) -> None:
    """The column that holds one text an item, as a table of items would."""
    codes, first, rows = np.unique(
        items.codes, return_index=True, return_counts=True
    )
    repeated = np.isin(items.codes, codes[(rows > 1) & (codes >= 0)])
    same = {
        name: column.array.take(first)
        for name, column in columns.items()
        if repeated.any()
        and column.present
        and evidence.depends(column.codes[repeated], items.codes[repeated])
    }
    found.name("title", *kinds.title(evidence.columns(same), items.name))


def _points(
    columns: dict[str, Column], entity: str, named: bool
) -> dict[str, float]:
    """Points of every column as the user or the item, by itself."""
    points = {}
    for place, (name, column) in enumerate(columns.items()):
        total = sum(p for p, _ in column.identity)
        if entity == "user":
            # Users stand before items, and first of all.
            total -= 0.05 * place if named else 0.25 * place
        if named:
            said = names.score(name, *names.of(entity))
            told = set(names.words(name))
            total += said + (1.0 if names.is_id(name) else 0.0)
            if told & names.ACT_WORDS and said < 2.5:
                total -= 1.0 if entity == "user" else 2.0
            if told & names.PROPERTY_WORDS and said < 2.5:
                total -= 1.5 if said else 3.0
        elif column.is_rating:
            total -= 2.0
        points[name] = total
    return points
