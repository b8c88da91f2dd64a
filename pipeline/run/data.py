"""Options of the data: where the log comes from, how it is prepared."""

import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from models.config import Count, FeatureKind, Options, Rate, Share
from pipeline.tables import names
from pipeline.tables.schema import epoch_seconds

# What tables and databases write where there is nothing, letter by letter: an
# occupation may well be "none".
MISSING = tuple(
    "NA N/A n/a #N/A <NA> NaN nan NAN NaT NULL Null null None NONE undefined "
    "\\N -".split()
)
UNITS = ("auto", "s", "ms", "us", "ns", "days", "excel")


@dataclass(frozen=True)
class SyntheticSource(Options):
    """The embedded sample, of any size.

    Attributes:
        kind: "synthetic" generates the embedded sample, "movielens" reads an
            official MovieLens archive or folder, "tabular" your own files.
        num_users: Users of the synthetic sample.
        num_items: Items of the synthetic sample.
        interactions_per_user: Their mean number in the synthetic sample.
        planted: "all" plants tastes, their drift, sequels and popularity,
            "none" draws every item uniformly (a negative control).
    """

    kind: Literal["synthetic"] = "synthetic"
    num_users: int = 1_500
    num_items: int = 1_200
    interactions_per_user: int = 36
    planted: Literal["all", "none"] = "all"

    def _rules(self) -> Iterator[tuple[bool, str]]:
        yield (
            self.num_users >= 10 and self.num_items >= 20,
            "`num_users` must be at least 10 and `num_items` at least 20. "
            f"Received: {self.num_users} and {self.num_items}.",
        )
        yield (
            self.interactions_per_user >= 3,
            "`interactions_per_user` must be at least 3. Received: "
            f"{self.interactions_per_user}.",
        )
        yield (
            2 * self.interactions_per_user <= self.num_items,
            "`num_items` must be at least twice `interactions_per_user`, since "
            "a user takes an item once. Received: "
            f"{self.num_items} and {self.interactions_per_user}.",
        )


@dataclass(frozen=True)
class _Files(Options):
    """Where files are, and how broken they may be.

    Attributes:
        path: File, folder, glob or fsspec address of the interactions.
        max_bad_share: Share of the rows of a file, 0 to 1, that may be
            unusable and set aside before the run stops.
    """

    path: str = ""
    max_bad_share: Share = 0.0


@dataclass(frozen=True)
class MovielensSource(_Files):
    """An official MovieLens archive or folder.

    Attributes:
        path: The archive or its folder, fetched from its official address
            where a name such as ml-1m.zip is not there; empty for
            ml-100k.zip in the folder of data.
        kind: See `SyntheticSource`.
    """

    kind: Literal["movielens"] = "movielens"


