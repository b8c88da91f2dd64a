"""How the models learnt, and what the index loses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from pipeline.report.document import Block, Facts, Figure, Section, Table
from pipeline.report.found import Json, Run
from pipeline.report.plots import curves

# What decides which epoch is kept.
_RETRIEVAL, _RANKING = "ndcg@100", "ndcg@10"
_Curve: TypeAlias = tuple[Sequence[float], Sequence[float]]


def training(run: Run) -> Section:
    """A curve an epoch of everything that was trained."""
    return Section(
        "Training",
        "A dot marks the epoch that was kept. Epoch 0 of ranking is the order "
        "of retrieval, from which it starts.",
        [
            *_retrieval_figures(run.retrieval),
            *_ranking_figures(run.ranking),
            *_figure(
                "On device: distillation loss",
                {
                    name: _numbered(found["loss"])
                    for name, found in run.student.items()
                    if isinstance(found, Mapping)
                },
                "loss",
                {},
            ),
        ],
    )


def _retrieval_figures(metrics: Json) -> Iterator[Figure]:
    tried = any(name.startswith("base-") for name in metrics)
    # The base is one of those that were tried.
    trained = {
        name: found
        for name, found in metrics.items()
        if not (tried and name == "base")
    }
    best = {name: found["best_epoch"] for name, found in trained.items()}
    for title, key in (
        ("Retrieval: on validation", _RETRIEVAL),
        ("Retrieval: training loss", "loss"),
    ):
        curves = {
            name: _points(found["curve"], key)
            for name, found in trained.items()
        }
        yield from _figure(title, curves, key, best)


def _ranking_figures(metrics: Json) -> Iterator[Figure]:
    if not metrics:
        return
    curve = _points(metrics["curve"], _RANKING, first=0)
    best = {"ranking": metrics["best_epoch"]}
    yield from _figure(
        "Ranking: on validation", {"ranking": curve}, _RANKING, best
    )
    ratings = metrics.get("rating")
    if ratings:
        yield from _figure(
            "Ranking: error of predicted ratings",
            {"ratings": _numbered(ratings["validation_rmse"])},
            "RMSE",
            {"ratings": ratings["epochs"]},
        )


def _points(curve: Sequence[Json], key: str, first: int = 1) -> _Curve:
    there = [
        (epoch, point[key])
        for epoch, point in enumerate(curve, first)
        if key in point
    ]
    return [x for x, _ in there], [y for _, y in there]


def _numbered(values: Sequence[float]) -> _Curve:
    return list(range(1, len(values) + 1)), values


def _figure(
    title: str,
    series: Mapping[str, _Curve],
    label: str,
    best: Mapping[str, int],
) -> Iterator[Figure]:
    """A figure of the curves that have points, if any has."""
    series = {name: curve for name, curve in series.items() if curve[0]}
    if series:
        words = "; ".join(
            f"{name} from {y[0]:.3f} to {y[-1]:.3f}"
            for name, (_, y) in series.items()
        )
        picture = curves.lines(series, ("epoch", label), best)
        yield Figure(title, f"{words}.", picture)


def index(run: Run) -> Section:
    """The nearest-neighbour index: what it finds, how fast."""
    found = run.index
    if not found:
        return Section("Index")
    recall = f"recall@{found.k}"
    facts = [
        ("kind", found.kind, f"{found.num_items:,} items"),
        (recall, f"{found.recall:.3f}", "of exact search"),
        ("latency", f"{found.latency_ms:.2f} ms", "a query"),
    ]
    blocks: list[Block] = [Facts(facts)]
    if tuned := found.scann:
        exact = f"{tuned.exact_latency_ms:.2f} ms"
        blocks = [Facts([*facts, ("exact search", exact, "a query")])]
        blocks.append(
            Table(
                "Settings that were tried",
                [
                    "leaves",
                    "searched",
                    "candidates reordered",
                    "expected μs",
                    recall,
                    "ms",
                ],
                [
                    [f"{value:,}" for value in vars(point).values()]
                    for point in tuned.frontier
                ],
            )
        )
        lines = {
            f"{leaves:,} leaves": (
                [p.work for p in tuned.frontier if p.num_leaves == leaves],
                [p.recall for p in tuned.frontier if p.num_leaves == leaves],
            )
            for leaves in dict.fromkeys(p.num_leaves for p in tuned.frontier)
        }
        picture = curves.lines(lines, ("expected μs a query", recall))
        words = "What more work finds of exact search, tree by tree."
        blocks.append(Figure("Recall against work", words, picture))
    return Section("Index", "", blocks)
