"""Ranking metrics over recommended lists: exact, vectorised, pure NumPy.

What enters: lists of item indices, best first, and for each list the set of
items that would have been right. What leaves: one value a list, so that means,
intervals and paired differences are taken over the same queries.

Two rules keep a broken model from looking good. Ties inside a list never
favour a hit: among equal scores the hits count as last. Ties at the end of a
list are cut at random, so a model that scores everything alike finds about
K of N items, not all of them.

Shape letters: B lists, K positions, N scored items.
"""

import numpy as np

from models.config import PADDING
from pipeline.tables.ragged import Ragged

_BOOTSTRAP_BLOCK = 64
# Columns of a wide row that are looked at together first.
_GROUP = 64


def top_k(
    scores: np.ndarray, k: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Picks the best k items of every row; ties are cut at random.

    Args:
        scores: `[B, N]`; -inf and NaN mark what must not be recommended.
        seed: Of the order in which ties are cut.

    Returns:
        Scores and item indices `[B, k]`, descending; where fewer than k items
        may be recommended the rest is index 0 with score -inf.
    """
    num_items = scores.shape[1]
    turn = np.random.default_rng(seed).permutation(num_items)
    # Ascending costs, and NaN is the largest.
    costs = np.fmax(scores, -np.inf)
    np.negative(costs, out=costs)
    k_found = min(k, num_items)
    if k_found < num_items:
        best = _smallest(costs, k_found)
        last = np.take_along_axis(costs, best, axis=1).max(axis=1)
        more = (costs <= last[:, None]).sum(axis=1) > k_found
        for row in np.flatnonzero(more & np.isfinite(last)):
            sure = np.flatnonzero(costs[row] < last[row])
            tied = np.flatnonzero(costs[row] == last[row])
            tied = tied[np.argsort(turn[tied])]
            best[row] = np.concatenate([sure, tied])[:k_found]
    else:
        best = np.broadcast_to(np.arange(num_items), costs.shape)
    found = np.take_along_axis(costs, best, axis=1)
    ranked = np.lexsort([turn[best], found], axis=1)
    found = -np.take_along_axis(found, ranked, axis=1)
    items = np.take_along_axis(best, ranked, axis=1)
    items = np.where(np.isneginf(found), PADDING, items)
    missing = ((0, 0), (0, k - k_found))
    return (
        np.pad(found, missing, constant_values=-np.inf),
        np.pad(items, missing, constant_values=PADDING).astype(np.int32),
    )


def _smallest(costs: np.ndarray, k: int) -> np.ndarray:
    """Places of the k smallest of each row `[B, k]`, in any order.

    In wide rows the k groups of columns with the smallest minima hold them,
    and only those are sorted; of equal ones at the end it may take others.
    """
    width = costs.shape[1] // _GROUP * _GROUP
    if width < 2 * k * _GROUP:
        return np.argpartition(costs, k - 1, axis=1)[:, :k]
    # A group's columns lie far apart, so that NumPy takes minima of stretches,
    # several at once, and not of a few neighbours at a time.
    groups = costs[:, :width].reshape(len(costs), _GROUP, -1).min(axis=1)
    chosen = np.argpartition(groups, k - 1, axis=1)[:, :k, np.newaxis]
    inside = chosen + np.arange(_GROUP) * (width // _GROUP)
    inside = inside.reshape(len(costs), -1)
    rest = np.arange(width, costs.shape[1])
    rest = np.broadcast_to(rest, (len(costs), len(rest)))
    places = np.concatenate([inside, rest], axis=1)
    found = np.take_along_axis(costs, places, axis=1)
    best = np.argpartition(found, k - 1, axis=1)[:, :k]
    return np.take_along_axis(places, best, axis=1)


def find_hits(
    recommended: np.ndarray,
    relevant: Ragged,
    scores: np.ndarray | None = None,
) -> np.ndarray:
    """Marks the recommended items that are relevant.

    An item repeated in a list counts where it stands first; padding never
    counts.

    Args:
        recommended: Item indices `[B, K]`, best first, 0 where empty.
        relevant: Distinct relevant items, B rows.
        scores: Scores of `recommended` `[B, K]`. When given, hits among equal
            neighbouring scores are moved behind the misses.

    Returns:
        bool `[B, K]`.
    """
    width = 1 + max(
        int(recommended.max(initial=0)), int(relevant.items.max(initial=0))
    )
    rows = np.arange(len(recommended), dtype=np.int64)[:, None]
    keys = rows * width + recommended
    known = np.sort(
        relevant.row_of_item * width + relevant.items.astype(np.int64)
    )
    if not len(known):
        return np.zeros(recommended.shape, bool)
    place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    hits = (known[place] == keys) & (recommended > PADDING)
    first = np.zeros(keys.size, bool)
    first[np.unique(keys.ravel(), return_index=True)[1]] = True
    hits &= first.reshape(keys.shape)
    if scores is None:
        return hits
    differs = scores[:, 1:] != scores[:, :-1]
    group = np.concatenate(
        [np.zeros((len(hits), 1), np.int64), np.cumsum(differs, axis=1)],
        axis=1,
    )
    order = np.argsort(2 * group + hits, axis=1, kind="stable")
    return np.take_along_axis(hits, order, axis=1)


def recall_at_k(
    hits: np.ndarray, num_relevant: np.ndarray, k: int
) -> np.ndarray:
    """Share of the relevant items found in the first k places, `[B]`."""
    return hits[:, :k].sum(axis=1) / np.maximum(num_relevant, 1)


def ndcg_at_k(hits: np.ndarray, num_relevant: np.ndarray, k: int) -> np.ndarray:
    """Discounted gain over the best possible for as many items, `[B]`."""
    discounts = 1.0 / np.log2(np.arange(k) + 2.0)
    found = hits[:, :k]
    gain = found @ discounts[: found.shape[1]]
    ideal = np.concatenate([[1.0], np.cumsum(discounts)])
    best = np.clip(num_relevant, 0, k)
    ideal[0] = 1.0  # No relevant item: gain is 0, whatever it is divided by.
    return gain / ideal[best]


def mrr(hits: np.ndarray) -> np.ndarray:
    """One over the place of the first hit, 0 without one, `[B]`."""
    first = hits.argmax(axis=1)
    return np.where(hits.any(axis=1), 1.0 / (first + 1.0), 0.0)


def summarise(
    hits: np.ndarray, num_relevant: np.ndarray, cutoffs: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Every metric of every list.

    Returns:
        `recall@k` and `ndcg@k` for each cut-off and `mrr`, each `[B]`.
    """
    values = {"mrr": mrr(hits)}
    for k in cutoffs:
        values[f"recall@{k}"] = recall_at_k(hits, num_relevant, k)
        values[f"ndcg@{k}"] = ndcg_at_k(hits, num_relevant, k)
    return values


def means(
    hits: np.ndarray, num_relevant: np.ndarray, cutoffs: tuple[int, ...] = (10,)
) -> dict[str, float]:
    """Mean `ndcg@k` and `recall@k` of all lists for each cut-off."""
    return {
        name: float(values.mean()) if len(hits) else 0.0
        for name, values in summarise(hits, num_relevant, cutoffs).items()
        if name != "mrr"
    }


def bootstrap_means(
    values: np.ndarray, num_samples: int, seed: int
) -> np.ndarray:
    """Means of resampled values, `[num_samples]`."""
    random = np.random.default_rng(seed)
    means = []
    for start in range(0, num_samples, _BOOTSTRAP_BLOCK):
        size = (min(_BOOTSTRAP_BLOCK, num_samples - start), len(values))
        means.append(values[random.integers(len(values), size=size)].mean(1))
    return np.concatenate(means)


def interval(
    values: np.ndarray, num_samples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of the mean."""
    means = bootstrap_means(values, num_samples, seed)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def paired_difference(
    values: np.ndarray,
    reference: np.ndarray,
    num_samples: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """Mean of `values - reference` over the same queries, with its interval.

    Returns:
        `difference`, `low` and `high` (95 %), `p_value` (two-sided, share of
        resamples on the other side of zero) and `ratio` of the means (0 when
        the reference scores nothing).
    """
    differences = values - reference
    means = bootstrap_means(differences, num_samples, seed)
    low, high = np.percentile(means, [2.5, 97.5])
    tail = min((means <= 0).mean(), (means >= 0).mean())
    base = reference.mean()
    return {
        "difference": differences.mean(),
        "low": low,
        "high": high,
        "p_value": min(1.0, 2 * max(tail, 1 / num_samples)),
        "ratio": values.mean() / base if base else 0.0,
    }