@dataclass(frozen=True)
class TabularSource(_Files):
    """Anybody's own files.

    Attributes:
        kind: See `SyntheticSource`.
        items_path: Table of the items; empty for none.
        users_path: Table of the users; empty for none.
        delimiter: Column separator of text files; empty goes by the first
            line of each, except that .tsv means tabs.
        columns: Names of the columns of interactions whose text files do not
            begin with a line of names. A last name that ends in "..." takes
            all further cells: ["user_id", "item_id..."] for lines that hold a
            user and the items in order.
        table_columns: The same of other tables, { users = ["user_id", "age"] }.
        separator: Between the values of a multi_categorical cell.
        encoding: Of text files; UTF-16 goes by its mark whatever this says.
        missing: Words that stand for nothing, letter by letter. Take out
            what is the name of something, such as a user "NA".
        user_id: Column of the user id.
        item_id: Column of the item id.
        table_ids: Column of the id in other tables where it bears another
            name there, { items = "sku" }.
        timestamp: Column of the time; empty takes the order of the rows.
        time_of_day: Column of the time of day, where `timestamp` holds the
            day alone: both are read as one text with a blank between.
        time_format: Of the timestamps; "auto" reads ISO, and numbers by
            their size. Of numbers the unit, "s", "ms", "us", "ns", "days"
            counted from 1970 or "excel" as Excel counts them from 1900; of
            text written in another way, as for strptime: "%d.%m.%Y %H:%M".
        rating: Column of an explicit rating; empty for none.
        weight: Column of an interaction weight; empty for none.
        quantity: Column of how many were taken; where that is not above 0,
            it is a return or a cancellation and left out. Empty for none.
        event: Column of the type of an implicit event; empty for none.
        event_weights: Weight of each event type; with it, types that are not
            listed are left out and counted.
        title: Items column to display; without an items table a column of
            the interactions. Empty for none.
        item_features: Kind of each items column to encode. Models and
            requests call it by its ASCII letters, digits and "_": "Product
            Category" is Product_Category.
        user_features: Kind of each users column to encode.
        context_features: Kind of each interactions column that describes the
            moment of a request, "categorical" or "numeric".
    """

    kind: Literal["tabular"] = "tabular"
    items_path: str = ""
    users_path: str = ""
    delimiter: str = ""
    columns: tuple[str, ...] = ()
    table_columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    separator: str = "|"
    encoding: str = "utf-8"
    missing: tuple[str, ...] = MISSING
    user_id: str = "user_id"
    item_id: str = "item_id"
    table_ids: dict[str, str] = field(default_factory=dict)
    timestamp: str = "timestamp"
    time_of_day: str = ""
    time_format: str = "auto"
    rating: str = ""
    weight: str = ""
    quantity: str = ""
    event: str = ""
    event_weights: dict[str, float] = field(default_factory=dict)
    title: str = ""
    item_features: dict[str, str] = field(default_factory=dict)
    user_features: dict[str, str] = field(default_factory=dict)
    context_features: dict[str, str] = field(default_factory=dict)

    def _feature_rules(self) -> Iterator[tuple[bool, str]]:
        for name in typing.get_args(names.Section):
            kinds = typing.get_args(FeatureKind)
            if name == "context_features":
                kinds = ("categorical", "numeric")
            columns: dict[str, str] = {}
            for column, kind in getattr(self, name).items():
                # Engines do not tell upper case from lower.
                called = names.of(name, column)
                other = columns.setdefault(called.lower(), column)
                yield (
                    other == column,
                    f"`{name}` must have different names where only ASCII "
                    f"letters, digits and _ count. Received: {other!r} and "
                    f"{column!r}, {called!r} both. Rename or leave out one.",
                )
                yield (
                    kind in kinds,
                    f"`{name}.{column}` must be one of {kinds}. Received: "
                    f"{kind!r}.",
                )

    def _rules(self) -> Iterator[tuple[bool, str]]:
        yield from self._feature_rules()
        yield (
            bool(self.path),
            "`path` must name the interactions of a tabular source. "
            "Received: ''. Set source.path.",
        )
        yield (
            bool(self.user_id and self.item_id),
            "`user_id` and `item_id` must name columns. Received: "
            f"{self.user_id!r} and {self.item_id!r}.",
        )
        yield (
            bool(self.event_weights) == bool(self.event),
            "`event` and `event_weights` go together: the column of the event "
            "type and the weight of each type. Received: "
            f"{self.event!r} and {self.event_weights}.",
        )
        yield (
            not (self.event and self.weight),
            "`weight` and `event` exclude each other. Received: "
            f"{self.weight!r} and {self.event!r}.",
        )
        yield (
            len(self.delimiter) <= 1 or self.delimiter == "::",
            "`delimiter` must be one character, '::' or empty. Received: "
            f"{self.delimiter!r}.",
        )
        yield (
            _keeps_ascii(self.encoding),
            "`encoding` must be one that writes ASCII as it is, such as "
            f'"utf-8" or "cp1252". Received: {self.encoding!r}. UTF-16 is told '
            "by its mark: remove source.encoding.",
        )
        yield (
            bool(self.timestamp) or not self.time_of_day,
            "`time_of_day` needs the column of the day. Received: "
            f"{self.time_of_day!r} and timestamp = ''. Set source.timestamp.",
        )
        yield (
            self.time_format in ("", *UNITS) or "%" in self.time_format,
            f"`time_format` must be one of {UNITS} or a form as for strptime. "
            f"Received: {self.time_format!r}.",
        )
        for name in ("table_columns", "table_ids"):
            others = set(getattr(self, name)) - {"items", "users"}
            yield (
                not others,
                f"`{name}` must be of items or users. Received: "
                f"{', '.join(sorted(others))}.",
            )
        yield (
            len(set(self.columns)) == len(self.columns),
            f"`columns` must be different names. Received: {self.columns}.",
        )
        yield (
            bool(self.separator),
            "`separator` must not be empty. Received: ''.",
        )


Source = SyntheticSource | MovielensSource | TabularSource


