"""The student: bytes against quality."""

from __future__ import annotations

from pipeline.report.document import Figure, Section, Table
from pipeline.report.found import Run
from pipeline.report.plots import points
from pipeline.report.sections.quality import OURS


def ondevice(run: Run) -> Section:
    """The files for phones and browsers beside the server."""
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
    # Of a tiny test part nothing may be found at all.
    kept = f"{small.ndcg_at_10 / whole:.0%}" if whole else "nothing"
    return Section(
        "On device",
        f"{student.precision} ships: {small.bytes / 1e3:,.0f} KB keep "
        f"{kept} of the server's NDCG@10.",
        [
            Figure(
                "Bytes against quality",
                "What each precision keeps of the quality of the server, "
                "which is the dashed line.",
                points.scatter(
                    {
                        name: (item.bytes / 1e3, item.ndcg_at_10)
                        for name, item in student.precisions.items()
                    },
                    ("KB to download", "NDCG@10"),
                    (f"{OURS} on the server", whole),
                ),
            ),
            table,
        ],
    )
