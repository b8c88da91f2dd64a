"""Looks at somebody's data before anything is trained on it.

`init_config` writes a commented config from the files alone; `check` prepares
the data a config describes in a directory that is deleted again, and reports
what a person should know about it in plain words.
"""

from typing import Any

import ibis
from ibis import _

from pipeline import sources
from pipeline.onboard import trial
from pipeline.onboard.draft import init_config as init_config
from pipeline.prepare import engine as engines
from pipeline.prepare import step, summary
from pipeline.sources.canonical.tables import Tables
from pipeline.tables.prepared import load, require_questions


def check(config: step.Config) -> list[str]:
    """Prepares the data of a config without keeping it, and reports on it.

    Args:
        config: The config.

    Returns:
        Lines to show; those that begin with "warning:" are about things that
        make results worse than they look or the run useless.

    Raises:
        DataError: If the data cannot be used at all.
    """
    with trial.scratch() as directory:
        tables = sources.read(
            config.source, config.seed, directory / ".scratch" / "source"
        )
        with engines.open_engine(
            config.prepare, directory / ".scratch"
        ) as engine:
            step.write(config, tables, engine, directory)
            figures = load(directory).summary
            require_questions(
                figures["split"],
                figures["parts"]["test"]["users"],
                figures["users"],
                figures["known_items"],
            )
            log = engine.read(tables.interactions)
            found = _figures(engine, log, tables)
        found["sorted"] = trial.sorted_by_item(
            directory, load(directory).items.ids
        )
    lines = summary.describe(figures)
    lines += _report(found)
    return lines + _warnings(figures, found, config)


def _figures(
    engine: engines.Engine, log: ibis.Table, tables: Tables
) -> dict[str, Any]:
    """Counts of the log as read, before any filter."""
    by_user = log.group_by("user_id").aggregate(n=_.count())
    by_pair = log.group_by("user_id", "item_id").aggregate(
        n=_.count(), times=_.timestamp.nunique()
    )
    row: dict[str, Any] = {}
    for part in (
        by_user.aggregate(
            users=_.count(),
            shortest=_.n.min(),
            median=_.n.quantile(0.5),
            longest=_.n.max(),
            under_3=(_.n < 3).cast("int64").sum(),
        ),
        by_pair.aggregate(
            repeated=(_.n - 1).sum(), duplicates=(_.n - _.times).sum()
        ),
        log.aggregate(rows=_.count()),
        *(
            [log.aggregate(negative=(_.rating < 0).cast("int64").sum())]
            if tables.has_rating
            else []
        ),
        log.group_by("user_id")
        .aggregate(n=_.timestamp.nunique())
        .aggregate(moments=_.n.sum()),
    ):
        row |= engine.collect(part).to_pylist()[0]
    for name, id_name, path in (
        ("items", "item_id", tables.items),
        ("users", "user_id", tables.users),
    ):
        if path is None:
            continue
        table = engine.read(path).select(id_name)
        used = log.select(id_name).distinct()
        for key, expression in (
            (f"{name}_listed", table),
            (f"{name}_unlisted", used.anti_join(table, id_name)),
            (f"{name}_unused", table.anti_join(used, id_name)),
        ):
            counted = engine.collect(expression.aggregate(n=_.count()))
            row[key] = counted["n"][0].as_py()
    return {key: int(value or 0) for key, value in row.items()}


def _report(found: dict[str, int]) -> list[str]:
    lines = [
        f"as read, before any filter: {found['shortest']:,} to "
        f"{found['longest']:,} interactions a user, half of the users have at "
        f"most {found['median']:,}",
        f"as read: {found['duplicates']:,} interactions are exact repeats "
        "(same user, item and time), "
        f"{found['repeated'] - found['duplicates']:,} more return to an item "
        "at another time",
    ]
    for name in ("items", "users"):
        if f"{name}_listed" in found:
            lines.append(
                f"{name} table: {found[f'{name}_listed']:,} rows, "
                f"{found[f'{name}_unused']:,} of them without interactions; "
                f"{found[f'{name}_unlisted']:,} {name} of the interactions "
                "are not in it"
            )
    return lines


def _warnings(
    figures: dict[str, Any], found: dict[str, int], config: step.Config
) -> list[str]:
    lines = []
    test = figures["parts"]["test"]
    options = config.prepare
    returns = found["repeated"] - found["duplicates"]
    if options.repeated in ("first", "last") and returns:
        lines.append(
            f"prepare.repeated = {options.repeated!r} leaves out "
            f"{returns:,} interactions that return to an item at another time "
            "as well as exact repeats; 'distinct' leaves out those alone"
        )
    elif (
        options.repeated == "keep"
        and not options.repeat_consumption
        and found["duplicates"] > 0.01 * found["rows"]
    ):
        lines.append(
            f"{found['duplicates'] / found['rows']:.0%} of the interactions "
            "are exact repeats, of the same user, item and time; "
            "prepare.repeated = 'distinct' keeps one of each"
        )
    if doubt := figures["source"].get("time_doubt"):
        lines.append(doubt)
    if found.get("negative") and options.min_rating <= 0:
        lines.append(
            f"{found['negative']:,} ratings are below 0 and count as "
            "interactions: where -1 means not rated, or below 0 disliked, "
            "prepare.min_rating leaves them out"
        )
    if (
        config.source.kind == "tabular"
        and not config.source.timestamp
        and found["sorted"]
        and figures["split"] != "random"
    ):
        lines.append(
            "there are no timestamps and each user's rows are sorted by the "
            "item: the last interaction is the highest id, not the latest; "
            "prepare.split = 'random' tests on any"
        )
    tied = 1.0 - found["moments"] / found["rows"]
    if tied > 0.5 and config.source.timestamp:
        lines.append(
            f"{tied:.0%} of the interactions fall into the same second as "
            "an earlier one of the same user: the order inside a history is "
            "partly unknown, which limits models of order"
        )
    if 2 * found["under_3"] > found["users"]:
        lines.append(
            f"{found['under_3'] / found['users']:.0%} of the users have fewer "
            "than 3 interactions: leave_last_out cannot test them"
        )
    if figures["split"] == "temporal" and test["cold_users_share"] > 0.5:
        lines.append(
            f"{test['cold_users_share']:.0%} of the test users are new: the "
            "figures tell how newcomers are served; compare with "
            "prepare.split = 'leave_last_out'"
        )
    if figures["split"] == "random" and config.source.timestamp:
        lines.append(
            "a random split lets the future into histories: only use it to "
            "reproduce tutorials"
        )
    if test["users"] < 200:
        lines.append(
            f"only {test['users']:,} users in the test part: differences "
            "between models will mostly be noise"
        )
    if figures["known_items"] < 100:
        lines.append(
            f"only {figures['known_items']:,} items in the train part: a "
            "list of 10 covers a good part of them"
        )
    if test["cold_items_share"] > 0.2:
        lines.append(
            f"{test['cold_items_share']:.0%} of the test interactions are "
            "with items that train never saw; only item features can find "
            "those"
        )
    for name in ("items", "users"):
        if found.get(f"{name}_unlisted", 0):
            lines.append(
                f"{found[f'{name}_unlisted']:,} {name} of the interactions "
                f"are not in the {name} table: they have no features"
            )
    return [f"warning: {line}" for line in lines]
