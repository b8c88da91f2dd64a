"""What users take and take again: counts of a log as it was read."""

from pathlib import Path

import duckdb
import numpy as np

from pipeline.sources.canonical.tables import Tables
from pipeline.tables.schema import FIRST_MOMENT

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
SELECT count(*), coalesce(avg((place > before)::INT), 0) FROM (
    SELECT place, lag(place) OVER (PARTITION BY user_id ORDER BY "timestamp")
        AS before
    FROM (
        SELECT user_id, "timestamp", dense_rank() OVER (
            ORDER BY TRY_CAST(item_id AS DOUBLE), item_id
        ) AS place FROM log
    )
) WHERE place <> before
"""


def count(
    tables: Tables, directory: Path, min_rating: float = 0.0
) -> dict[str, float]:
    """Counts what is in the log, but for rows of a lower rating.

    Args:
        tables: Of a source.
        directory: Of the engine's files.
        min_rating: Where it is above 0, the lowest that counts.

    Returns:
        Among others `duplicates`, rows of the same user, item and time as
        another; `returns`, the share of the days on which a user takes an item
        that had been taken on another day, 0 to 1, and `chance`, the same if
        all took as many items at random, each as often as it is taken in all;
        `sorted_by_item`, whether users' rows follow each other by the ids.
    """
    rating = "rating" if tables.has_rating else "0"
    with duckdb.connect(directory / "habits.duckdb") as db:
        db.read_parquet(str(tables.interactions)).create_view("every")
        db.execute(
            f"""
            CREATE VIEW log AS SELECT *, CASE
                WHEN (SELECT max("timestamp") FROM every) < {FIRST_MOMENT}
                THEN 1 ELSE 86400 END AS day
            FROM every WHERE {min_rating} <= 0 OR {rating} >= {min_rating}
            """
        )
        db.execute(f"CREATE TABLE pairs AS {_BY_PAIR}")
        [found] = (
            db.execute(
                f"""
            SELECT * FROM ({_BY_USER}), (
                SELECT sum(n - 1) AS repeated, sum(n - times) AS duplicates,
                    sum(days - 1) / sum(days) AS returns FROM pairs
            ), (SELECT count(*) FILTER ({rating} < 0) AS negative FROM log)
            """
            )
            .to_arrow_table()
            .to_pylist()
        )
        days = [
            db.execute(
                f"SELECT sum(days)::DOUBLE AS n FROM pairs GROUP BY {name}"
            ).fetchnumpy()["n"]
            for name in ("item_id", "user_id")
        ]
        [(steps, share)] = db.execute(_IN_ORDER).fetchall()
        found |= _entities(db, tables)
    share = float(share)
    returns = float(found.pop("returns") or 0.0)
    return {key: int(value or 0) for key, value in found.items()} | {
        "returns": returns,
        "chance": _chance(*days),
        "sorted_by_item": steps >= 20 and max(share, 1.0 - share) > 0.95,
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
            counted = db.execute(f"SELECT count(*) FROM {rows}").fetchall()
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
