"""Recall at every length of a list."""

from __future__ import annotations

from pipeline.report.document import Figure, Section, Table
from pipeline.report.found import Run
from pipeline.report.plots import curves
from pipeline.report.sections.quality import OURS, best_baseline

_PLACES = (1, 3, 5, 10, 20, 50, 100)
# In this order, where they were asked.
_SHOWN = (OURS, "retrieval", "student", "live", "popularity")


def recall(run: Run) -> Section:
    """How fast lists find what users took next."""
    if run.details is None or run.evaluation is None:
        return Section("Recall at k")
    found = run.details.recall
    best = best_baseline(run.evaluation)
    names = [OURS, *([best.against] if best else []), *_SHOWN[1:]]
    shown = [name for name in dict.fromkeys(names) if name in found]
    ours = found[OURS]
    table = Table(
        "Recall at k of every model",
        ("model", *(f"@{place}" for place in _PLACES)),
        [
            (
                name,
                *(
                    f"{curve[place - 1]:.4f}" if place <= len(curve) else "–"
                    for place in _PLACES
                ),
            )
            for name, curve in sorted(
                found.items(), key=lambda item: -item[1][:10][-1]
            )
        ],
        ours=OURS,
    )
    return Section(
        "Recall at k",
        "The mean share of what users took next that is in the first k of "
        "their list. Where two_stage leads retrieval at the left and meets it "
        "at the right, ranking moved up what retrieval had found.",
        [
            Figure(
                "Recall at k",
                f"{OURS} finds {ours[0]:.1%} in the first place and "
                f"{ours[-1]:.1%} in the first {len(ours)}.",
                curves.lines(
                    {
                        name: (range(1, len(found[name]) + 1), found[name])
                        for name in shown
                    },
                    ("k", "recall@k"),
                    is_log=True,
                ),
            ),
            table,
        ],
    )