def is_timed(source: Source) -> bool:
    """Whether interactions have times, and not only an order."""
    return not isinstance(source, TabularSource) or bool(source.timestamp)


def _keeps_ascii(encoding: str) -> bool:
    """Whether lines and columns can be told in bytes of an encoding."""
    try:
        return b'"1",\t\n'.decode(encoding) == '"1",\t\n'
    except (LookupError, UnicodeDecodeError):
        return False


@dataclass(frozen=True)
class PrepareConfig(Options):
    """Filters, split and engine of the prepared tables.

    Attributes:
        split: "temporal" cuts the whole log at two moments,
            "leave_last_out" takes each user's last interaction for test and
            the one before for validation, "random" draws interactions and
            only reproduces tutorials: the future leaks into histories.
        validation_share: Of the interactions, temporal and random.
        test_share: Of the interactions, temporal and random.
        min_rating: Interactions rated lower are left out; "none" keeps all.
        min_user_interactions: Users with fewer are left out.
        min_item_interactions: Items with fewer are left out. Both minima are
            applied until nothing changes.
        repeat_consumption: Whether users take the same item again, as in
            groceries or music: to come back to an item is then something to
            learn and to answer. False never recommends what is in the
            history.
        repeated: Of the interactions of a user with the same item, "keep"
            all, or only the "first" or the "last", which drops later or
            earlier purchases of it too; "distinct" keeps one of each time, as
            `repeat_consumption` does in any case.
        period: ISO dates of the interactions that are kept, from the first
            and before the second, "2020-01-31/2021-01-31"; either may be left
            out. Empty keeps all.
        keep_days: Days before the newest interaction that are kept, a window
            that slides as the log grows, or "all".
        engine: "duckdb" on one machine, "spark" on its cores, or the master
            of a cluster of Spark, such as "spark://host:7077" or "yarn".
        memory_limit: Of DuckDB, beyond which it spills to disk, and of Spark's
            driver.
    """

    split: Literal["temporal", "leave_last_out", "random"] = "temporal"
    validation_share: float = 0.1
    test_share: float = 0.1
    min_rating: float | Literal["none"] = "none"
    min_user_interactions: Count = 1
    min_item_interactions: Count = 1
    repeat_consumption: bool = False
    repeated: Literal["keep", "distinct", "first", "last"] = "keep"
    period: str = ""
    keep_days: Count | Literal["all"] = "all"
    engine: str = "duckdb"
    memory_limit: str = "2GB"

    def _rules(self) -> Iterator[tuple[bool, str]]:
        first, slash, last = self.period.partition("/")
        yield (
            bool(slash) == bool(self.period)
            and not any(
                date and epoch_seconds(date) is None for date in (first, last)
            ),
            "`period` must be ISO dates around a slash, such as "
            '"2020-01-31/2021-01-31" or "2020-01-31/". Received: '
            f"{self.period!r}.",
        )
        yield (
            self.engine in ("duckdb", "spark", "yarn")
            or bool(re.match(r"local\[|\w+://", self.engine)),
            '`engine` must be "duckdb", "spark" or a master of Spark such as '
            f'"spark://host:7077". Received: {self.engine!r}.',
        )
        yield (
            min(self.validation_share, self.test_share) > 0
            and self.validation_share + self.test_share < 1,
            "`validation_share` and `test_share` must be above 0 and together "
            "below 1. Received: "
            f"{self.validation_share} and {self.test_share}.",
        )


@dataclass(frozen=True)
class ChecksConfig(Options):
    """How far data may differ from the live version's before training stops.

    Attributes:
        max_loss: Share of the live version's interactions, users and items
            that may be gone.
        max_rate_change: Times by which what came since the live version may
            be more or less than came in as long a time before.
        max_rise: By how much a share may rise: of duplicates, of rows without
            a value of a feature, of what came since then that is of users or
            items never seen before. The last two may rise by more where few
            users came.
        max_psi: Population stability index of items, users' activity and
            hours of the day against the live version's data; above 0.25 is
            much change. Hours since then may have more where few users came.
    """

    max_loss: Share = 0.3
    max_rate_change: Rate = 5.0
    max_rise: Share = 0.2
    max_psi: Rate = 0.25

    def _rules(self) -> Iterator[tuple[bool, str]]:
        yield (
            self.max_rate_change > 1,
            "`max_rate_change` must be above 1, as a factor. Received: "
            f"{self.max_rate_change}.",
        )
