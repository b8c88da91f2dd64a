"""Looks at somebody's data before anything is trained on it.

`check` prepares the data a config describes in a directory that is deleted
again, and reports what a person should know about it in plain words.
"""

from typing import Any

from pipeline.measure import order
from pipeline.onboard import habits, trial
from pipeline.prepare import summary
from pipeline.run.config import Config
from pipeline.run.data import is_timed


def check(config: Config) -> list[str]:
    """Prepares the data of a config without keeping it, and reports on it.

    Lines that begin with "warning:" are about things that make results worse
    than they look or the run useless.

    Raises:
        DataError: If the data cannot be used at all.
    """
    with trial.read(config.source, config.seed) as tried:
        with tried.prepared(config.prepare) as tables:
            figures, foretold = tables.summary, order.measure(tables)
        found = habits.count(tried.tables, tried.directory)
    lines = summary.describe(figures) + _report(found)
    lines += order.describe(foretold)
    lines += _of_log(figures, found, config)
    return lines + _of_parts(figures, found, config)


def _report(found: dict[str, float]) -> list[str]:
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


def _of_log(
    figures: dict[str, Any], found: dict[str, float], config: Config
) -> list[str]:
    """Warnings of what is in the log."""
    options = config.prepare
    timed = is_timed(config.source)
    returns = found["repeated"] - found["duplicates"]
    exact = found["duplicates"] / found["rows"]
    tied = 1.0 - found["moments"] / found["rows"]
    short = found["under_3"] / found["users"]
    doubt = figures["source"].get("time_doubt")
    return _told(
        (
            options.repeated in ("first", "last") and returns,
            f"prepare.repeated = {options.repeated!r} leaves out "
            f"{returns:,} interactions that return to an item at another "
            "time as well as exact repeats; 'distinct' leaves out those "
            "alone",
        ),
        (
            options.repeated == "keep"
            and not options.repeat_consumption
            and exact > 0.01,
            f"{exact:.0%} of the interactions are exact repeats, of the "
            "same user, item and time; prepare.repeated = 'distinct' "
            "keeps one of each",
        ),
        (doubt, str(doubt)),
        (
            found["negative"] and options.min_rating == "none",
            f"{found['negative']:,} ratings are below 0 and count as "
            "interactions: where -1 means not rated, or below 0 disliked, "
            "prepare.min_rating leaves them out",
        ),
        (
            config.source.kind == "tabular"
            and not timed
            and found["sorted_by_item"]
            and figures["split"] != "random",
            "there are no timestamps and each user's rows are sorted by "
            "the item: the last interaction is the highest id, not the "
            "latest; prepare.split = 'random' tests on any",
        ),
        (
            tied > 0.5 and timed,
            f"{tied:.0%} of the interactions fall into the same second as "
            "an earlier one of the same user: the order inside a history "
            "is partly unknown, which limits models of order",
        ),
        (
            short > 0.5,
            f"{short:.0%} of the users have fewer than 3 interactions: "
            "leave_last_out cannot test them",
        ),
    )


def _of_parts(
    figures: dict[str, Any], found: dict[str, float], config: Config
) -> list[str]:
    """Warnings of what the parts can tell."""
    test = figures["parts"]["test"]
    split = figures["split"]
    return _told(
        (
            split == "temporal" and test["cold_users_share"] > 0.5,
            f"{test['cold_users_share']:.0%} of the test users are new: "
            "the figures tell how newcomers are served; compare with "
            "prepare.split = 'leave_last_out'",
        ),
        (
            split == "random" and is_timed(config.source),
            "a random split lets the future into histories: only use it "
            "to reproduce tutorials",
        ),
        (
            test["users"] < 200,
            f"only {test['users']:,} users in the test part: differences "
            "between models will mostly be noise",
        ),
        (
            figures["known_items"] < 100,
            f"only {figures['known_items']:,} items in the train part: a "
            "list of 10 covers a good part of them",
        ),
        (
            test["cold_items_share"] > 0.2,
            f"{test['cold_items_share']:.0%} of the test interactions are "
            "with items that train never saw; only item features can find "
            "those",
        ),
        *(
            (
                found.get(f"{name}_unlisted", 0),
                f"{found.get(f'{name}_unlisted', 0):,} {name} of the "
                f"interactions are not in the {name} table: they have no "
                "features",
            )
            for name in ("items", "users")
        ),
    )


def _told(*warnings: tuple[object, str]) -> list[str]:
    """What is to be warned of, as lines."""
    return [f"warning: {line}" for wrong, line in warnings if wrong]
