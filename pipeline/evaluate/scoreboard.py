"""Turns lists of recommendations into the figures of an evaluation.

Every model's lists answer the same queries, so means, intervals, slices and
paired differences are taken over the same users. Slices: `warm` and `cold`
queries (with and without history), `untied` (the order of the target is
known), `new_items` (targets without train interactions), `popularity_1`
(rarest tenth of the items) to `popularity_10`.

Shape letters: Q queries, K places, N items with the two reserved indices.
"""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from models.config import FIRST_ITEM
from pipeline.evaluate import evaluation
from pipeline.evaluate.evaluation import HEADLINE, Difference, Row, Sanity
from pipeline.measure import metrics, requests
from pipeline.measure.requests import Requests
from pipeline.measure.search import Answer
from pipeline.tables.prepared import Prepared
from pipeline.tables.ragged import Ragged
from pipeline.tables.schema import TRAIN

CUTOFFS = (10, 100)
# Places that an overlap, a coverage or an agreement looks at.
LISTED = 10
ALL_QUERIES = slice(None)
_NUM_DECILES = 10
_NUM_PAIRS = 2_000
# Every metric of every query, [Q] each.
Values: TypeAlias = dict[str, np.ndarray]


class Board:
    """Turns lists of recommendations into figures, over the same queries.

    Args:
        asked: The queries with their targets.
        prepared: Counts for the slices.
        num_samples: Resamples behind each interval.
    """

    def __init__(
        self, asked: Requests, prepared: Prepared, num_samples: int, seed: int
    ) -> None:
        self._asked = asked
        self._num_samples = num_samples
        self._seed = seed
        self._num_items = len(prepared.items.ids) - FIRST_ITEM
        self._counts = prepared.items.counts[TRAIN]
        lengths = asked.histories.lengths
        self._slices = {"warm": lengths > 0, "cold": lengths == 0}
        if prepared.split == "leave_last_out":
            self._slices["untied"] = requests.untied(asked, prepared)

    def values(self, answer: Answer) -> Values:
        """Every metric of every query."""
        return _measure(answer, self._asked.relevant, self._asked.num_relevant)

    def rows(self, model: str, answer: Answer) -> Iterator[Row]:
        """The rows of one model: everything, then every slice."""
        values = self.values(answer)
        pooled = np.average(
            values["recall@100"], weights=self._asked.num_relevant
        )
        yield evaluation.Whole(
            model,
            evaluation.ALL,
            len(self._asked),
            ndcg_at_10_interval=self.interval(values["ndcg@10"]),
            recall_at_10_interval=self.interval(values["recall@10"]),
            recall_at_100_interval=self.interval(values["recall@100"]),
            coverage_at_10=coverage(answer[1], self._num_items),
            pooled_recall_at_100=figure(pooled),
            **_means(values),
        )
        for name, chosen in self._slices.items():
            if chosen.any():
                yield _row(model, name, values, chosen)
        for name, items in self._item_slices().items():
            relevant = _restrict(self._asked.relevant, items)
            if len(relevant.items):
                found = _measure(answer, relevant, relevant.lengths)
                yield _row(model, name, found, relevant.lengths > 0)

    def differences(
        self,
        answers: dict[str, Answer],
        rivals: tuple[str, ...],
        fair: np.ndarray | slice = ALL_QUERIES,
    ) -> tuple[Difference, ...]:
        """Paired differences that decide whether a stage earns its place.

        Against the live version in every metric: the gate asks for any.

        Args:
            answers: By row name.
            rivals: Names of the baselines.
            fair: Queries that the live version could answer, bool `[Q]`.
        """
        values = {name: self.values(answers[name]) for name in answers}
        best = max(rivals, key=lambda name: values[name][HEADLINE].mean())
        pairs = [
            ("two_stage", "retrieval", HEADLINE),
            ("two_stage", best, HEADLINE),
            ("retrieval", best, HEADLINE),
        ]
        if "live" in values:
            pairs += [
                ("two_stage", "live", metric) for metric in values["live"]
            ]
        if "student" in values:
            pairs += [
                ("student", "two_stage", HEADLINE),
                ("student", best, HEADLINE),
            ]
        if "student_undistilled" in values:
            pairs.append(("student", "student_undistilled", HEADLINE))
        found = []
        for model, against, metric in pairs:
            chosen = fair if against == "live" else ALL_QUERIES
            difference = metrics.paired_difference(
                values[model][metric][chosen],
                values[against][metric][chosen],
                self._num_samples,
                self._seed,
            )
            figures = {name: figure(of) for name, of in difference.items()}
            found.append(Difference(model, against, metric, **figures))
        return tuple(found)

    def asks_new_items(self) -> np.ndarray:
        """Queries with a target without train interactions, bool `[Q]`."""
        new = _restrict(self._asked.relevant, self._item_slices()["new_items"])
        return new.lengths > 0

    def sanity(
        self, answers: dict[str, Answer], embeddings: np.ndarray
    ) -> Sanity:
        """Whether users get lists of their own, and targets matter."""
        norms = np.linalg.norm(embeddings[FIRST_ITEM:], axis=1)
        rng = np.random.default_rng(self._seed)
        shuffled = self._asked.relevant.take(rng.permutation(len(self._asked)))
        found = _measure(answers["two_stage"], shuffled, shuffled.lengths)
        return Sanity(
            {
                name: figure(_overlap(answers[name][1][:, :LISTED], rng), 4)
                for name in ("two_stage", "retrieval", "popularity")
            },
            evaluation.Norm(
                figure(norms.mean(), 4),
                figure(norms.std(), 4),
                figure((norms < 1e-6).mean(), 4),
            ),
            figure(found[HEADLINE].mean()),
        )

    def interval(self, values: np.ndarray) -> evaluation.Interval:
        """The 95 % interval of the mean of some queries' values."""
        low, high = metrics.interval(values, self._num_samples, self._seed)
        return figure(low), figure(high)

    def _item_slices(self) -> dict[str, np.ndarray]:
        """Items of each slice, bool `[N]`."""
        slices = {"new_items": self._counts == 0}
        slices["new_items"][:FIRST_ITEM] = False
        known = np.flatnonzero(self._counts > 0)
        known = known[np.argsort(self._counts[known], kind="stable")]
        for place, chosen in enumerate(np.array_split(known, _NUM_DECILES), 1):
            slices[f"popularity_{place}"] = np.isin(
                np.arange(len(self._counts)), chosen
            )
        return slices


