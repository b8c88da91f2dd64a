"""Where the figures come from and what they cost.

Kinds of users and targets, coverage and diversity, size on a device.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.evaluate.evaluation import Row, Whole
from pipeline.report.document import Figure, Section, Table
from pipeline.report.found import Run
from pipeline.report.plots import curves, points
from pipeline.report.sections.quality import METRICS, OURS, best_baseline

_DECILE = "popularity_"


def slices(run: Run) -> Section:
    """Where the figures come from: kinds of users, popularity of targets."""
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
        [table, *_popularity(rows, shown)],
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
        "Popularity bias: recall@10 by popularity of the target",
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


def balance(run: Run) -> Section:
    """What accuracy costs in coverage, and diversity in accuracy."""
    found = run.evaluation
    if found is None:
        return Section("Accuracy and variety")
    table = Table(
        "Diversity on request: what it costs and gives",
        ("diversity", "ndcg@10", "similarity@10", "coverage@10"),
        [
            (
                f"{item.diversity:.1f}",
                f"{item.ndcg_at_10:.4f}",
                f"{item.similarity_at_10:.3f}",
                f"{item.coverage_at_10:.3f}",
            )
            for item in found.diversity or ()
        ],
    )
    same = ", ".join(
        f"{share:.0%} ({model})"
        for model, share in found.sanity.list_overlap.items()
    )
    return Section(
        "Accuracy and variety",
        "Coverage is the share of the catalogue that is in anybody's first "
        "ten. Of one user's first ten another user has, on average, "
        f"{same}.",
        [_coverage(found.models), table],
    )


def _coverage(found: dict[str, Whole]) -> Figure:
    return Figure(
        "Accuracy against coverage",
        f"{OURS} covers {found[OURS].coverage_at_10:.0%} of the catalogue at "
        f"NDCG@10 {found[OURS].ndcg_at_10:.3f}.",
        points.scatter(
            {
                name: (row.coverage_at_10, row.ndcg_at_10)
                for name, row in found.items()
                if not name.endswith(("_exact", "_undistilled"))
            },
            ("coverage@10", "NDCG@10"),
        ),
    )


def ondevice(run: Run) -> Section:
    """The student: bytes against quality."""
    student = run.evaluation.ondevice if run.evaluation else None
    if student is None or run.evaluation is None:
        return Section("On device")
    table = Table(
        "One file a precision",
        (
            "precision",
            "KB",
            "µs a query",
            "ndcg@10",
            "agrees with float32",
            "agrees with the server",
        ),
        [
            (
                name,
                f"{item.bytes / 1e3:,.0f}",
                f"{item.latency_us:.1f}",
                f"{item.ndcg_at_10:.4f}",
                f"{item.agreement_at_10_float32:.1%}",
                f"{item.agreement_at_10_teacher:.1%}",
            )
            for name, item in student.precisions.items()
        ],
        ours=student.precision,
    )
    whole = run.evaluation.models[OURS].ndcg_at_10
    small = student.precisions[student.precision]
    return Section(
        "On device",
        f"{student.precision} ships: {small.bytes / 1e3:,.0f} KB keep "
        f"{small.ndcg_at_10 / whole:.0%} of the server's NDCG@10.",
        [table],
    )
