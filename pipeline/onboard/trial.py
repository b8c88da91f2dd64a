"""What preparing somebody's log tells: its figures and the split.

`init-config` and `check` prepare in a directory that is deleted again.
"""

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import sources
from pipeline.prepare import engine as engines
from pipeline.prepare import step
from pipeline.run.config import Config
from pipeline.run.data import PrepareConfig, Source, is_timed
from pipeline.sources.canonical.tables import Tables
from pipeline.tables import sequences
from pipeline.tables.prepared import load, require_questions
from pipeline.tables.schema import FIRST_MOMENT, DataError


@dataclass(frozen=True)
class Trial:
    """A source that is read once and prepared as often as needed.

    Attributes:
        source: What was read.
        seed: Of every random choice.
        tables: Of the source.
        directory: To prepare in.
    """

    source: Source
    seed: int
    tables: Tables
    directory: Path

    def figures(self, options: PrepareConfig) -> dict[str, Any]:
        """Prepares and forgets the tables.

        Args:
            options: Filters and split.

        Returns:
            Their summary, with the number of exact `repeats`, whether users'
            rows are `sorted_by_item`, and the share of `returns` with that by
            chance.

        Raises:
            DataError: If the data cannot be used, or leave nobody to test.
        """
        config = Config("check", self.seed, source=self.source, prepare=options)
        with tempfile.TemporaryDirectory(dir=self.directory) as place:
            directory = Path(place)
            (directory / ".scratch").mkdir()
            with engines.open_engine(options, directory / ".scratch") as engine:
                step.write(config, self.tables, engine, directory)
            found = load(directory)
            figures = found.summary
            require_questions(
                options.split,
                figures["parts"]["test"]["users"],
                figures["users"],
                figures["known_items"],
            )
            return figures | _habits(directory, found.items.ids)


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
    tried: Trial, options: PrepareConfig
) -> tuple[PrepareConfig, list[str], dict[str, Any]]:
    """Chooses the split the data can bear.

    Args:
        tried: Of the source.
        options: Filters.

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
            reasons = [
                "Cuts the log at two moments, as in production: train on the "
                "past,",
                reason,
            ]
            return options, reasons, figures
    options = dataclasses.replace(options, split="leave_last_out")
    figures = tried.figures(options)
    if not timed and figures["sorted_by_item"]:
        reasons = [
            "There are no timestamps, and each user's rows are sorted by the "
            "item: the last",
            "one is the highest id, not the latest. So the test is drawn at "
            "random; nothing is",
            "known of the order people take items in.",
        ]
        options = dataclasses.replace(options, split="random")
        return options, reasons, tried.figures(options)
    reasons = [reason, "So each user's last interaction is the test."]
    return options, reasons, figures


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


def _habits(directory: Path, ids: np.ndarray) -> dict[str, Any]:
    """What users repeat, and in which order their items come.

    Args:
        directory: Of prepared tables.
        ids: Of their items; as numbers where all are.

    Returns:
        `repeats`: Interactions of the same user, item and second as another.
        `returns`: Share of the days on which a user takes an item that had
        been taken on another day, 0 to 1, and the same if all took as many
        items at random, each as often as it is taken in all.
        `sorted_by_item`: Whether users' interactions follow each other by
        their items' ids.
    """
    rank = _ranks(ids)
    counts = np.zeros(len(ids), np.int64)
    taken: list[np.ndarray] = []
    repeats = again = rises = steps = 0
    for block in sequences.iterate(directory):
        items, day = block.item_indices, block.timestamps
        users = np.arange(len(block.offsets) - 1)
        owner = np.repeat(users, np.diff(block.offsets))
        inside = np.diff(owner) == 0
        # They follow each other: ties are ordered by item.
        same = (np.diff(items) == 0) & (np.diff(day) == 0)
        repeats += int((inside & same).sum())
        # Items that train has not seen have no place of their own.
        inside &= np.minimum(items[1:], items[:-1]) > 1
        change = np.diff(rank[items])[inside]
        rises += int((change > 0).sum())
        steps += int((change != 0).sum())
        if day.max(initial=0) >= FIRST_MOMENT:
            day = day // 86_400
        keys = [key[items > 1] for key in (day, items, owner)]
        order = np.lexsort(keys)
        day, items, owner = (key[order] for key in keys)
        pair = (np.diff(owner, prepend=-1) != 0) | (
            np.diff(items, prepend=-1) != 0
        )
        new = pair | (np.diff(day, prepend=-1) != 0)
        again += int((new & ~pair).sum())
        counts += np.bincount(items[new], minlength=len(ids))
        taken.append(np.unique(owner[new], return_counts=True)[1])
    share = rises / max(steps, 1)
    total = int(counts.sum())
    returns = (again / total, _chance(counts, taken)) if total else (0.0, 0.0)
    return {
        "repeats": repeats,
        "returns": returns,
        "sorted_by_item": steps >= 20 and max(share, 1.0 - share) > 0.95,
    }


def _chance(counts: np.ndarray, taken: list[np.ndarray]) -> float:
    """Share of returns if all took as many items at random.

    Args:
        counts: How often each item is taken `[num_items]`.
        taken: Items that each user takes, in blocks of users.
    """
    shares = counts[counts > 0] / counts.sum()
    # Users of about as many interactions are alike: two digits tell enough.
    lengths = np.concatenate(taken)
    scale = 10 ** np.maximum(np.floor(np.log10(lengths)) - 1, 0)
    sizes, users = np.unique(
        np.rint(lengths / scale) * scale, return_counts=True
    )
    different = [-np.expm1(size * np.log1p(-shares)).sum() for size in sizes]
    return float(1.0 - np.dot(different, users) / np.dot(sizes, users))


def _ranks(ids: np.ndarray) -> np.ndarray:
    """Place of each item in the order of the ids, which 0 and 1 have not."""
    known = np.array(ids[2:], dtype=object)
    try:
        keys = known.astype(np.float64)
    except ValueError:
        keys = known.astype(str)
    rank = np.zeros(len(ids), np.int64)
    rank[2:][np.argsort(keys, kind="stable")] = np.arange(len(known))
    return rank
