"""What a config leaves open and the data decide: the one place for "auto".

Every function returns a `Choice`: what was taken, and why in words. Steps
print theirs and keep them as `choices` in their manifest.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from models.config import Encoder, RetrievalConfig
from pipeline.run.release import IndexConfig

T = TypeVar("T")

# Interactions beyond which training reads row groups instead of holding all.
STREAM_ABOVE = 20_000_000
# Interactions beyond which an epoch takes minutes, and training keeps
# checkpoints.
CHECKPOINTS_ABOVE = 2_000_000
# Catalogue sizes up to which a search, or a softmax, goes over all items.
EXACT_BELOW = 10_000
FULL_SOFTMAX_UP_TO = 20_000
# Rows of a table of ids up to which every step updates all of them.
DENSE_UP_TO = 100_000
# Items beyond which one copy of their tables is worth a slower start.
HELD_ABOVE = 100_000
# Users drawn for the validation after each epoch, and the scores for them.
_VALIDATION_USERS, _VALIDATION_WORK = 5_000, 2_000_000_000
# Of each row of an item-item table, and in all rows.
_NEIGHBOURS, _LEAST_NEIGHBOURS, _ENTRIES = 100, 8, 16_000_000
# Lists of ranking, and the scores computed for all of them.
_LISTS, _LIST_WORK = 50_000, 20_000_000_000
# Pairs of items that item-kNN counts in a large catalogue: half a minute.
_PAIRS = 100_000_000
# Users that a baseline's settings are tried on, and the scores for one.
_TUNING_USERS, _TUNING_WORK = 1_000, 250_000_000
# Logits of an epoch up to which all are computed, about two minutes on two
# cores. ML-1M has a third of it.
FULL_WORK = 1e10
_STEPS_PER_EPOCH = 200
_STUDENT_STEPS = 250
# Targets below which encoders are tried instead of taking attention.
_TRY_BELOW = 300_000
# Share of float32's NDCG@10 that a smaller file may lose.
_LOSS = 0.01


@dataclass(frozen=True)
class Choice(Generic[T]):
    """What was taken where a config leaves it open.

    Attributes:
        option: Its section and name.
        value: What was taken.
        why: What it was decided from, in words; "" where the config says so.
    """

    option: str
    value: T
    why: str = ""

    def __str__(self) -> str:
        return f"{self.option} = {self.value}: {self.why}"


def is_streamed(interactions: int) -> Choice[bool]:
    """Whether training reads the log row group by row group."""
    return Choice(
        "retrieval streams",
        interactions > STREAM_ABOVE,
        f"{interactions:,} interactions, above {STREAM_ABOVE:,} it does",
    )


def batch_positions(
    options: RetrievalConfig, num_targets: float
) -> Choice[int]:
    """Targets in a step.

    On ML-100K 512 gave NDCG@10 .126 where 2048 gave .121 in as much time, on a
    log of 30,000 targets 128 gave .088 where 256 gave .082: on small data the
    number of steps counts, on large data the time of each.
    """
    option = "retrieval.batch_positions"
    if options.batch_positions != "auto":
        return Choice(option, options.batch_positions)
    return Choice(
        option,
        _power(num_targets, _STEPS_PER_EPOCH, 7, 12),
        f"{num_targets:,.0f} targets, some {_STEPS_PER_EPOCH} steps an epoch",
    )


def student_batch(num_histories: int) -> Choice[int]:
    """Histories in a step of the student.

    Where there are few the number of steps counts. Of 36,000 (six a user of
    ML-1M) 128 gave a validation NDCG@10 of .112 without a teacher, 64 the
    same, 512 gave .094. ML-100K keeps 512 (.139 without a teacher; 256 gave
    .143 there in 1.15 times the time).
    """
    return Choice(
        "student's batch",
        _power(num_histories, _STUDENT_STEPS, 6, 9),
        f"{num_histories:,} histories, some {_STUDENT_STEPS} steps an epoch",
    )


def _power(count: float, steps: int, least: int, most: int) -> int:
    """The power of 2 that makes about so many steps of a count."""
    wanted = round(math.log2(max(count, 1) / steps))
    return int(2 ** min(max(wanted, least), most))


def loss(
    options: RetrievalConfig, num_items: int, num_targets: float
) -> Choice[str]:
    """ "full" where all logits of an epoch are few enough."""
    if options.loss != "auto":
        return Choice("retrieval.loss", options.loss)
    few = num_items <= FULL_SOFTMAX_UP_TO
    return Choice(
        "retrieval.loss",
        "full" if few and num_items * num_targets <= FULL_WORK else "in_batch",
        f"{num_items:,} items and {num_targets:,.0f} targets; full up to "
        f"{FULL_SOFTMAX_UP_TO:,} and a product of {FULL_WORK:.0e}",
    )


def lazy_rows(
    kind: str, rows: Sequence[int], num_replicas: int
) -> Choice[bool]:
    """Whether a step updates only the rows of id tables that it reads.

    Args:
        kind: Of the loss; the full softmax reads all rows.
        rows: Of each table of ids.
        num_replicas: Copies of the model; each of several reads other rows
            and all update all of them.
    """
    largest = max(rows, default=0)
    if kind == "full":
        why = "the full softmax reads all rows"
    elif num_replicas > 1:
        why = f"{num_replicas} copies of the model read different rows"
    else:
        why = (
            f"{largest:,} rows in the largest table of ids, more than "
            f"{DENSE_UP_TO:,} are"
        )
    is_lazy = kind != "full" and num_replicas == 1 and largest > DENSE_UP_TO
    return Choice("retrieval updates only the rows read", is_lazy, why)


def validation_users(num_items: int) -> Choice[int]:
    """Users of the validation part asked after every epoch."""
    option = "users asked after an epoch"
    return _searches(option, _VALIDATION_USERS, _VALIDATION_WORK, num_items)


def neighbours(num_items: int) -> Choice[int]:
    """Items kept of each row of an item-item table for ranking.

    The tables travel with the exported models, 16 bytes a neighbour in any of
    them: half a gigabyte for a million items.
    """
    kept = min(_NEIGHBOURS, max(_LEAST_NEIGHBOURS, _ENTRIES // num_items))
    why = (
        f"{num_items:,} items, {_NEIGHBOURS} up to {_ENTRIES // _NEIGHBOURS:,}"
    )
    few = kept < _NEIGHBOURS
    return Choice("ranking's neighbours of an item", kept, why if few else "")


def holds(num_items: int) -> Choice[bool]:
    """Whether `recommender` holds the other models, on the same tables.

    A server that has it then needs no second copy of them. Its graph is twice
    as large, and TensorFlow's graph optimizer, where a server runs it, goes
    through all of it for every signature: with 20,000 items a swap of all
    models then took twice as long, for 100 MB less.
    """
    return Choice(
        "recommender holds the other models",
        num_items > HELD_ABOVE,
        f"{num_items:,} items, above {HELD_ABOVE:,} their tables are large"
        if num_items > HELD_ABOVE
        else "",
    )


def lists(num_items: int) -> Choice[int]:
    """Lists that ranking learns from."""
    return _searches("ranking's lists", _LISTS, _LIST_WORK, num_items)


def knn_history(num_items: int, lengths: np.ndarray) -> Choice[int]:
    """Newest items of a history that item-kNN pairs, 0 for all.

    Args:
        lengths: Of the histories `[B]`.
    """
    option = "item-kNN's newest items of a history"
    if num_items <= DENSE_UP_TO:
        return Choice(option, 0)
    # The largest whose pairs stay within the limit; there is a pair at least.
    low, high = 1, max(1, int(lengths.max(initial=0)))
    while low < high:
        middle = (low + high + 1) // 2
        pairs = int((np.minimum(lengths, middle).astype(np.int64) ** 2).sum())
        low, high = (middle, high) if pairs <= _PAIRS else (low, middle - 1)
    if low >= lengths.max(initial=0):
        return Choice(option, 0)
    why = f"{num_items:,} items and {_PAIRS:,} pairs at most"
    return Choice(option, low, why)


def tuning_users(num_items: int) -> Choice[int]:
    """Users of the validation part that baselines are tuned on."""
    option = "users baselines are tuned on"
    return _searches(option, _TUNING_USERS, _TUNING_WORK, num_items)


def _searches(option: str, most: int, work: int, num_items: int) -> Choice[int]:
    """How many exact searches of a catalogue are made at most.

    Args:
        work: Scores of all of them together.
    """
    kept = min(most, max(1, work // num_items))
    why = f"{num_items:,} items, {most:,} up to {work // most:,}"
    return Choice(option, kept, why if kept < most else "")


def encoders(options: RetrievalConfig, num_targets: float) -> Sequence[Encoder]:
    """Those that `base` is trained with, for `encoder` to choose from.

    On MovieLens a decayed mean is ahead of attention where a log is small
    (NDCG@10 on validation: 100,000 interactions .141 against .125) and behind
    where it is large (a million: .185 against .198). Where order decides, as
    on the sample, it can be behind on small ones too (.201 against .217).
    """
    if options.encoder != "auto":
        return [options.encoder]
    return ["bow", "attention"] if num_targets < _TRY_BELOW else ["attention"]


def encoder(
    options: RetrievalConfig, figures: Mapping[Encoder, float]
) -> Choice[Encoder]:
    """The best of those that were tried, the first of equals."""
    best = max(figures, key=lambda name: figures[name])
    if options.encoder != "auto":
        return Choice("retrieval.encoder", best)
    tried = (f"{name} {value:.4f}" for name, value in figures.items())
    why = f"validation NDCG@100 of {', '.join(tried)}"
    if len(figures) == 1:
        why = f"{_TRY_BELOW:,} targets or more, or none to validate with"
    return Choice("retrieval.encoder", best, why)


def index_kind(options: IndexConfig, num_items: int) -> Choice[str]:
    """Below `EXACT_BELOW` items an exact search takes less than twice as long.

    It finds all of the list and needs no op library. `make bench-index`
    measures both at every size.
    """
    if options.kind != "auto":
        return Choice("index.kind", options.kind)
    kind = "exact" if num_items < EXACT_BELOW else "scann"
    why = f"{num_items:,} items; exact below {EXACT_BELOW:,}"
    return Choice("index.kind", kind, why)


class Setting(Protocol):
    """A tree of ScaNN and the effort it takes."""

    @property
    def num_leaves(self) -> int:
        """Of the tree."""

    @property
    def work(self) -> float:
        """Expected microseconds of a query."""

    @property
    def recall(self) -> float:
        """Share of the exact list."""


def index_tree(
    chosen: Setting, tried: Sequence[Setting], floor: float
) -> Choice[int]:
    """The tree that reaches the wanted recall with the least work."""
    trees = {}
    for setting in tried:
        trees[setting.num_leaves] = (
            f"{setting.num_leaves:,} leaves {setting.recall:.3f} in "
            f"{setting.work:,.0f} μs"
        )
    why = f"recall of {', '.join(trees.values())}; wanted {floor}"
    return Choice("index tree", chosen.num_leaves, why)


class Measured(Protocol):
    """A file of the student, with its size."""

    @property
    def bytes(self) -> int:
        """Of the file."""

    @property
    def ndcg_at_10(self) -> float:
        """What it is worth."""


def precision(wanted: str, found: Mapping[str, Measured]) -> Choice[str]:
    """The smallest file within 1 % of float32's NDCG@10."""
    if wanted != "auto":
        return Choice("student.precision", wanted)
    least = found["float32"].ndcg_at_10 * (1 - _LOSS)
    good = [name for name in found if found[name].ndcg_at_10 >= least]
    taken = min(good, key=lambda name: found[name].bytes)
    why = f"the smallest of {', '.join(good)}, within {_LOSS:.0%} of float32"
    return Choice("student.precision", taken, why)
