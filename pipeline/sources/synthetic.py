"""The embedded sample: a catalogue and its viewers, with planted structure.

Who takes what next is drawn from a distribution that is known exactly:

    P(next) = order_strength * follow(last 3 items) + rest * taste(user, time)

`follow` puts its mass on the sequel of a recent item and on a few
neighbours. `taste` is popularity with a long tail and a boost for new
releases, times how near a film is to what the user likes: genres for good,
and what was taken lately, which every film moves a little towards itself.
Nobody takes an item twice, or before its release. With
`planted = "none"` every draw is uniform: whatever a model then finds beyond
chance is an error of the measurement.

Because P is known, so is the best score any model can reach: `best_rank`, the
place of each interaction when the catalogue is sorted by P, is kept for it.

Shapes: `num_users`, `num_items`, `num_genres`, `num_events`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.run.data import SyntheticSource
from pipeline.sources import films
from pipeline.sources.canonical.tables import Tables
from pipeline.sources.films import Catalogue

DAY = 86_400
START = 1_577_836_800  # 2020-01-01
PERIOD_DAYS = 540
NUM_LAGS = 3
LAG_WEIGHTS = (0.65, 0.25, 0.10)
# Set so that the log is like MovieLens 100K and 1M in what
# pipeline/MEASURED.md has of them, and never by the score of a model.
# Share of choices that follow from the previous items (sequels, neighbours)
# instead of from taste.
ORDER_STRENGTH = 0.14
LASTING = 1.0
PASSING = 14.0
# How much of passing likes is left after one more film.
PASSING_DECAY = 0.8


@dataclass(frozen=True)
class Log:
    """Generated interactions, ordered by user and time.

    Attributes:
        users: Row of the user, int64 `[num_events]`.
        items: Row of the item, int64 `[num_events]`.
        timestamps: Seconds, int64 `[num_events]`, rising in a user.
        ratings: 1 to 5, float32 `[num_events]`.
        best_rank: Place of the item, from 0, among all items by their true
            probability at that moment, int64 `[num_events]`.
        ages: Of the users in years, int64 `[num_users]`.
        regions: Of the users, text `[num_users]`.
    """

    users: np.ndarray
    items: np.ndarray
    timestamps: np.ndarray
    ratings: np.ndarray
    best_rank: np.ndarray
    ages: np.ndarray
    regions: np.ndarray


def read(source: SyntheticSource, seed: int, directory: Path) -> Tables:
    """Writes the canonical tables of the sample: one seed, the same files."""
    items = films.make(source.num_items, seed, source.planted == "all")
    log = generate(source, items, seed)
    item_ids = np.array([f"i{row:05d}" for row in range(source.num_items)])
    user_ids = np.array([f"u{row:06d}" for row in range(source.num_users)])
    pairs = {"user_id": user_ids[log.users], "item_id": item_ids[log.items]}
    paths = {}
    for name, columns in {
        "interactions": pairs
        | {"timestamp": log.timestamps, "rating": log.ratings},
        "items": {
            "item_id": item_ids,
            "title_shown": items.titles,
            "genres": items.genre_names(),
            "year": items.years.astype(np.float64),
            "title": items.titles,
        },
        "users": {
            "user_id": user_ids,
            "age": log.ages.astype(np.float64),
            "region": log.regions,
        },
        "oracle": pairs | {"best_rank": log.best_rank},
    }.items():
        paths[name] = directory / f"{name}.parquet"
        pq.write_table(pa.table(columns), paths[name])
    return Tables(
        interactions=paths["interactions"],
        items=paths["items"],
        users=paths["users"],
        oracle=paths["oracle"],
        item_features={
            "genres": "multi_categorical",
            "year": "numeric",
            "title": "text",
        },
        user_features={"age": "numeric", "region": "categorical"},
        has_rating=True,
    )


def generate(source: SyntheticSource, items: Catalogue, seed: int) -> Log:
    """Draws the interactions of all users.

    Blocks of users have generators of their own, derived from the seed.
    """
    block = max(64, 2_000_000 // source.num_items)
    logs = [
        _generate_block(
            source,
            items,
            min(block, source.num_users - first),
            first,
            np.random.default_rng([seed, 1, first]),
        )
        for first in range(0, source.num_users, block)
    ]
    return Log(
        *(
            np.concatenate([getattr(log, name) for log in logs])
            for name in Log.__dataclass_fields__
        )
    )


def _generate_block(
    source: SyntheticSource,
    items: Catalogue,
    num_users: int,
    first: int,
    rng: np.random.Generator,
) -> Log:
    lengths = _lengths(source, num_users, rng)
    ages = rng.integers(15, 75, num_users)
    region_codes = rng.integers(0, len(films.REGIONS), num_users)
    lasting = _tastes(items, ages, region_codes, rng)
    passing = lasting.copy()
    # Visits of a user spread over months, so that a cut in time finds users
    # on both sides of it.
    gaps = rng.exponential(4.0, (num_users, lengths.max())) + 0.01
    begin = rng.uniform(0.0, PERIOD_DAYS * 0.8, num_users)
    days = begin[:, None] + np.cumsum(gaps, 1)
    taken = np.zeros((num_users, source.num_items), bool)
    recent = np.full((num_users, NUM_LAGS), -1)
    drawn: list[tuple[np.ndarray, ...]] = []
    for step in range(lengths.max()):
        there = np.flatnonzero(lengths > step)
        now = days[there, step]
        if source.planted == "all":
            likes = LASTING * lasting[there] + PASSING * passing[there]
            weights, affinity = _probabilities(
                items, likes, now, taken[there], recent[there]
            )
        else:
            weights = (~taken[there]).astype(np.float64)
            weights /= weights.sum(1, keepdims=True)
            affinity = np.zeros_like(weights)
        chosen, rank, ratings = _choices(weights, affinity, rng)
        seconds = START + (now * DAY).astype(np.int64)
        drawn.append((there + first, chosen, seconds, ratings, rank))
        taken[there, chosen] = True
        recent[there] = np.c_[chosen, recent[there, :-1]]
        moved = items.likeness[chosen] - passing[there]
        passing[there] += (1.0 - PASSING_DECAY) * moved
    columns = [np.concatenate(column) for column in zip(*drawn, strict=True)]
    order = np.lexsort((columns[2], columns[0]))
    users, chosen, seconds, ratings, rank = (c[order] for c in columns)
    regions = np.array(films.REGIONS)[region_codes]
    return Log(users, chosen, seconds, ratings, rank, ages, regions)


def _choices(
    weights: np.ndarray, affinity: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One item a user, its place and rating.

    Probabilities and affinities of the items are `[users, num_items]`.
    """
    cumulative = np.cumsum(weights, 1)
    point = rng.random((len(weights), 1)) * cumulative[:, -1:]
    chosen = np.minimum((cumulative <= point).sum(1), weights.shape[1] - 1)
    rows = np.arange(len(weights))
    own = weights[rows, chosen][:, None]
    # Equal probabilities share their places evenly.
    ties = (weights == own).sum(1)
    rank = (weights > own).sum(1) + rng.integers(0, ties)
    rating = 2.2 + 3.0 * affinity[rows, chosen]
    rating = rating + rng.normal(0.0, 0.8, len(rows))
    return chosen, rank, np.clip(np.rint(rating), 1, 5).astype(np.float32)


