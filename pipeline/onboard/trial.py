"""What reading and preparing somebody's log tells: counts, figures, the split.

`init-config` and `check` prepare in a directory that is deleted again.
"""

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from pipeline import sources
from pipeline.prepare import engine as engines
from pipeline.prepare import step
from pipeline.run.config import Config
from pipeline.run.data import PrepareConfig, Source, is_timed
from pipeline.sources.canonical.tables import Tables
from pipeline.tables.prepared import Prepared, load, require_questions
from pipeline.tables.schema import FIRST_MOMENT, DataError

_BY_USER = """
SELECT count(*) AS users, sum(n) AS rows, min(n) AS shortest,
    quantile_cont(n, 0.5) AS median, max(n) AS longest,
    count(*) FILTER (n < 3) AS under_3, sum(moments) AS moments
FROM (
    SELECT count(*) AS n, count(DISTINCT "timestamp") AS moments
    FROM log GROUP BY user_id
)
"""
_BY_PAIR = """
SELECT user_id, item_id, count(*) AS n, count(DISTINCT "timestamp") AS times,
    count(DISTINCT "timestamp" // day) AS days
FROM log GROUP BY user_id, item_id
"""
_IN_ORDER = """
SELECT count(*) AS steps, coalesce(avg((place > before)::INT), 0) AS rising
FROM (
    SELECT place, lag(place) OVER (PARTITION BY user_id ORDER BY "timestamp")
        AS before
    FROM (
        SELECT user_id, "timestamp", dense_rank() OVER (
            ORDER BY TRY_CAST(item_id AS DOUBLE), item_id
        ) AS place FROM log
    )
) WHERE place <> before
"""


@dataclass(frozen=True)
class Trial:
    """A source that is read once and prepared as often as needed."""

    source: Source
    seed: int
    tables: Tables
    directory: Path

    def figures(self, options: PrepareConfig) -> dict[str, Any]:
        """Prepares the tables, and forgets them but for their summary.

        Raises:
            DataError: If the data cannot be used, or leave nobody to test.
        """
        with self.prepared(options) as tables:
            return tables.summary

    @contextmanager
    def prepared(self, options: PrepareConfig) -> Iterator[Prepared]:
        """Prepares the tables, which are deleted after the block.

        Raises:
            DataError: If the data cannot be used, or leave nobody to test.
        """
        config = Config("check", self.seed, source=self.source, prepare=options)
        with tempfile.TemporaryDirectory(dir=self.directory) as place:
            directory = Path(place)
            (directory / ".scratch").mkdir()
            with engines.open_engine(options, directory / ".scratch") as engine:
                step.write(config, self.tables, engine, directory)
            tables = load(directory)
            figures = tables.summary
            require_questions(
                options.split,
                figures["parts"]["test"]["users"],
                figures["users"],
                figures["known_items"],
            )
            yield tables

    def count(self, min_rating: float = 0.0) -> dict[str, float]:
        """Counts what users take and take again in the log as it was read.

        Where `min_rating` is above 0, it is the lowest that counts.

        Returns:
            Among others `duplicates`, rows of the same user, item and time as
            another; `returns`, the share of the days on which a user takes an
            item that had been taken on another day, 0 to 1, and `chance`, the
            same if all took as many items at random, each as often as it is
            taken in all; `sorted_by_item`, whether users' rows follow each
            other by the ids.
        """
        rating = "rating" if self.tables.has_rating else "0"
        with duckdb.connect(self.directory / "counts.duckdb") as db:
            db.read_parquet(str(self.tables.interactions)).create_view("every")
            db.execute(
                f"""
                CREATE VIEW log AS SELECT *, CASE
                    WHEN (SELECT max("timestamp") FROM every) < {FIRST_MOMENT}
                    THEN 1 ELSE 86400 END AS day
                FROM every WHERE {min_rating} <= 0 OR {rating} >= {min_rating}
                """
            )
            db.execute(f"CREATE TABLE pairs AS {_BY_PAIR}")
            counted = db.sql(
                f"""
                SELECT * FROM ({_BY_USER}), ({_IN_ORDER}), (
                    SELECT sum(n - 1) AS repeated, sum(n - times) AS duplicates,
                        sum(days - 1) / sum(days) AS returns FROM pairs
                ), (SELECT count(*) FILTER ({rating} < 0) AS negative FROM log)
                """
            )
            values = counted.fetchone() or ()
            found = {
                name: float(value or 0)
                for name, value in zip(counted.columns, values, strict=True)
            }
            days = [
                db.sql(
                    f"SELECT sum(days)::DOUBLE AS n FROM pairs GROUP BY {name}"
                ).fetchnumpy()["n"]
                for name in ("item_id", "user_id")
            ]
            found |= _entities(db, self.tables)
        steps, rising = found.pop("steps"), found.pop("rising")
        returns = found.pop("returns")
        return {key: int(value) for key, value in found.items()} | {
            "returns": returns,
            "chance": _chance(*days),
            "sorted_by_item": steps >= 20 and max(rising, 1.0 - rising) > 0.95,
        }


