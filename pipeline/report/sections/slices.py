"""Where the figures come from: kinds of users, popularity of targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.evaluate.details import Length
from pipeline.evaluate.evaluation import Row
from pipeline.report.document import Figure, Section, Table
from pipeline.report.found import Run
from pipeline.report.plots import curves
from pipeline.report.plots.forest import Estimate
from pipeline.report.sections.quality import METRICS, OURS, best_baseline

_DECILE = "popularity_"


def slices(run: Run) -> Section:
    """Every slice of the queries, and what others reach there."""
    found = run.evaluation
    if found is None:
        return Section("Slices")
    best = best_baseline(found)
    shown = [OURS, "retrieval", *([best.against] if best else [])]
    rows = {(row.model, row.slice): row for row in found.rows}
    named = [
        row
        for row in found.rows
        if row.model == OURS and not row.slice.startswith(_DECILE)
    ]
    table = Table(
        f"{OURS} by slice, with the NDCG@10 of others",
        ("slice", "queries", *METRICS, *shown[1:]),
        [
            (
                row.slice,
                f"{row.users:,}",
                *(f"{row.figures[name]:.4f}" for name in METRICS),
                *(
                    f"{rows[other, row.slice].ndcg_at_10:.4f}"
                    if (other, row.slice) in rows
                    else "–"
                    for other in shown[1:]
                ),
            )
            for row in named
        ],
    )
    return Section(
        "Slices",
        "warm and cold: with and without a history; untied: users whose last "
        "two interactions differ in time; new_items: targets that nobody took "
        "in the train part.",
        [
            table,
            *_lengths(run.details.lengths if run.details else (), shown),
            *_popularity(rows, shown),
        ],
    )


def _popularity(
    rows: dict[tuple[str, str], Row], shown: list[str]
) -> Iterator[Figure]:
    """Recall by the popularity of what was to be found."""
    tenths = {
        model: [
            (place, rows[key].recall_at_10)
            for place in range(1, 11)
            if (key := (model, f"{_DECILE}{place}")) in rows
        ]
        for model in shown
    }
    if len(tenths[OURS]) < 2:
        return
    first, last = tenths[OURS][0], tenths[OURS][-1]
    yield Figure(
        "recall@10 by popularity of the target",
        f"{OURS} finds {first[1]:.0%} of the targets in tenth {first[0]} of "
        f"the catalogue and {last[1]:.0%} in tenth {last[0]}; 10 holds the "
        "most popular items.",
        curves.lines(
            {
                model: ([x for x, _ in points], [y for _, y in points])
                for model, points in tenths.items()
                if points
            },
            ("tenth of the catalogue by popularity", "recall@10"),
        ),
    )


def _lengths(found: Sequence[Length], shown: list[str]) -> Iterator[Figure]:
    """NDCG@10 by the length of the history."""
    if len(found) < 2:
        return
    first, last = found[0], found[-1]
    values = [group.ndcg_at_10[OURS].value for group in (first, last)]
    yield Figure(
        "NDCG@10 by the length of the history",
        f"{OURS} has {values[0]:.3f} where histories hold {_words(first)} "
        f"({first.users:,} queries) and {values[1]:.3f} where they hold "
        f"{_words(last)} ({last.users:,}); lines are 95 % intervals.",
        curves.ranges(
            [_words(group) for group in found],
            {
                model: [
                    Estimate(model, mean.value, *mean.interval)
                    for group in found
                    for mean in (group.ndcg_at_10[model],)
                ]
                for model in shown
            },
            ("items in the history", "NDCG@10"),
        ),
    )


def _words(group: Length) -> str:
    if group.last is None:
        return f"{group.first}+"
    if group.first == group.last:
        return str(group.first)
    return f"{group.first}–{group.last}"