def _lengths(
    source: SyntheticSource, num_users: int, rng: np.random.Generator
) -> np.ndarray:
    """Interactions of each user: many short, few long, none below 2."""
    spread = 0.6
    lengths = rng.lognormal(
        np.log(source.interactions_per_user) - spread**2 / 2, spread, num_users
    )
    longest = min(5 * source.interactions_per_user, source.num_items // 2)
    return np.clip(np.rint(lengths), 2, longest).astype(np.int64)


def _tastes(
    items: Catalogue,
    ages: np.ndarray,
    regions: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """What each user likes for good, of length 1 `[users, WIDTH]`."""
    num_genres = len(films.GENRES)
    taste = np.zeros((len(ages), num_genres))
    rows = np.arange(len(ages))
    # Two likes are the user's own, one goes with age and region.
    own = rng.choice(num_genres, (2, len(ages)), p=films.genre_shares())
    taste[rows, own[0]] = 1.0
    taste[rows, own[1]] = 0.8
    taste[rows, (ages // 15 + 3 * regions) % num_genres] = 0.9
    return films.unit(taste @ items.genre_likeness)


def _probabilities(
    items: Catalogue,
    likes: np.ndarray,
    days: np.ndarray,
    taken: np.ndarray,
    recent: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The true distribution of the next item.

    Args:
        items: The catalogue.
        likes: Lasting and passing together `[users, WIDTH]`.
        days: Since the start of the period `[users]`.
        taken: `[users, num_items]`.
        recent: Last items, -1 for none `[users, NUM_LAGS]`.

    Returns:
        Probabilities, and how much each item is liked, at most 1,
        `[users, num_items]` each.
    """
    age = days[:, None] - items.release_days[None, :]
    free = ~taken & (age >= 0)
    affinity = likes @ items.likeness.T
    weights = np.exp(affinity) * items.popularity * free
    new = items.release_days > 0
    weights[:, new] *= 1.0 + 4.0 * np.exp(-np.abs(age[:, new]) / 30.0)
    weights /= weights.sum(1, keepdims=True)
    follow = np.zeros_like(weights)
    rows = np.arange(len(likes))
    for lag in range(NUM_LAGS):
        known = recent[:, lag] >= 0
        for slot in range(items.followers.shape[1]):
            target = items.followers[recent[known, lag], slot]
            mass = LAG_WEIGHTS[lag] * films.FOLLOW_WEIGHTS[slot]
            follow[rows[known], target] += mass * (target >= 0)
    follow *= free
    total = follow.sum(1, keepdims=True)
    share = ORDER_STRENGTH * (total > 0)
    follow /= np.where(total > 0, total, 1.0)
    affinity /= LASTING + PASSING
    return share * follow + (1.0 - share) * weights, affinity
