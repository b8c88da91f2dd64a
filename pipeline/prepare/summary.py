"""Figures of the prepared tables, to keep and to show.

The same pass checks once more, on the files as written and apart from the
expressions that made them, that the parts do not leak into each other.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.tables import sequences
from pipeline.tables.prepared import Table
from pipeline.tables.schema import PARTS, TRAIN, DataError, PrepareConfig, iso


def compute(
    directory: Path,
    items: Table,
    users: Table,
    cuts: Mapping[str, object],
    options: PrepareConfig,
    config: Any,
) -> dict[str, Any]:
    """Counts what is in the prepared tables and checks it for leaks.

    Raises:
        DataError: If a part reaches into another, or counts and sequences
            differ.
    """
    rows = np.zeros(3, np.int64)
    user_counts = np.zeros(3, np.int64)
    cold = np.zeros(3, np.int64)
    unknown = np.zeros(3, np.int64)
    first = np.full(3, np.iinfo(np.int64).max)
    last = np.full(3, np.iinfo(np.int64).min)
    item_counts = np.zeros((3, len(items.ids)), np.int64)
    tied = 0
    for block in sequences.iterate(directory):
        lengths = np.diff(block.offsets)
        owner = np.repeat(np.arange(len(lengths)), lengths)
        by_part = np.zeros((3, len(lengths)), np.int64)
        for code in range(3):
            chosen = block.parts == code
            by_part[code] = np.bincount(owner[chosen], minlength=len(lengths))
            item_counts[code] += np.bincount(
                block.item_indices[chosen], minlength=len(items.ids)
            )
            times = block.timestamps[chosen]
            if times.size:
                first[code] = min(first[code], times.min())
                last[code] = max(last[code], times.max())
            unknown[code] += int(
                (block.item_indices[chosen] >= items.num_known).sum()
                + (block.item_indices[chosen] == 1).sum()
            )
        rows += by_part.sum(1)
        user_counts += (by_part > 0).sum(1)
        cold += ((by_part > 0) & (by_part[TRAIN] == 0)).sum(1)
        ends = block.offsets[1:][lengths >= 2] - 1
        tied += int(
            (block.timestamps[ends] == block.timestamps[ends - 1]).sum()
        )
    if not np.array_equal(item_counts[:, 2:], items.counts[:, 2:]):
        raise DataError(
            "Counts of the items must come from the interactions of their "
            "part. Received: counts that differ from the sequences (a leak "
            "in the prepared tables). Please report it with the config."
        )
    if rows[TRAIN] == 0:
        raise DataError(
            "The train part must have interactions. Received: 0 of "
            f"{int(rows.sum()):,} (from [prepare]). Choose another split or "
            "smaller shares."
        )
    _check_cuts(options.split, rows, first, last)
    total = int(rows.sum())
    num_users, num_items = len(users.ids) - 2, len(items.ids) - 2
    return {
        "dataset": config.name,
        "split": options.split,
        "interactions": total,
        "users": num_users,
        "items": num_items,
        "known_users": users.num_known - 2,
        "known_items": items.num_known - 2,
        "first": int(first[rows > 0].min()),
        "last": int(last[rows > 0].max()),
        "cuts": dict(cuts),
        "users_last_two_tied": tied,
        "parts": {
            part: {
                "interactions": int(rows[code]),
                "users": int(user_counts[code]),
                "cold_users_share": float(
                    cold[code] / max(user_counts[code], 1)
                ),
                "cold_items_share": float(unknown[code] / max(rows[code], 1)),
                "first": int(first[code]) if rows[code] else None,
                "last": int(last[code]) if rows[code] else None,
            }
            for code, part in enumerate(PARTS)
        },
        "popularity": _tail(items.counts[TRAIN]),
    }


def _check_cuts(
    split: str, rows: np.ndarray, first: np.ndarray, last: np.ndarray
) -> None:
    if split != "temporal":
        return
    for code in (1, 2):
        if rows[code] and last[:code].max() >= first[code]:
            raise DataError(
                f"All of {PARTS[code]} must come after the parts before it. "
                f"Received: {iso(int(first[code]))} in {PARTS[code]}, not "
                f"after {iso(int(last[:code].max()))} (a leak in the "
                "prepared tables). Please report it with the config."
            )


def _tail(counts: np.ndarray) -> dict[str, float]:
    """Share of the train interactions that the most popular items hold."""
    ordered = np.sort(counts)[::-1]
    total = max(int(ordered.sum()), 1)
    known = max(int((ordered > 0).sum()), 1)
    return {
        f"top_{share:.0%}": float(
            ordered[: max(1, round(share * known))].sum() / total
        )
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
    gains = hits / np.log2(ranks + 2.0)
    return {
        "recall@10": float(hits.mean()) if ranks.size else 0.0,
        "ndcg@10": float(gains.mean()) if ranks.size else 0.0,
        "recall@100": float((ranks < 100).mean()) if ranks.size else 0.0,
        "targets": float(ranks.size),
    }


def describe(figures: Mapping[str, Any]) -> list[str]:
    """Lines to show on a terminal."""
    # Those with interactions; tables prepared earlier tell only of all.
    active = {
        name: figures.get(f"active_{name}", figures[name])
        for name in ("users", "items")
    }
    lines = [
        f"{figures['interactions']:,} interactions of {active['users']:,} "
        f"users with {active['items']:,} items "
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
    dropped = figures.get("interactions_read", 0) - figures["interactions"]
    if dropped > 0:
        lines.append(
            f"{dropped:,} of {figures['interactions_read']:,} interactions "
            "left out by the filters of [prepare]"
        )
    if "oracle" in figures:
        best = figures["oracle"]
        lines.append(
            "best achievable next-item score on the test part, which only "
            "the generator reaches: "
            + ", ".join(
                f"{name} {best[name]:.4f}" for name in ("recall@10", "ndcg@10")
            )
        )
    return lines + list(figures.get("notes", []))
