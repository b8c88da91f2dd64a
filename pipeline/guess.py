"""Guesses what the columns of somebody's files mean.

Names come first ("movieId", "product_id", "created_at"), then content: how
many values differ, whether they are numbers, times, lists or sentences. Every
guess lands in a config file that a person reads, so a wrong one costs little.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources import cells
from pipeline.sources.timestamps import Clock, formatted

USER_NAMES = (
    "userid user uid customerid customer memberid member visitorid visitor "
    "accountid account clientid client personid person reviewerid profileid "
    "subscriberid playerid readerid listenerid sessionid session cookieid"
).split()
ITEM_NAMES = (
    "itemid item iid movieid movie productid product sku asin articleid "
    "article trackid track songid song bookid book isbn videoid video gameid "
    "game adid contentid content courseid course recipeid recipe newsid "
    "parentasin stockcode itemids items sequence"
).split()
TIME_NAMES = (
    "timestamp time ts datetime date createdat created eventtime eventdate "
    "ratedat orderdate orderedat purchasedate purchasedat invoicedate "
    "unixreviewtime unixtime watchedat playedat when day timestamps position "
    "pos step"
).split()
RATING_NAMES = "rating ratings stars score overall grade vote".split()
EVENT_NAMES = "event eventtype action behavior behaviour interaction".split()
WEIGHT_NAMES = "weight strength playcount plays count quantity".split()
TITLE_NAMES = "title name label productname itemname headline".split()
# Of times that are not ISO, as for strptime. Years of two digits first: four
# do not fit them, while two would pass for the first century.
TIME_FORMATS = tuple(
    date + time
    for date in (
        "%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y",
        "%Y/%m/%d", "%m-%d-%Y", "%d-%m-%Y", "%Y%m%d", "%d %b %Y", "%b %d, %Y",
        "%d %B %Y", "%B %d, %Y",
    )
    for time in ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
)  # fmt: skip
SEPARATORS = ("|", ";", ",")
# What a look at the column tells no model anything.
IGNORED = re.compile(r"url|link|image|img|path|uuid|email|phone|zip|password")


def plain(name: str) -> str:
    """Letters and digits of a column name, lower-case, without a type.

    RecBole writes the type behind the name: "user_id:token".
    """
    return re.sub(r"[^a-z0-9]", "", name.lower().split(":")[0])


def by_name(
    columns: Mapping[str, pa.Array], names: list[str], taken: set[str]
) -> str:
    """The column whose name comes first in a list; "" for none."""
    found = {plain(column): column for column in columns if column not in taken}
    for name in names:
        if name in found:
            return found[name]
    return ""


@dataclass(frozen=True)
class Log:
    """Meaning of the columns of an interaction log; "" for none.

    Attributes:
        user_id: Column of the user.
        item_id: Column of the item.
        timestamp: Column of the time.
        rating: Column of the rating.
        event: Column of the event type.
        weight: Column of the weight.
        event_types: Types of `event`, the most frequent first.
        rest: Columns without a meaning.
    """

    user_id: str
    item_id: str
    timestamp: str
    rating: str
    event: str
    weight: str
    event_types: tuple[str, ...]
    rest: tuple[str, ...]


def log(columns: Mapping[str, pa.Array]) -> Log:
    """Guesses the columns of an interaction log.

    Args:
        columns: A sample of its rows.
    """
    taken: set[str] = set()

    def named(names: list[str]) -> str:
        found = by_name(columns, names, taken)
        taken.add(found)
        return found

    user, item = named(USER_NAMES), named(ITEM_NAMES)
    time = named(TIME_NAMES)
    if time and not _readable_time(columns[time]):
        time = ""
    rating = named(RATING_NAMES)
    if rating and not _numeric(columns[rating]):
        rating = ""
    event = named(EVENT_NAMES)
    types = Counter(
        value
        for value in (
            cells.as_text(columns[event]).to_pylist() if event else []
        )
        if value
    )
    if len(types) > 20:
        event, types = "", Counter()
    weight = "" if event else named(WEIGHT_NAMES)
    if weight and not _can_weigh(columns[weight]):
        weight = ""
    # Ids that no name gave away: the columns with the most values, the
    # user's before the item's as logs have it.
    unknown = [
        name
        for name, array in columns.items()
        if name not in taken and not _fractions(array)
    ]
    if not time:
        time = next((n for n in unknown if _looks_like_time(columns[n])), "")
        unknown = [name for name in unknown if name != time]
    for _turn in range((not user) + (not item)):
        if not unknown:
            break
        best = max(unknown, key=lambda name: _num_distinct(columns[name]))
        ids = [name for name in unknown if name.lower().endswith("id")]
        choice = ids[0] if ids else best
        unknown.remove(choice)
        if not user:
            user = choice
        else:
            item = choice
    if user and item and not (ids_known := taken & {user, item}):
        order = list(columns)
        user, item = sorted(
            (user, item),
            key=lambda name: (name in ids_known, order.index(name)),
        )
    used = {user, item, time, rating, event, weight}
    return Log(
        user_id=user,
        item_id=item,
        timestamp=time,
        rating=rating,
        event=event,
        weight=weight,
        event_types=tuple(name for name, _n in types.most_common()),
        rest=tuple(name for name in columns if name not in used),
    )


def unnamed_log(columns: Mapping[str, pa.Array]) -> Log:
    """Guesses the columns of a log without names by content and order.

    Args:
        columns: A sample of its rows; the names say nothing.
    """
    order = list(columns)
    time = next((n for n in order if _looks_like_time(columns[n])), "")
    order = [name for name in order if name != time]
    user = order[0] if order else ""
    rated = [name for name in order[1:] if _looks_like_rating(columns[name])]
    items = [
        name
        for name in order[1:]
        if name not in rated and not _fractions(columns[name])
    ]
    # Log of two columns with hardly any items.
    items, rated = items or rated[:1], rated if items else rated[1:]
    item = max(items, key=lambda n: _num_distinct(columns[n]), default="")
    rating = rated[0] if rated else ""
    return Log(
        user_id=user,
        item_id=item,
        timestamp=time,
        rating=rating,
        event="",
        weight="",
        event_types=(),
        rest=tuple(n for n in order if n not in (user, item, rating)),
    )


def time_format(array: pa.Array) -> tuple[str, str]:
    """Form of times that are neither numbers nor ISO, as for strptime.

    Returns:
        The form that fits nearly all values, "" for none, and another one
        that fits as well, "" for none.
    """
    if pa.types.is_nested(array.type) or pa.types.is_temporal(array.type):
        return "", ""
    text = cells.as_text(array.slice(0, 1000)).drop_null()
    if not len(text) or not _looks_like_date(text[0].as_py()):
        return "", ""
    shares = {
        form: 1.0 - formatted(text, form).null_count / len(text)
        for form in TIME_FORMATS
    }
    best = max(shares, key=lambda form: shares[form])
    if shares[best] < 0.8:
        return "", ""
    others = (
        form for form in shares if form != best and shares[form] == shares[best]
    )
    return best, next(others, "")


def _looks_like_date(value: str) -> bool:
    # Eight digits alone are a date only in these centuries.
    return bool(re.match(r"(19|20)\d{6}$|.*\d.*[/., -].*\d", value))


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
    distinct, rows = _num_distinct(array), len(array) - array.null_count
    if distinct <= 1:
        return "", "all its values are the same"
    if IGNORED.search(name.lower()):
        return "", "it looks like an address or a code"
    if _numeric(array):
        if pc.all(pc.equal(_numbers(array), pc.floor(_numbers(array)))).as_py():
            # Few whole numbers are codes: an age group, an occupation.
            if distinct <= 25:
                return "categorical", ""
            if plain(name).endswith(("id", "code", "no", "number")):
                return ("categorical", "") if 2 * distinct < rows else (
                    "", "it is another id"
                )  # fmt: skip
        return "numeric", ""
    if _looks_like_time(array):
        return "", "it is a date; give a number, such as the year, instead"
    text = cells.as_text(array).drop_null()
    split = pc.list_value_length(pc.split_pattern(text, separator))
    many = pc.mean(pc.greater(split, 1)).as_py()
    words = pc.mean(
        pc.list_value_length(pc.utf8_split_whitespace(text))
    ).as_py()
    if many > 0.2 and (separator != "," or words < 4):
        return "multi_categorical", ""
    if plain(name) in TITLE_NAMES or (words >= 2.5 and 5 * distinct > rows):
        return "text", ""
    if 2 * distinct <= rows or distinct <= 20:
        return "categorical", ""
    return "", "nearly every row has another value"


def title(columns: Mapping[str, pa.Array], id_column: str) -> str:
    """The items column to display; "" for none."""
    return by_name(columns, TITLE_NAMES, {id_column})


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


def _num_distinct(array: pa.Array) -> int:
    return int(pc.count_distinct(cells.as_text(array)).as_py())


def _numbers(array: pa.Array) -> pa.Array:
    return cells.as_number(array)[0].drop_null()


def _numeric(array: pa.Array) -> bool:
    if pa.types.is_nested(array.type) or pa.types.is_temporal(array.type):
        return False
    numbers, bad = cells.as_number(array)
    there = len(array) - array.null_count
    return bool(len(numbers.drop_null()) > 0 and bad.sum() <= 0.02 * there)


def _fractions(array: pa.Array) -> bool:
    if not _numeric(array):
        return False
    numbers = _numbers(array)
    return not pc.all(pc.equal(numbers, pc.floor(numbers))).as_py()


def _can_weigh(array: pa.Array) -> bool:
    """Whether a column can be the weight of targets as it is.

    Play counts cannot: the few largest would be all that training hears.
    """
    if not _numeric(array):
        return False
    middle, high = pc.quantile(_numbers(array), [0.5, 0.99]).to_pylist()
    return bool(0 < middle and high <= 20 * middle)


def _looks_like_rating(array: pa.Array) -> bool:
    if not _numeric(array):
        return False
    low, high = pc.min_max(_numbers(array)).as_py().values()
    return bool(low >= 0 and 1 <= high <= 10 and high > low)


def _readable_time(array: pa.Array) -> bool:
    """Whether a column named like a time holds times or positions."""
    if pa.types.is_nested(array.type):
        return False
    if time_format(array)[0]:
        return True
    _seconds, bad = Clock().seconds(array.slice(0, 1000))
    return bool(bad.mean() <= 0.2)


def _looks_like_time(array: pa.Array) -> bool:
    if pa.types.is_nested(array.type) or not len(array):
        return False
    if pa.types.is_temporal(array.type) or time_format(array)[0]:
        return True
    clock = Clock()
    seconds, bad = clock.seconds(array.slice(0, 1000))
    if bad.mean() > 0.2:
        return False
    if clock.form == "ISO dates":
        return True
    # 1990 to 2040, and more than a handful of moments.
    good = seconds[~bad]
    return bool(
        ((good > 631_152_000) & (good < 2_208_988_800)).mean() > 0.9
        and _num_distinct(array.slice(0, 1000)) > 10
    )
