"""Joins what was shown with what was then taken.

Enters: logged answers and an interaction log. Leaves: hit rate and CTR with
intervals, by position, version and label. An interaction counts for the last
list before it that showed this item to this user, within a window, once.

Shape letter: U users.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.feedback import intervals
from pipeline.feedback import log as logs
from pipeline.feedback.intervals import Gap, Share
from pipeline.feedback.log import Log
from pipeline.tables.schema import DataError
from serving import signatures
from serving.prediction_log.user_ids import MARK, UserIds

JSON, PAGE = "outcomes.json", "outcomes.md"
CANARY, STABLE = "canary", "stable"
# Whose lists are shown; retrieval's go on to ranking.
_FINAL = (signatures.RECOMMENDER, signatures.RANKING)
_COLUMNS = {
    "request": pa.int64(),
    "seconds": pa.int64(),
    "user_id": pa.string(),
    "version": pa.string(),
    "label": pa.string(),
    "position": pa.int64(),
    "item_id": pa.string(),
}
_JOIN = """
create table taken as
select distinct shown.request, shown.position
from interactions asof join shown
on interactions.user_id = shown.user_id
    and interactions.item_id = shown.item_id
    and interactions.timestamp >= shown.seconds
where interactions.timestamp - shown.seconds <= $window;
"""
_IMPRESSIONS = """
create table impressions as
select shown.*, taken.request is not null as is_taken
from shown left join taken using (request, position);
create table requests as
select request, any_value(user_id) as user_id, any_value(version) as version,
    any_value(label) as label, bool_or(is_taken) as is_taken
