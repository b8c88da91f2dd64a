"""Turns lists of recommendations into the figures of an evaluation.

Every model's lists answer the same queries, so means, intervals, slices and
paired differences are taken over the same users. Slices: `warm` and `cold`
queries (with and without history), `untied` (the order of the target is
known), `new_items` (targets without train interactions), `popularity_1`
(rarest tenth of the items) to `popularity_10`.

Shape letters: Q queries, K places, N items with the two reserved indices.
"""

from typing import Any

import numpy as np

from pipeline.measure import metrics, queries
from pipeline.measure.metrics import Ragged
from pipeline.measure.queries import Queries
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import TRAIN

CUTOFFS = (10, 100)
HEADLINE = "ndcg@10"
POOLED = "pooled_recall@100"
_INTERVALS = ("ndcg@10", "recall@10", "recall@100")
_NUM_DECILES = 10
_NUM_PAIRS = 2_000
_FIRST_ITEM = 2
_LISTED = 10
# Scores and items, each [Q, K], best first.
Answer = tuple[np.ndarray, np.ndarray]


class Board:
    """Turns lists of recommendations into figures, over the same queries.

    Args:
        asked: The queries with their targets.
        prepared: Counts for the slices.
        num_samples: Resamples behind each interval.
        seed: Of the resampling.
    """

    def __init__(
        self, asked: Queries, prepared: Prepared, num_samples: int, seed: int
    ) -> None:
        self._asked = asked
        self._num_samples = num_samples
        self._seed = seed
        self._num_items = len(prepared.items.ids) - _FIRST_ITEM
        self._counts = prepared.items.counts[TRAIN]
        self._untied = (
            queries.untied(asked, prepared)
            if prepared.split == "leave_last_out"
            else None
        )

    def values(self, answer: Answer) -> dict[str, np.ndarray]:
        """Every metric of every query, `[Q]` each."""
        return self._measure(answer, self._asked.relevant, self._asked)

    def rows(self, model: str, answer: Answer) -> list[dict[str, Any]]:
        """The rows of one model: everything, then every slice."""
        values = self.values(answer)
        row = _row(model, "all", values, np.ones(len(self._asked), bool))
        for name in _INTERVALS:
            low, high = metrics.interval(
                values[name], self._num_samples, self._seed
            )
            row[f"{name}_interval"] = [round(low, 5), round(high, 5)]
        row["coverage@10"] = round(
            len(np.setdiff1d(answer[1][:, :_LISTED], [0]))
            / max(self._num_items, 1),
            5,
        )
        # Tutorials count interactions, in which a few users weigh the most.
        row[POOLED] = round(
            float(
                np.average(
                    values["recall@100"], weights=self._asked.num_relevant
                )
            ),
            5,
        )
        lengths = self._asked.histories.lengths
        rows = [row]
        slices = {"warm": lengths > 0, "cold": lengths == 0}
        if self._untied is not None:
            slices["untied"] = self._untied
        rows += [
            _row(model, name, values, chosen)
            for name, chosen in slices.items()
            if chosen.any()
        ]
        for name, items in self._item_slices().items():
            relevant = _restrict(self._asked.relevant, items)
            if len(relevant.items):
                found = self._measure(answer, relevant, None)
                rows.append(_row(model, name, found, relevant.lengths > 0))
        return rows

    def differences(
        self, answers: dict[str, Answer], rivals: tuple[str, ...]
    ) -> list[dict[str, Any]]:
        """Paired differences that decide whether a stage earns its place.

        Against the live version in every metric: the gate asks for any.
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
        return [
            {
                "model": model,
                "against": against,
                "metric": metric,
                **{
                    name: round(value, 5)
                    for name, value in metrics.paired_difference(
                        values[model][metric],
                        values[against][metric],
                        self._num_samples,
                        self._seed,
                    ).items()
                },
            }
            for model, against, metric in pairs
        ]

    def sanity(
        self, answers: dict[str, Answer], embeddings: np.ndarray
    ) -> dict[str, Any]:
        """Whether users get lists of their own, and targets matter."""
        norms = np.linalg.norm(embeddings[_FIRST_ITEM:], axis=1)
        rng = np.random.default_rng(self._seed)
        shuffled = self._asked.relevant.take(rng.permutation(len(self._asked)))
        items = {
            name: answer[1][:, :_LISTED] for name, answer in answers.items()
        }
        return {
            "list_overlap": {
                name: round(_overlap(items[name], rng), 4)
                for name in ("two_stage", "retrieval", "popularity")
            },
            "embedding_norm": {
                "mean": round(float(norms.mean()), 4),
                "std": round(float(norms.std()), 4),
                "zero_share": round(float((norms < 1e-6).mean()), 4),
            },
            # Targets of other users: what is left is popularity.
            f"shuffled_targets_{HEADLINE}": round(
                float(
                    self._measure(answers["two_stage"], shuffled, None)[
                        HEADLINE
                    ].mean()
                ),
                5,
            ),
        }

    def _item_slices(self) -> dict[str, np.ndarray]:
        """Items of each slice, bool `[N]`."""
        slices = {"new_items": self._counts == 0}
        slices["new_items"][:_FIRST_ITEM] = False
        known = np.flatnonzero(self._counts > 0)
        known = known[np.argsort(self._counts[known], kind="stable")]
        for place, chosen in enumerate(np.array_split(known, _NUM_DECILES), 1):
            slices[f"popularity_{place}"] = np.isin(
                np.arange(len(self._counts)), chosen
            )
        return slices

    def _measure(
        self, answer: Answer, relevant: Ragged, asked: Queries | None
    ) -> dict[str, np.ndarray]:
        scores, items = answer
        counts = relevant.lengths if asked is None else asked.num_relevant
        hits = metrics.find_hits(items, relevant, scores)
        return metrics.summarise(hits, counts, CUTOFFS)


def _row(
    model: str, name: str, values: dict[str, np.ndarray], chosen: np.ndarray
) -> dict[str, Any]:
    return {
        "model": model,
        "slice": name,
        "users": int(chosen.sum()),
        **{
            key: round(float(value[chosen].mean()), 5) if chosen.any() else 0.0
            for key, value in values.items()
        },
    }


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
