"""Whether data are fit to train on, held against those of the live version.

Enters: prepared tables, and the profile that the live version carries of its
own data. Leaves `data_checks.json`: every rule with its value and threshold.
What breaks one is refused before training, unless somebody accepts it in words.

Files that cannot be read, columns that are not there and rows that break a
rule are the sources' to refuse; here is what only a comparison shows.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from models.config import FIRST_ITEM
from pipeline.prepare import fresh
from pipeline.prepare.fresh import Stretch
from pipeline.run import manifest, rules
from pipeline.run.auto import Choice
from pipeline.run.config import Config
from pipeline.run.data import ChecksConfig
from pipeline.run.rules import Rule
from pipeline.tables import profile, stability
from pipeline.tables.prepared import Prepared
from pipeline.tables.profile import Profile, Spread
from pipeline.tables.schema import DataRefused, iso
from serving import signatures
from serving.releases import history, versions

FILE = "data_checks.json"
# Users below whom a stretch of time says nothing of its hours and ids.
_ENOUGH = 30
# Standard errors that a share of so few may be off by.
_ERRORS = 3.0
Verdict: TypeAlias = Literal["passed", "refused", "accepted", "not compared"]


@dataclass(frozen=True)
class Before:
    """The live version's data, or why there are none to compare with."""

    version: int | None = None
    profile: Profile | None = None
    why_not: str = "nothing is live yet"


def run(
    config: Config, prepared: Prepared, directory: Path, reason: str = ""
) -> Sequence[Choice[str]]:
    """Judges the data; writes `data_checks.json` here and beside the steps.

    Args:
        config: Of the run.
        prepared: Its data.
        directory: Of the step.
        reason: Why to train on them even where a rule is broken; "" not to.

    Returns:
        What was accepted by hand, if anything.

    Raises:
        DataRefused: If a rule is broken and no reason given.
    """
    before = _live(config)
    found: list[Rule] = []
    if before.profile is not None:
        stretches = fresh.since(prepared, before.profile.last)
        found = judge(
            before.profile,
            profile.of(prepared),
            set(prepared.items.ids[FIRST_ITEM:]),
            stretches,
            config.checks,
        )
    broken = rules.broken(found)
    verdict: Verdict = "passed" if before.profile else "not compared"
    if broken:
        verdict = "accepted" if reason else "refused"
    said = {
        "verdict": verdict,
        "live": before.version,
        "not_compared": "" if before.profile else before.why_not,
        "accepted": reason if broken else "",
        "rules": rules.plain(found),
    }
    for place in (directory, config.run_directory):
        manifest.write_json(place / FILE, said)
    if verdict == "refused":
        raise DataRefused(
            *broken,
            "Data must be like those of the live version before a model is "
            f"trained on them. Received: {len(broken)} of {len(found)} rules "
            f"broken against version {before.version}. Correct the data; or, "
            'if they are meant to be so: --accept-data "why" '
            '(ACCEPT_DATA="why" with make). [checks] has the thresholds.',
        )
    if not broken:
        why = f"{len(found)} rules hold against version {before.version}"
        if not before.profile:
            why = f"{before.why_not}, so there is nothing to compare with"
        return [Choice("data", verdict, why)]
    return [Choice("data", f"accepted ({reason})", " ".join(broken))]


def _live(config: Config) -> Before:
    """The profile that the live version carries."""
    serving = config.serving_directory
    released = history.read(serving)
    if not released:
        return Before()
    version = released[0]
    if history.missing(serving, version):
        return Before(version, None, f"version {version} is not whole")
    model = serving / signatures.RETRIEVAL / str(version)
    facts = json.loads((model / versions.MANIFEST).read_text("utf-8"))
    if facts.get("run") != config.name:
        other = f"version {version} is of another run, {facts.get('run')!r}"
        return Before(version, None, other)
    found = Profile.read(model / signatures.EXTRA_ASSETS)
    why = "" if found else f"version {version} says nothing of its data"
    return Before(version, found, why)


def judge(
    before: Profile,
    after: Profile,
    item_ids: Set[str],
    stretches: Sequence[Stretch],
    options: ChecksConfig,
) -> list[Rule]:
    """Every rule that can be judged.

    Args:
        before: The live version's data.
        after: Those of this run.
        item_ids: All items that they know.
        stretches: Of this run since then, see `fresh.since`.
        options: The thresholds.
    """
    return [
        *_volume(before, after, options),
        *_known(before, after, item_ids, options),
        _duplicates(before, after, options),
        *_ranges(before, after),
        *_features(before, after, options),
        *_stability(before, after, options),
        *_fresh(stretches, iso(before.last), options),
    ]


def _volume(
    before: Profile, after: Profile, options: ChecksConfig
) -> Iterator[Rule]:
    least = 1 - options.max_loss
    for name in ("interactions", "users", "catalogue"):
        old, new = getattr(before, name), getattr(after, name)
        # Profiles of older releases do not count all of them.
        if old:
            yield Rule.of(
                f"volume of {name}",
                new >= least * old,
                f"{new:,} {_NAMES[name]}, {new / old:.0%} of the live "
                f"version's {old:,}; at least {least:.0%} are expected",
                new / old,
                least,
            )


_NAMES = {
    "interactions": "interactions",
    "users": "users with interactions",
    "catalogue": "items in the catalogue",
}


