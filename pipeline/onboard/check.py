"""Looks at somebody's data before anything is trained on it.

`check` prepares the data a config describes in a directory that is deleted
again, and reports what a person should know about it in plain words.
"""

from collections.abc import Iterator
from typing import Any

from pipeline.measure import order
from pipeline.onboard import trial
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
        found = tried.count()
    warnings = (*_of_log(figures, found, config), *_of_parts(figures, config))
    return [
        *summary.describe(figures),
        *_report(found),
        *order.describe(foretold),
        *(f"warning: {line}" for line in warnings),
    ]


def _report(found: dict[str, float]) -> Iterator[str]:
    yield (
        f"as read, before any filter: {found['shortest']:,} to "
        f"{found['longest']:,} interactions a user, half of the users have at "
        f"most {found['median']:,}"
    )
    yield (
        f"as read: {found['duplicates']:,} interactions are exact repeats "
        "(same user, item and time), "
        f"{found['repeated'] - found['duplicates']:,} more return to an item "
        "at another time"
    )
    for name in ("items", "users"):
        if f"{name}_listed" in found:
            yield (
                f"{name} table: {found[f'{name}_listed']:,} rows, "
                f"{found[f'{name}_unused']:,} of them without interactions; "
                f"{found[f'{name}_unlisted']:,} {name} of the interactions "
                "are not in it"
            )


def _of_log(
    figures: dict[str, Any], found: dict[str, float], config: Config
) -> Iterator[str]:
    """Warnings of what is in the log."""
    options = config.prepare
    timed = is_timed(config.source)
    returns = found["repeated"] - found["duplicates"]
    exact = found["duplicates"] / found["rows"]
    tied = 1.0 - found["moments"] / found["rows"]
    short = found["under_3"] / found["users"]
    if options.repeated in ("first", "last") and returns:
        yield (
            f"prepare.repeated = {options.repeated!r} leaves out {returns:,} "
            "interactions that return to an item at another time as well as "
            "exact repeats; 'distinct' leaves out those alone"
        )
    kept = options.repeated == "keep" and not options.repeat_consumption
    if kept and exact > 0.01:
        yield (
            f"{exact:.0%} of the interactions are exact repeats, of the same "
            "user, item and time; prepare.repeated = 'distinct' keeps one of "
            "each"
        )
    if doubt := figures["source"].get("time_doubt"):
        yield doubt
    if found["negative"] and options.min_rating == "none":
        yield (
            f"{found['negative']:,} ratings are below 0 and count as "
            "interactions: where -1 means not rated, or below 0 disliked, "
            "prepare.min_rating leaves them out"
        )
    if found["sorted_by_item"] and not timed and options.split != "random":
        yield (
            "there are no timestamps and each user's rows are sorted by the "
            "item: the last interaction is the highest id, not the latest; "
            "prepare.split = 'random' tests on any"
        )
    if tied > 0.5 and timed:
        yield (
            f"{tied:.0%} of the interactions fall into the same second as an "
            "earlier one of the same user: the order inside a history is "
            "partly unknown, which limits models of order"
        )
    if short > 0.5:
        yield (
            f"{short:.0%} of the users have fewer than 3 interactions: "
            "leave_last_out cannot test them"
        )
    for name in ("items", "users"):
        if unlisted := found.get(f"{name}_unlisted"):
            yield (
                f"{unlisted:,} {name} of the interactions are not in the "
                f"{name} table: they have no features"
            )


def _of_parts(figures: dict[str, Any], config: Config) -> Iterator[str]:
    """Warnings of what the parts can tell."""
    test, split = figures["parts"]["test"], figures["split"]
    if split == "temporal" and test["cold_users_share"] > 0.5:
        yield (
            f"{test['cold_users_share']:.0%} of the test users are new: the "
            "figures tell how newcomers are served; compare with "
            "prepare.split = 'leave_last_out'"
        )
    if split == "random" and is_timed(config.source):
        yield (
            "a random split lets the future into histories: only use it to "
            "reproduce tutorials"
        )
    if test["users"] < 200:
        yield (
            f"only {test['users']:,} users in the test part: differences "
            "between models will mostly be noise"
        )
    if figures["known_items"] < 100:
        yield (
            f"only {figures['known_items']:,} items in the train part: a list "
            "of 10 covers a good part of them"
        )
    if test["cold_items_share"] > 0.2:
        yield (
            f"{test['cold_items_share']:.0%} of the test interactions are with "
            "items that train never saw; only item features can find those"
        )
