"""Figures of the prepared tables, to keep and to show.

The same pass checks once more, on the files as written and apart from the
expressions that made them, that the parts do not leak into each other.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.run.config import Config
from pipeline.tables import sequences
from pipeline.tables.prepared import Summary, Table
from pipeline.tables.schema import PARTS, TRAIN, DataError, iso


def compute(
    directory: Path,
    tables: Mapping[str, Table],
    cuts: Mapping[str, object],
    config: Config,
) -> Summary:
    """Counts what is in the prepared tables and checks it for leaks.

    Raises:
        DataError: If a part reaches into another, or counts and sequences
            differ.
    """
    items, users = tables["items"], tables["users"]
    split = config.prepare.split
    item_counts = np.zeros((3, len(items.ids)), np.int64)
    user_counts, cold = np.zeros((2, 3), np.int64)
    first = np.full(3, np.iinfo(np.int64).max)
    last = np.full(3, np.iinfo(np.int64).min)
    tied = 0
    for block in sequences.iterate(directory):
        lengths = np.diff(block.offsets)
        owners = np.repeat(np.arange(len(lengths)), lengths)
        by_user = _by_part(block.parts, owners, len(lengths)) > 0
        item_counts += _by_part(block.parts, block.item_indices, len(items.ids))
        user_counts += by_user.sum(axis=1)
        cold += (by_user & ~by_user[TRAIN]).sum(axis=1)
        np.minimum.at(first, block.parts, block.timestamps)
        np.maximum.at(last, block.parts, block.timestamps)
        ends = block.offsets[1:][lengths >= 2] - 1
        same = block.timestamps[ends] == block.timestamps[ends - 1]
        tied += int(same.sum())
    rows = item_counts.sum(axis=1)
    unknown = item_counts[:, items.num_known :].sum(axis=1) + item_counts[:, 1]
    cold_users, cold_items = cold / user_counts.clip(1), unknown / rows.clip(1)
    _check(split, items, item_counts, first, last)
    return {
        "dataset": config.name,
        "split": split,
        "interactions": int(rows.sum()),
        "users": len(users.ids) - 2,
        "items": len(items.ids) - 2,
        "known_users": users.num_known - 2,
        "known_items": items.num_known - 2,
        "first": int(first.min()),
        "last": int(last.max()),
        "cuts": dict(cuts),
        "users_last_two_tied": tied,
        "parts": {
            part: {
                "interactions": int(rows[code]),
                "users": int(user_counts[code]),
                "cold_users_share": float(cold_users[code]),
                "cold_items_share": float(cold_items[code]),
                "first": int(first[code]) if rows[code] else None,
                "last": int(last[code]) if rows[code] else None,
            }
            for code, part in enumerate(PARTS)
        },
        "popularity": _tail(items.counts[TRAIN]),
    }


def _by_part(parts: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """How often each value below `size` is in each part, `[3, size]`."""
    places = parts.astype(np.int64) * size + values
    return np.bincount(places, minlength=3 * size).reshape(3, size)


def _check(
    split: str,
    items: Table,
    item_counts: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
) -> None:
    if not np.array_equal(item_counts[:, 2:], items.counts[:, 2:]):
        raise DataError(
            "Counts of the items must come from the interactions of their "
            "part. Received: counts that differ from the sequences (a leak "
            "in the prepared tables). Please report it with the config."
        )
    if not item_counts[TRAIN].any():
        raise DataError(
            "The train part must have interactions. Received: 0 of "
            f"{int(item_counts.sum()):,} (from [prepare]). Choose another "
            "split or smaller shares."
        )
    for code in (1, 2) if split == "temporal" else ():
        # Of a part without interactions, the first is later than any.
        if last[:code].max() >= first[code]:
            raise DataError(
                f"All of {PARTS[code]} must come after the parts before it. "
                f"Received: {iso(int(first[code]))} in {PARTS[code]}, not "
                f"after {iso(int(last[:code].max()))} (a leak in the "
                "prepared tables). Please report it with the config."
            )


def _tail(counts: np.ndarray) -> dict[str, float]:
    """Share of the train interactions that the most popular items hold."""
    held = np.cumsum(np.sort(counts)[::-1]) / max(int(counts.sum()), 1)
    known = max(int((counts > 0).sum()), 1)
    return {
        f"top_{share:.0%}": float(held[max(1, round(share * known)) - 1])
        for share in (0.01, 0.1, 0.5)
    }


def oracle(ranks: np.ndarray) -> dict[str, float]:
    """Scores of somebody who knows the true distribution of the next item.

    Args:
        ranks: Place of each test interaction, from 0, among all items that
            the user has not had, by their true probability `[num_targets]`.

    Returns:
        Every interaction asked for on its own, given all before it: the best
        any model can reach in expectation.
    """
    hits = ranks < 10
    worth = {
        "recall@10": hits,
        "ndcg@10": hits / np.log2(ranks + 2.0),
        "recall@100": ranks < 100,
    }
    means = {k: float(v.mean()) if v.size else 0.0 for k, v in worth.items()}
    return means | {"targets": float(ranks.size)}


def describe(figures: Summary) -> list[str]:
    """Lines to show on a terminal."""
    lines = [
        f"{figures['interactions']:,} interactions of "
        f"{figures['active_users']:,} users with {figures['active_items']:,} "
        "items "
        f"(density {figures['density']:.2%})",
        f"{iso(figures['first'])} to {iso(figures['last'])}; the most "
        f"popular tenth of the items holds "
        f"{figures['popularity']['top_10%']:.0%} of the train interactions",
        f"{figures['split']} split: {figures['cuts']['rule']}",
        f"  {'part':<11}{'interactions':>13}{'users':>9}{'cold users':>12}"
        f"{'cold items':>12}  from",
    ]
    for part, row in figures["parts"].items():
        since = iso(row["first"]) if row["first"] is not None else "-"
        lines.append(
            f"  {part:<11}{row['interactions']:>13,}{row['users']:>9,}"
            f"{row['cold_users_share']:>12.1%}{row['cold_items_share']:>12.1%}"
            f"  {since}"
        )
    dropped = figures["interactions_read"] - figures["interactions"]
    if dropped > 0:
        lines.append(
            f"{dropped:,} of {figures['interactions_read']:,} interactions "
            "left out by the filters of [prepare]"
        )
    if best := figures.get("oracle"):
        lines.append(
            "best achievable next-item score on the test part, which only "
            f"the generator reaches: recall@10 {best['recall@10']:.4f}, "
            f"ndcg@10 {best['ndcg@10']:.4f}"
        )
    return lines + figures["notes"]
