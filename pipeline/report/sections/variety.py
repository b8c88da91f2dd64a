"""What accuracy costs: coverage, novelty, diversity, popularity bias."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.evaluate.details import Details
from pipeline.evaluate.evaluation import Evaluation, Whole
from pipeline.report.document import Figure, Section, Table
from pipeline.report.found import Run
from pipeline.report.plots import points
from pipeline.report.sections.quality import OURS

_TAKEN = "what users took"


def variety(run: Run) -> Section:
    """Accuracy beside everything else that a list should be."""
    found = run.evaluation
    if found is None:
        return Section("Accuracy and variety")
    same = ", ".join(
        f"{share:.0%} ({model})"
        for model, share in found.sanity.list_overlap.items()
    )
    lead = (
        "Coverage is the share of the catalogue that is in anybody's first "
        "ten. Of one user's first ten another user has, on average, "
        f"{same}."
    )
    if run.details:
        lead += (
            " Novelty is the mean self-information of what is shown, minus "
            "log2 of an item's share of the train interactions (Zhou et al. "
            "2010, Vargas and Castells 2011); diversity is 1 minus the mean "
            "cosine of two items of a list."
        )
    return Section(
        "Accuracy and variety",
        lead,
        [
            _coverage(found.models),
            *_planes(found.models, run.details),
            _on_request(found),
        ],
    )


def popularity(run: Run) -> Section:
    """How much more popular lists are than what users take."""
    details = run.details
    if details is None:
        return Section("Popularity bias")
    rows = {_TAKEN: details.taken, **details.variety}
    base = details.taken.popularity_at_10
    ours = details.variety[OURS]
    table = Table(
        f"Lists of ten beside {_TAKEN}: the ten latest items of histories",
        (
            "model",
            "mean popularity",
            "against taken",
            "Gini",
            "novelty, bits",
            "diversity",
        ),
        [
            (
                name,
                f"{row.popularity_at_10:,.1f}",
                f"{row.popularity_at_10 / base:.2f} ×" if base else "–",
                f"{row.gini_at_10:.3f}",
                f"{row.novelty_at_10:.2f}",
                f"{1 - row.similarity_at_10:.3f}",
            )
            for name, row in rows.items()
        ],
        ours=OURS,
    )
    return Section(
        "Popularity bias",
        "Mean popularity is the train interactions of an item, averaged over "
        "lists (ARP, Yin et al. 2012); above 1 × lists are more popular than "
        "what the same users took. Gini is the inequality of how often items "
        "of the catalogue are shown: 1 where one item has every place.",
        [
            Figure(
                "Popularity of lists against how unequally items are shown",
                f"{OURS} shows items {ours.popularity_at_10 / base:.2f} times "
                "as popular as those that users took."
                if base
                else "Nothing was taken before.",
                points.scatter(
                    {
                        name: (row.popularity_at_10, row.gini_at_10)
                        for name, row in rows.items()
                        if _is_shown(name)
                    },
                    ("train interactions of an item", "Gini of the places"),
                ),
            ),
            table,
        ],
    )


def _is_shown(name: str) -> bool:
    """Whether a model is none that would lie on another one's point."""
    return not name.endswith(("_exact", "_undistilled"))


def _coverage(found: Mapping[str, Whole]) -> Figure:
    return Figure(
        "Accuracy against coverage",
        f"{OURS} covers {found[OURS].coverage_at_10:.0%} of the catalogue at "
        f"NDCG@10 {found[OURS].ndcg_at_10:.3f}.",
        points.scatter(
            {
                name: (row.coverage_at_10, row.ndcg_at_10)
                for name, row in found.items()
                if _is_shown(name)
            },
            ("coverage@10", "NDCG@10"),
        ),
    )


def _planes(
    found: Mapping[str, Whole], details: Details | None
) -> Iterator[Figure]:
    """Accuracy against novelty and against diversity."""
    if details is None:
        return
    shown = {
        name: row for name, row in details.variety.items() if _is_shown(name)
    }
    ours = shown[OURS]
    yield Figure(
        "Accuracy against novelty",
        f"An item that {OURS} shows tells {ours.novelty_at_10:.1f} bits; what "
        f"users took tells {details.taken.novelty_at_10:.1f}.",
        points.scatter(
            {
                name: (row.novelty_at_10, found[name].ndcg_at_10)
                for name, row in shown.items()
            },
            ("novelty@10, bits", "NDCG@10"),
        ),
    )
    yield Figure(
        "Accuracy against diversity",
        f"Two items of a list of {OURS} have a cosine of "
        f"{ours.similarity_at_10:.2f}, two that a user took one of "
        f"{details.taken.similarity_at_10:.2f}.",
        points.scatter(
            {
                name: (1 - row.similarity_at_10, found[name].ndcg_at_10)
                for name, row in shown.items()
            },
            ("diversity@10, 1 − cosine", "NDCG@10"),
        ),
    )


def _on_request(found: Evaluation) -> Table:
    return Table(
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
