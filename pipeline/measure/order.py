"""How much a log tells of what comes next, before any model is trained.

For a distance of 1, 2, 3, ... places in a history: how often an item is among
the ten that most often stood so far behind the item before it, counted in
every other user and measured in the rest. A log of which only distance 1
tells something is a Markov chain; one where the shares fall slowly has tastes.

Shape letters: E interactions, N items with the two reserved indices.
"""

from collections.abc import Iterator

import numpy as np

from pipeline.tables.prepared import Prepared

DISTANCES = (1, 2, 3, 5, 10)
LISTED = 10
# Of a longer log the first users alone: a share needs no more.
_MOST_INTERACTIONS = 2_000_000


def measure(prepared: Prepared) -> dict[str, float]:
    """Shares of the interactions that their past foretells, 0 to 1.

    Returns:
        `followers_<distance>`; `popular`, of the ten most popular items;
        and by item feature with values `repeats_<feature>`, interactions that
        share a value with the one before, and `chance_<feature>`, with one
        drawn from the whole log.
    """
    sequences = prepared.sequences()
    offsets = sequences.offsets
    last = int(np.searchsorted(offsets, _MOST_INTERACTIONS, "right")) - 1
    offsets = offsets[: max(last, 1) + 1]
    items = sequences.item_indices[: offsets[-1]].astype(np.int64)
    users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    found = {
        f"followers_{distance}": _foretold(users, items, distance)
        for distance in DISTANCES
    }
    popular = np.argsort(-np.bincount(items), kind="stable")[:LISTED]
    found["popular"] = _share(np.isin(items, popular))
    other = np.random.default_rng(0).permutation(items)
    follows = users[1:] == users[:-1]
    for name, values in _features(prepared):
        shared = _shares_value(values, items[1:], items[:-1])
        found[f"repeats_{name}"] = _share(shared[follows])
        found[f"chance_{name}"] = _share(_shares_value(values, items, other))
    return found


def describe(found: dict[str, float]) -> list[str]:
    """Lines to show on a terminal."""
    shares = ", ".join(
        f"{found[f'followers_{distance}']:.1%} at {distance}"
        for distance in DISTANCES
    )
    lines = [
        f"of what comes next, the {LISTED} items that most often stood as far "
        f"behind an earlier one have {shares} places; the {LISTED} most "
        f"popular have {found['popular']:.1%}"
    ]
    return lines + [
        f"{found[f'repeats_{name}']:.0%} share a value of {name} with the "
        f"interaction before, {found[f'chance_{name}']:.0%} would by chance"
        for name in (
            key.removeprefix("repeats_")
            for key in found
            if key.startswith("repeats_")
        )
    ]


def _foretold(users: np.ndarray, items: np.ndarray, distance: int) -> float:
    """Share of the items that those before them foretell `[E]`."""
    inside = users[distance:] == users[:-distance]
    base = int(items.max(initial=0)) + 1
    pairs = (items[:-distance] * base + items[distance:])[inside]
    counted = users[distance:][inside] % 2 == 0
    known, counts = np.unique(pairs[counted], return_counts=True)
    before = known // base
    # Indices rise as popularity falls: it must not decide between equals.
    drawn = np.random.default_rng(0).permutation(base)[known % base]
    order = np.lexsort((drawn, -counts, before))
    starts = np.flatnonzero(np.diff(before[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    place = np.arange(len(order)) - np.repeat(starts, sizes)
    return _share(np.isin(pairs[~counted], known[order[place < LISTED]]))


def _features(prepared: Prepared) -> Iterator[tuple[str, np.ndarray]]:
    """Item features of which items have values `[N, width]`."""
    for spec in prepared.items.specs:
        if spec.kind in ("categorical", "multi_categorical"):
            values = prepared.items.features[spec.name]
            yield spec.name, values.reshape(len(values), -1)


def _shares_value(
    values: np.ndarray, one: np.ndarray, other: np.ndarray
) -> np.ndarray:
    """Whether two items `[E]` have a value in common."""
    found = np.zeros(len(one), bool)
    for left in values[one].T:
        for right in values[other].T:
            found |= (left == right) & (left > 0)
    return found


def _share(found: np.ndarray) -> float:
    return float(found.mean()) if len(found) else 0.0