from impressions group by request;
"""


@dataclass(frozen=True)
class Taken:
    """What came of some lists.

    Attributes:
        hit_rate: Lists of which something was taken.
        ctr: Places of lists whose item was taken.
    """

    hit_rate: Share
    ctr: Share


@dataclass(frozen=True)
class Outcomes:
    """What came of a log.

    Attributes:
        log: Where it was read.
        hours: After which an interaction counts no more.
        k: Places of a list that count as shown.
        anonymous: Lists for nobody, left out.
        all: Of all lists.
        positions: CTR by place, the first first.
        versions: By the version that answered.
        labels: By the label that was asked, where there was one.
        canary: Canary less stable, where both were asked: their users are
            different ones, drawn by a hash.
        left_out: What of the log was of no use.
    """

    log: str
    hours: float
    k: int
    anonymous: int
    all: Taken
    positions: list[Share]
    versions: dict[str, Taken]
    labels: dict[str, Taken]
    canary: dict[str, Gap]
    left_out: list[str]

    def plain(self) -> dict[str, object]:
        """As JSON has it."""
        return dataclasses.asdict(self)


def run(
    log: Log,
    interactions: Path,
    hours: float = 24.0,
    k: int = 10,
    user_ids: UserIds | None = None,
) -> Outcomes:
    """Follows up what was shown.

    Args:
        log: Of recommender or ranking.
        interactions: Canonical Parquet.
        hours: The window.
        k: Places of a list that callers show.
        user_ids: Under whose key the log hides users; None if it does not.

    Raises:
        DataError: If nothing was shown, or to other users, or later.
    """
    shown, anonymous = _shown(log, k)
    with duckdb.connect() as connection:
        connection.register("shown_rows", shown)
        connection.execute("create table shown as from shown_rows")
        connection.execute(
            "create table interactions as select user_id, item_id, timestamp "
            "from read_parquet($path)",
            {"path": str(interactions)},
        )
        _hide(connection, user_ids)
        _check(connection, log)
        connection.execute(_JOIN, {"window": round(3600 * hours)})
        connection.execute(_IMPRESSIONS)
        labels = _by(connection, "label")
        labels.pop("", None)
        return Outcomes(
            log.where,
            hours,
            k,
            anonymous,
            _by(connection, "'all'")["all"],
            [one for _, one in sorted(_shares(connection, "position").items())],
            _by(connection, "version"),
            labels,
            _gaps(labels),
            log.told(),
        )


def _shown(log: Log, k: int) -> tuple[pa.Table, int]:
    """One row for each place of each list, and the lists for nobody."""
    rows: dict[str, list[object]] = {name: [] for name in _COLUMNS}
    anonymous = requests = 0
    for logged in log:
        if logged.model not in _FINAL:
            log.passed_over[f"{logged.model}, which callers do not show"] += 1
            continue
        users = logs.user_ids(logged.request)
        for user, (items, _) in zip(
            users, logs.lists(logged.response), strict=False
        ):
            requests += 1
            anonymous += not user
            for position, item in enumerate(items[:k] if user else (), 1):
                rows["request"].append(requests)
                rows["seconds"].append(logged.seconds)
                rows["user_id"].append(user)
                rows["version"].append(str(logged.version))
                rows["label"].append(logged.label)
                rows["position"].append(position)
                rows["item_id"].append(item)
    if not rows["request"]:
        raise DataError(
            f"Outcomes need logged lists of {' or '.join(_FINAL)} for known "
            f"users. Received: {log.num_records} records without one, "
            f"{anonymous} for nobody (from {log.where}). "
            + "; ".join(log.told())
        )
    return pa.table(rows, schema=pa.schema(list(_COLUMNS.items()))), anonymous


def _hide(
    connection: duckdb.DuckDBPyConnection, user_ids: UserIds | None
) -> None:
    """Gives the users of the interactions the names that the log has."""
    hidden = connection.execute(
        "select count(*) from shown where starts_with(user_id, $mark)",
        {"mark": MARK},
    ).fetchall()[0][0]
    if bool(hidden) != bool(user_ids):
        received = "hidden ones and no key" if hidden else "a key, none hidden"
        raise DataError(
            "KEY must be the file under whose key the log hides its users, if "
            f"it does. Received: {received}. It is the server's "
            "--request_log_key_file."
        )
    if user_ids is None:
        return
    known = connection.execute("select distinct user_id from interactions")
    names = [name for (name,) in known.fetchall()]
    table = pa.table(
        {"name": names, "hidden": [user_ids.hidden(name) for name in names]}
    )
    connection.register("names", table)
    connection.execute(
        "update interactions set user_id = hidden from names "
        "where interactions.user_id = names.name"
    )


def _check(connection: duckdb.DuckDBPyConnection, log: Log) -> None:
    users, known, first, last = connection.execute(
        "select count(distinct user_id), count(distinct user_id) filter "
        "(user_id in (select user_id from interactions)), min(seconds), "
        "(select max(timestamp) from interactions) from shown"
    ).fetchall()[0]
    if not known:
        raise DataError(
            "INTERACTIONS must be of the users who were shown something. "
            f"Received: none of {users:,} users of {log.where}. Is it the same "
            "shop, the same ids, and the key of these servers?"
        )
    if last < first:
        raise DataError(
            "INTERACTIONS must go on after something was shown. Received: the "
            f"last at {last}, the first list at {first} (seconds since 1970)."
        )


def _shares(
    connection: duckdb.DuckDBPyConnection,
    group: str,
    table: str = "impressions",
) -> dict[str, Share]:
    """A share for each value of a column; users are the clusters."""
    found = connection.execute(
        f"select {group} as part, user_id, count(*) filter (is_taken) as taken,"
        f" count(*) as trials from {table} group by all order by part, user_id"
    ).fetchnumpy()
    parts = np.asarray(found["part"])
    return {
        part: intervals.share(
            found["taken"][parts == part].astype(np.float64),
            found["trials"][parts == part].astype(np.float64),
        )
        for part in dict.fromkeys(parts.tolist())
    }


def _by(connection: duckdb.DuckDBPyConnection, group: str) -> dict[str, Taken]:
    hits = _shares(connection, group, "requests")
    taken = _shares(connection, group)
    return {part: Taken(hits[part], taken[part]) for part in taken}


def _gaps(labels: dict[str, Taken]) -> dict[str, Gap]:
    if CANARY not in labels or STABLE not in labels:
        return {}
    new, old = labels[CANARY], labels[STABLE]
    return {
        "hit_rate": intervals.gap(new.hit_rate, old.hit_rate),
        "ctr": intervals.gap(new.ctr, old.ctr),
    }


def table(found: Outcomes) -> list[list[str]]:
    """Rows for people, heads first."""

    def row(words: str, hits: Share | None, ctr: Share) -> list[str]:
        lists = f"{hits.trials:,}" if hits else ""
        return [words, lists, _text(hits) if hits else "", _text(ctr)]

    def rows(words: str, parts: dict[str, Taken]) -> Iterable[list[str]]:
        for part, one in parts.items():
            yield row(f"{words} {part}", one.hit_rate, one.ctr)

    return [
        ["", "lists", "hit rate (95 %)", "CTR (95 %)"],
        row("all", found.all.hit_rate, found.all.ctr),
        *rows("version", found.versions),
        *rows("label", found.labels),
        *(
            row(f"place {place}", None, one)
            for place, one in enumerate(found.positions, 1)
        ),
    ]


def lines(found: Outcomes) -> list[str]:
    """What the table does not have."""
    told = [
        f"taken within {found.hours:g} hours of being shown among the first "
        f"{found.k}; {found.all.ctr.users:,} users, "
        f"{found.anonymous:,} lists for nobody left out"
    ]
    for name, one in found.canary.items():
        word = "the same within noise"
        if one.low > 0 or one.high < 0:
            word = "canary is better" if one.low > 0 else "canary is worse"
        told.append(
            f"canary less stable, {name}: {one.value:+.4f} "
            f"({one.low:+.4f} to {one.high:+.4f}): {word}"
        )
    return told + found.left_out


def _text(share: Share) -> str:
    return f"{share.value:.4f} ({share.low:.4f} - {share.high:.4f})"