def figure(value: float | np.floating, digits: int = 5) -> float:
    """A figure as the evaluation keeps it."""
    return round(float(value), digits)


def coverage(items: np.ndarray, num_items: int) -> float:
    """Share of `num_items` items that the lists `[Q, K]` begin with."""
    shown = np.setdiff1d(items[:, :LISTED], [0])
    return figure(len(shown) / max(num_items, 1))


def _measure(answer: Answer, relevant: Ragged, counts: np.ndarray) -> Values:
    scores, items = answer
    hits = metrics.find_hits(items, relevant, scores)
    return metrics.summarise(hits, counts, CUTOFFS)


def _row(model: str, name: str, values: Values, chosen: np.ndarray) -> Row:
    found = {key: value[chosen] for key, value in values.items()}
    return Row(model, name, int(chosen.sum()), **_means(found))


def _means(values: Values) -> dict[str, float]:
    return evaluation.fields(
        {name: figure(value.mean()) for name, value in values.items()}
    )


def _restrict(relevant: Ragged, items: np.ndarray) -> Ragged:
    """Only the targets that are among `items` (bool `[N]`)."""
    kept = items[relevant.items]
    before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    return Ragged(before[relevant.offsets], relevant.items[kept])


def _overlap(items: np.ndarray, rng: np.random.Generator) -> float:
    """Mean share of a list that another user's list has too."""
    if len(items) < 2:
        return 0.0
    first, second = rng.integers(len(items), size=(2, _NUM_PAIRS))
    differ = first != second
    first, second = first[differ], second[differ]
    hits = metrics.find_hits(items[first], Ragged.unpadded(items[second]))
    return float(hits.mean())
