"""Drafts a config from files alone: `python -m pipeline init-config`.

The columns are guessed from a sample (`guess`), the split and the sizes from
preparing the data once (`trial`). Every guess stands in the text with its
reason.
"""

import dataclasses
import logging
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.onboard import columns, trial
from pipeline.onboard.section import Section
from pipeline.run import toml
from pipeline.run.data import MovielensSource, PrepareConfig, TabularSource
from pipeline.sources.reading import files
from pipeline.tables.schema import DataError

logger = logging.getLogger(__name__)

# Share of unusable rows, above which the guesses are rather wrong.
MOST_UNUSABLE = 0.5
# Share of returns to an item, above which users take things again: where they
# are more than chance brings, and in any case.
_RETURNS, _MOST = 0.15, 0.5
# Fewest items of a history that are read.
_SHORTEST = 20
# Files that tell an official release of MovieLens.
MOVIELENS = (
    {"u.data", "u.item", "u.user"},
    {"ratings.dat", "movies.dat"},
    {"ratings.csv", "movies.csv"},
)
# File names that tell less than the folder they are in.
GENERIC = ("interactions", "ratings", "events", "log", "data", "part-0")


class Draft(NamedTuple):
    """A config to start from, what may well be wrong in it, and what is."""

    text: str
    doubts: list[str]
    problem: str


def init_config(
    interactions: str,
    items: str = "",
    users: str = "",
    progress: Callable[[str], None] = logger.info,
) -> Draft:
    """Drafts a config for somebody's files, every guess with its reason.

    Args:
        interactions: Path of the interactions, or of a MovieLens release.
        items: Path of the items table; empty for none.
        users: Path of the users table; empty for none.
        progress: Receives lines to show.

    Raises:
        DataError: If nothing is at a path.
    """
    if not items and not users and _is_movielens(interactions):
        found = Section({"kind": "movielens", "path": interactions})
        found.top.append("An official MovieLens release: its layout is known.")
    else:
        found = columns.guessed(interactions, items, users)
    text = [
        f"# Written by init-config from {interactions}.",
        "# Check the guesses below, then:",
        "#   python -m pipeline --config THIS_FILE check",
        "#   make retrain CONFIG=THIS_FILE",
    ]
    tried: list[str] = []
    problem = found.problem
    if not problem:
        progress(
            "init-config: columns guessed, preparing the log to choose the rest"
        )
        try:
            tried = _tried(found)
        except DataError as error:
            problem = str(error)
    if problem:
        text += ["#", "# As guessed, the data cannot be used yet:"]
        text += [f"#   {line}" for line in problem.splitlines()]
    text += [f"# {line}" for line in found.top]
    text += [f"# Doubt: {doubt}." for doubt in found.doubts]
    text += [
        f"name = {toml.value(_name(Path(interactions.rstrip('/'))))}",
        "seed = 42",
        "",
        "[source]",
        *found.lines(),
        "",
        *tried,
    ]
    return Draft("\n".join(text) + "\n", found.doubts, problem)


def _tried(found: Section) -> list[str]:
    """The sections that preparing the data decides."""
    is_tabular = found.options["kind"] == "tabular"
    kind = TabularSource if is_tabular else MovielensSource
    source: TabularSource | MovielensSource = kind(**found.options)
    permitted = source.max_bad_share
    if is_tabular:
        source = dataclasses.replace(source, max_bad_share=MOST_UNUSABLE)
    options = PrepareConfig(min_rating=found.min_rating or "none")
    with trial.read(source) as tried:
        log = tried.count(found.min_rating)
        options, reasons, figures = trial.split(
            tried, options, bool(log["sorted_by_item"])
        )
        told, chosen = _repeats(log, options)
        if chosen != options:
            figures = tried.figures(chosen)
    notes = figures["notes"]
    share = figures["source"].get("unusable_share", 0.0)
    if share > permitted:
        found.options["max_bad_share"] = min(1.0, math.ceil(120 * share) / 100)
        aside = (note for note in notes if " set aside because " in note)
        found.above["max_bad_share"] = [
            "Many rows are unusable; correct them if they should not be.",
            *(f"{note.split('; the first')[0]}." for note in aside),
        ]
    changed = re.compile(r"source\.missing|without the '\.0'|1\.23E\+12")
    found.doubts += filter(changed.search, notes)
    lines = ["[prepare]", *(f"# {reason}" for reason in reasons)]
    lines.append(f'split = "{options.split}"')
    if found.min_rating:
        lines += [
            "# -1 stands for not rated: those rows are left out.",
            f"min_rating = {found.min_rating}",
        ]
    return [*lines, *told, "", *_sizes(figures)]


def _repeats(
    log: dict[str, float], options: PrepareConfig
) -> tuple[list[str], PrepareConfig]:
    """What users take again, as lines and among the options."""
    share, chance = log["returns"], log["chance"]
    lines = [
        f"# {share:.0%} return to an item on another day; {chance:.0%} would "
        "by chance."
    ]
    if share > _MOST or (share > _RETURNS and share > 1.25 * chance):
        lines += [
            "# So users take things again here, and may be offered them again.",
            "repeat_consumption = true",
        ]
        return lines, dataclasses.replace(options, repeat_consumption=True)
    share = log["duplicates"] / log["rows"]
    if share > 0.1:
        lines += [
            f"# {share:.0%} of the interactions are exact repeats of another: "
            "same user, item and time.",
            "# One of each stays; returns to an item at another time stay too;",
            '# "last" drops those too.',
            'repeated = "distinct"',
        ]
        return lines, dataclasses.replace(options, repeated="distinct")
    return lines, options


def _sizes(figures: dict[str, Any]) -> list[str]:
    """Model sizes for as much data as there is, as sections of TOML."""
    rows, users = figures["interactions"], max(figures["users"], 1)
    width = 32 if rows < 50_000 else 64 if rows < 5_000_000 else 128
    length = min(100, max(_SHORTEST, 10 * round(1.5 * rows / users / 10)))
    # On a log of eight interactions a user eight gave a decayed mean 2 % over
    # two, and left attention as it was; on long histories two are better.
    heads = ["num_heads = 8"] if length == _SHORTEST else []
    return [
        "[retrieval]",
        f"# For {rows:,} interactions of {users:,} users with "
        f"{figures['items']:,} items.",
        f"embedding_dim = {width}",
        f"history_length = {length}",
        *heads,
        "",
        "[student]",
        f"history_length = {length}",
    ]


def _name(place: Path) -> str:
    """Name of a run on what lies at a path."""
    stem = place.name.split(".")[0]
    if (stem.lower() in GENERIC or "*" in stem) and place.parent.name:
        stem = place.parent.name
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-._") or "data"


def _is_movielens(path: str) -> bool:
    with files.find(path, "--interactions") as found:
        names = {file.name for file in found}
    return any(layout <= names for layout in MOVIELENS)