def _known(
    before: Profile, after: Profile, item_ids: Set[str], options: ChecksConfig
) -> Iterator[Rule]:
    """Whether ids still mean the same."""
    least = 1 - options.max_loss
    users = set(before.known_users)
    if len(after.known_users) == profile.MOST_USERS:
        # What has a higher digest is in no sample.
        users = {user for user in users if user <= after.known_users[-1]}
    pairs = (
        ("users", users, users.intersection(after.known_users)),
        ("items", before.items, item_ids & before.items.keys()),
    )
    for name, old, still in pairs:
        if old:
            share = len(still) / len(old)
            yield Rule.of(
                f"known {name}",
                share >= least,
                f"{share:.0%} of {len(old):,} {name} of the live version's "
                f"data are in these; at least {least:.0%} are expected. Are "
                "ids written in another way now?",
                share,
                least,
            )


def _duplicates(before: Profile, after: Profile, options: ChecksConfig) -> Rule:
    old, new = (
        each.duplicates / max(each.interactions, 1) for each in (before, after)
    )
    return Rule.of(
        "duplicates",
        new <= old + options.max_rise,
        f"{new:.1%} of the interactions stand there twice, as the same user, "
        f"item and second; {old:.1%} did. Was a file delivered twice?",
        new,
        old + options.max_rise,
    )


def _ranges(before: Profile, after: Profile) -> Iterator[Rule]:
    for name, old in before.values.items():
        # What is no option any more was taken out by hand.
        if (new := after.values.get(name)) is None:
            continue
        width = max(old.high - old.low, abs(old.high), 1e-9)
        # Weights such as prices have no end; their mean does not run away.
        ends = name != "rating" or (
            old.low - width <= new.low and new.high <= old.high + width
        )
        moved = abs(new.mean - old.mean) <= max(old.std, 1e-9)
        yield Rule.of(
            f"range of {name}",
            ends and moved,
            f"`{name}` is {_told(new)}; it was {_told(old)}. "
            "Has its scale or unit changed?",
            new.mean,
            old.mean,
        )


def _told(spread: Spread) -> str:
    return f"{spread.low:g} to {spread.high:g}, {spread.mean:.3g} on average"


def _features(
    before: Profile, after: Profile, options: ChecksConfig
) -> Iterator[Rule]:
    for name, old in before.missing.items():
        if (new := after.missing.get(name)) is not None:
            yield Rule.of(
                f"missing {name}",
                new <= old + options.max_rise,
                f"`{name}` is missing in {new:.0%} of the rows; it was in "
                f"{old:.0%}",
                new,
                old + options.max_rise,
            )


def _stability(
    before: Profile, after: Profile, options: ChecksConfig
) -> Iterator[Rule]:
    for item in stability.compare(before, after):
        yield Rule.of(
            f"stability of {item.name}",
            item.psi <= options.max_psi,
            f"{item.name}: PSI {item.psi:.3f} against the live version's "
            f"data, {item.says}; at most {options.max_psi:g} is expected",
            item.psi,
            options.max_psi,
        )


def _fresh(
    stretches: Sequence[Stretch], moment: str, options: ChecksConfig
) -> Iterator[Rule]:
    """What came since the live version, like what came before."""
    if len(stretches) < 2:
        words = "too little has come since, or came before, to judge it"
        yield Rule("since the live version", words)
        return
    new, *others = stretches
    usual = statistics.median(other.interactions for other in others)
    factor = new.interactions / max(usual, 1)
    most = options.max_rate_change
    yield Rule.of(
        "volume since the live version",
        1 / most <= factor <= most,
        f"{new.interactions:,} interactions since {moment}, {factor:.2f} "
        f"times the {usual:,.0f} of a stretch as long before; "
        f"{1 / most:.2g} to {most:g} times are expected",
        factor,
        most,
    )
    others = [other for other in others if other.users >= _ENOUGH]
    if new.users < _ENOUGH or not others:
        return
    for name, share, before in (
        ("users", new.new_users, max(other.new_users for other in others)),
        ("items", new.new_items, max(other.new_items for other in others)),
    ):
        most = before + options.max_rise
        # Of what one user does much is alike, so users count.
        most += _ERRORS * (max(most * (1 - most), 0.0) / new.users) ** 0.5
        most = min(most, 1.0)
        yield Rule.of(
            f"new {name} since the live version",
            share <= most,
            f"{share:.0%} of the interactions since {moment} are of {name} "
            f"that had none before; in stretches as long before {before:.0%} "
            f"at most, and of {new.users:,} users up to {most:.0%} are "
            "expected. Are ids written in another way?",
            share,
            most,
        )
    yield from _hours([new, *others], moment, options)


def _hours(
    stretches: Sequence[Stretch], moment: str, options: ChecksConfig
) -> Iterator[Rule]:
    hours = np.array([each.hours for each in stretches], np.float64)
    # Each stretch against all before it but itself: what is usual, at most.
    others = hours[1:].sum(axis=0) - hours
    others[0] = hours[1:].sum(axis=0)
    if np.count_nonzero(hours.sum(axis=0)) < 2 or len(hours) < 3:
        return
    found = [
        stability.psi(stability.shares(rest), stability.shares(own))
        for rest, own in zip(others, hours, strict=True)
    ]
    # Mean of the index where nothing has moved (Yurdakul 2018).
    bins = int(np.count_nonzero(hours.sum(axis=0)))
    chance = (bins - 1) / stretches[0].users
    most = options.max_psi + max(found[1:]) + chance
    yield Rule.of(
        "hours since the live version",
        found[0] <= most,
        f"the hours of the day (UTC) since {moment}: PSI {found[0]:.3f} "
        f"against those before; at most {most:.3f} is expected",
        found[0],
        most,
    )
