"""What preparing somebody's log once tells: the split and the sizes.

`init-config` and `check` prepare in a directory that is deleted again.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.prepare import step as prepare
from pipeline.tables import sequences
from pipeline.tables.prepared import load, require_questions
from pipeline.tables.schema import (
    FIRST_MOMENT,
    DataError,
    PrepareConfig,
    SourceConfig,
)

# Fewest items of a history that are read.
_SHORTEST = 20


@dataclass(frozen=True)
class _Probe:
    """The part of a config that preparing needs."""

    source: SourceConfig
    prepare: PrepareConfig
    name: str = "check"
    seed: int = 42


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory to prepare in, deleted after the block."""
    directory = Path(tempfile.mkdtemp(prefix="check-"))
    try:
        (directory / ".scratch" / "source").mkdir(parents=True)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def split(
    source: SourceConfig, options: Mapping[str, Any]
) -> tuple[str, list[str], dict[str, Any]]:
    """Chooses the split the data can bear.

    Args:
        source: What to read.
        options: Further ones of `PrepareConfig`.

    Returns:
        Its name; the reasons, one line each; the figures of `prepared`.

    Raises:
        DataError: If the data cannot be used, or leave nobody to test.
    """
    if source.kind == "movielens" or source.timestamp:
        try:
            figures = prepared(source, "temporal", options)
        except DataError as error:
            if "temporal split needs" not in str(error):
                raise
            figures = {}
        if figures and figures["first"] >= 0 and figures["last"] < FIRST_MOMENT:
            reason = "The timestamps are positions or counters, not moments."
        elif figures:
            test = figures["parts"]["test"]
            warm = round(test["users"] * (1.0 - test["cold_users_share"]))
            if warm >= 300 and test["cold_users_share"] <= 0.5:
                return (
                    "temporal",
                    [
                        "Cuts the log at two moments, as in production: train "
                        "on the past,",
                        f"test on the future ({warm:,} users have both).",
                    ],
                    figures,
                )
            reason = (
                f"A cut in time would leave {warm:,} known users to test on "
                f"({test['cold_users_share']:.0%} would be new)."
            )
        else:
            reason = "The timestamps allow no two cuts."
    else:
        reason = "There are no timestamps to cut at."
    figures = prepared(source, "leave_last_out", options)
    if not source.timestamp and figures["sorted_by_item"]:
        return (
            "random",
            [
                "There are no timestamps, and each user's rows are sorted by "
                "the item: the last",
                "one is the highest id, not the latest. So the test is drawn "
                "at random; nothing is",
                "known of the order people take items in.",
            ],
            prepared(source, "random", options),
        )
    return (
        "leave_last_out",
        [reason, "So each user's last interaction is the test."],
        figures,
    )


def prepared(
    source: SourceConfig, split: Any, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Prepares and forgets the tables.

    Args:
        source: What to read.
        split: Name of the split.
        options: Further ones of `PrepareConfig`.

    Returns:
        Their summary, with the number of exact `repeats`, whether users'
        rows are `sorted_by_item`, and the share of `returns` with that by
        chance.

    Raises:
        DataError: If the data cannot be used, or leave nobody to test.
    """
    chosen = PrepareConfig(split=split, **options)
    with scratch() as directory:
        prepare.run(_Probe(source, chosen), directory)
        found = load(directory)
        figures = found.summary
        require_questions(
            split,
            figures["parts"]["test"]["users"],
            figures["users"],
            figures["known_items"],
        )
        return figures | {
            "repeats": _exact_repeats(directory),
            "returns": returns(directory, len(found.items.ids)),
            "sorted_by_item": sorted_by_item(directory, found.items.ids),
        }


def _exact_repeats(directory: Path) -> int:
    """Interactions of the same user, item and second as another one."""
    count = 0
    for block in sequences.iterate(directory):
        # They follow each other: ties are ordered by item.
        same = (np.diff(block.item_indices) == 0) & (
            np.diff(block.timestamps) == 0
        )
        same[block.offsets[1:-1] - 1] = False
        count += int(same.sum())
    return count


def returns(directory: Path, num_items: int) -> tuple[float, float]:
    """How often users take an item again on another day.

    Args:
        directory: Of prepared tables.
        num_items: Rows of their items.

    Returns:
        Share of the days on which a user takes an item that had been taken
        on another day, 0 to 1, and the same if all took as many items at
        random, each as often as it is taken in all.
    """
    counts = np.zeros(num_items, np.int64)
    taken: list[np.ndarray] = []
    again = 0
    for block in sequences.iterate(directory):
        owner = np.repeat(
            np.arange(len(block.offsets) - 1), np.diff(block.offsets)
        )
        day = block.timestamps
        if len(day) and day.max() >= FIRST_MOMENT:
            day = day // 86_400
        # Items that train has not seen have no place of their own.
        known = block.item_indices > 1
        keys = [k[known] for k in (day, block.item_indices, owner)]
        order = np.lexsort(keys)
        day, item, owner = (key[order] for key in keys)
        pair = (np.diff(owner, prepend=-1) != 0) | (
            np.diff(item, prepend=-1) != 0
        )
        new = pair | (np.diff(day, prepend=-1) != 0)
        again += int((new & ~pair).sum())
        counts += np.bincount(item[new], minlength=num_items)
        taken.append(np.unique(owner[new], return_counts=True)[1])
    total = int(counts.sum())
    if not total:
        return 0.0, 0.0
    shares = counts[counts > 0] / total
    # Users of about as many interactions are alike: two digits tell enough.
    lengths = np.concatenate(taken)
    scale = 10 ** np.maximum(np.floor(np.log10(lengths)) - 1, 0)
    sizes, users = np.unique(
        np.rint(lengths / scale) * scale, return_counts=True
    )
    different = [-np.expm1(size * np.log1p(-shares)).sum() for size in sizes]
    chance = 1.0 - float(np.dot(different, users) / np.dot(sizes, users))
    return again / total, chance


def sorted_by_item(directory: Path, ids: np.ndarray) -> bool:
    """Whether users' interactions follow each other by their items' ids.

    Args:
        directory: Of prepared tables.
        ids: Of their items; as numbers where all are.
    """
    known = np.array(ids[2:], dtype=object)
    try:
        keys = known.astype(np.float64)
    except ValueError:
        keys = known.astype(str)
    # Places of 0 and 1 belong to no item.
    rank = np.zeros(len(ids), np.int64)
    rank[2:][np.argsort(keys, kind="stable")] = np.arange(len(known))
    rises = steps = 0
    for block in sequences.iterate(directory):
        change = np.diff(rank[block.item_indices])
        # Items that train has not seen have no place of their own.
        inside = np.minimum(block.item_indices[1:], block.item_indices[:-1]) > 1
        inside[block.offsets[1:-1] - 1] = False
        change = change[inside & (change != 0)]
        rises += int((change > 0).sum())
        steps += len(change)
    share = rises / max(steps, 1)
    return steps >= 20 and max(share, 1.0 - share) > 0.95


def sizes(figures: dict[str, Any]) -> list[str]:
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