def _entities(db: duckdb.DuckDBPyConnection, tables: Tables) -> dict[str, int]:
    """Counts of the items and users: in their table, and in the log."""
    found: dict[str, int] = {}
    for name, id_name, path in (
        ("items", "item_id", tables.items),
        ("users", "user_id", tables.users),
    ):
        if path is None:
            continue
        db.read_parquet(str(path)).create_view(name)
        used = f"(SELECT DISTINCT {id_name} FROM log)"
        for key, rows in (
            ("listed", name),
            ("unlisted", f"{used} ANTI JOIN {name} USING ({id_name})"),
            ("unused", f"{name} ANTI JOIN {used} USING ({id_name})"),
        ):
            counted = db.sql(f"SELECT count(*) FROM {rows}").fetchall()
            found[f"{name}_{key}"] = counted[0][0]
    return found


def _chance(by_item: np.ndarray, by_user: np.ndarray) -> float:
    """Share of returns if all took as many items at random."""
    if not len(by_item):
        return 0.0
    shares = by_item / by_item.sum()
    # Users of about as many interactions are alike: two digits tell enough.
    scale = 10 ** np.maximum(np.floor(np.log10(by_user)) - 1, 0)
    sizes, users = np.unique(
        np.rint(by_user / scale) * scale, return_counts=True
    )
    with np.errstate(divide="ignore"):
        rest = np.log1p(-shares)
    different = [-np.expm1(size * rest).sum() for size in sizes]
    return float(1.0 - np.dot(different, users) / np.dot(sizes, users))


@contextmanager
def read(source: Source, seed: int = 42) -> Iterator[Trial]:
    """Reads a source into a directory that is deleted after the block.

    Raises:
        DataError: If the source is missing, corrupt or empty.
    """
    with tempfile.TemporaryDirectory(
        prefix="check-", ignore_cleanup_errors=True
    ) as place:
        directory = Path(place)
        (directory / "source").mkdir()
        tables = sources.read(source, seed, directory / "source")
        yield Trial(source, seed, tables, directory)


def split(
    tried: Trial, options: PrepareConfig, by_item: bool
) -> tuple[PrepareConfig, list[str], dict[str, Any]]:
    """Chooses the split the data can bear, whose rows may be sorted by item.

    Returns:
        The options with it; the reasons, one line each; the figures.

    Raises:
        DataError: If the data cannot be used, or leave nobody to test.
    """
    timed = is_timed(tried.source)
    reason = "There are no timestamps to cut at."
    if timed:
        options = dataclasses.replace(options, split="temporal")
        figures, reason = _cut(tried, options)
        if figures:
            told = "Cuts the log at two moments, as in production: train on the"
            return options, [f"{told} past,", reason], figures
    options = dataclasses.replace(options, split="leave_last_out")
    figures = tried.figures(options)
    if timed or not by_item:
        reasons = [reason, "So each user's last interaction is the test."]
        return options, reasons, figures
    reasons = [
        "There are no timestamps, and each user's rows are sorted by the item: "
        "the last",
        "one is the highest id, not the latest. So the test is drawn at random;"
        " nothing is",
        "known of the order people take items in.",
    ]
    options = dataclasses.replace(options, split="random")
    return options, reasons, tried.figures(options)


def _cut(tried: Trial, options: PrepareConfig) -> tuple[dict[str, Any], str]:
    """Figures of a cut in time, {} where it is no good, and why."""
    try:
        figures = tried.figures(options)
    except DataError as error:
        if "temporal split needs" not in str(error):
            raise
        return {}, "The timestamps allow no two cuts."
    if figures["first"] >= 0 and figures["last"] < FIRST_MOMENT:
        return {}, "The timestamps are positions or counters, not moments."
    test = figures["parts"]["test"]
    cold = test["cold_users_share"]
    warm = round(test["users"] * (1.0 - cold))
    if warm >= 300 and cold <= 0.5:
        return figures, f"test on the future ({warm:,} users have both)."
    return {}, (
        f"A cut in time would leave {warm:,} known users to test on "
        f"({cold:.0%} would be new)."
    )
