"""The evaluation as people read it on a terminal."""

from collections.abc import Sequence

from pipeline.evaluate.evaluation import (
    ALL,
    HEADLINE,
    Diversity,
    Evaluation,
    Row,
    Whole,
)
from pipeline.terminal import console

_COLUMNS = ("ndcg@10", "recall@10", "recall@100", "mrr")
_DECILES = "popularity_"


def table(evaluation: Evaluation) -> str:
    """Models, slices of two_stage, differences and warnings, as text."""
    title = (
        f"{evaluation.dataset}: {evaluation.split} split, "
        f"{evaluation.part} part, {evaluation.protocol} protocol, "
        f"{evaluation.queries:,} queries"
    )
    return console.text(
        console.table(title, _models(evaluation)),
        console.table("two_stage by slice", _slices(evaluation)),
        *lines(evaluation),
    )


def verdict(evaluation: Evaluation, reasons: Sequence[str] = ()) -> str:
    """What a run is worth, in a sentence.

    By NDCG@10, which tables and gate go by, and by the measure that is easily
    understood: the best baseline by the former is meant in both.

    Args:
        evaluation: Of the run.
        reasons: Why the gate refused it, none where it was accepted.
    """
    ours, best = evaluation.models["two_stage"], _best(evaluation)
    said = (
        f"two_stage finds the next item for {ours.recall_at_10:.1%} of the "
        "queries"
    )
    # Where one of them is 0 so is the other.
    if best and best.recall_at_10 > 0:
        said = (
            f"two_stage has {ours.ndcg_at_10 / best.ndcg_at_10:.2f} times the "
            f"NDCG@10 of the best baseline ({best.model}) and finds the next "
            f"item {ours.recall_at_10 / best.recall_at_10:.2f} times as often"
        )
    return f"{said}: {'rejected' if reasons else 'accepted'}"


def short(evaluation: Evaluation, reasons: Sequence[str] = ()) -> str:
    """The verdict under the few rows that it rests on."""
    rows = evaluation.models
    best = _best(evaluation)
    named = {
        "two_stage": "two_stage: retrieval, then ranking",
        "retrieval": "retrieval alone",
        "student": "student, on the device",
        best.model if best else "": f"{best.model if best else ''}, the best "
        "baseline",
        "popularity": "popularity",
    }
    table = console.table(
        "",
        [
            ["", "next item in the first ten", "NDCG@10", "of two_stage"],
            *(
                [
                    label,
                    f"{rows[name].recall_at_10:.1%}",
                    f"{rows[name].ndcg_at_10:.4f}",
                    f"{rows[name].ndcg_at_10 / ours:.0%}" if ours else "-",
                ]
                for name, label in named.items()
                for ours in [rows["two_stage"].ndcg_at_10]
                if name in rows
            ),
        ],
    )
    return console.text(table, verdict(evaluation, reasons))


def _best(evaluation: Evaluation) -> Whole | None:
    """The row of the baseline with the highest NDCG@10."""
    rows = evaluation.models
    named = [rows[name] for name in evaluation.baselines if name in rows]
    return max(named, key=lambda row: row.ndcg_at_10, default=None)


def lines(evaluation: Evaluation) -> list[str]:
    """One sentence each: differences, index, ratings, anything suspicious."""
    found = [
        f"{item.model} against {item.against}: {item.metric} "
        f"{item.difference:+.4f} (95 % {item.low:+.4f} to {item.high:+.4f}), "
        f"{item.ratio:.2f} x"
        for item in evaluation.differences
        if item.metric == HEADLINE
    ]
    index = evaluation.index
    found.append(
        f"index ({index.kind}): recall@100 {index.recall_at_100:.3f} of "
        f"exact search, {index.latency_ms:.2f} ms a query"
    )
    ratings = evaluation.ratings
    if ratings:
        found.append(
            f"predicted ratings: RMSE {ratings.rmse:.4f} over "
            f"{ratings.interactions:,} interactions"
        )
    found += _diversity(evaluation.diversity or ())
    again = evaluation.again
    if again.queries:
        found.append(
            f"{again.queries:,} of {evaluation.queries:,} queries have "
            f"targets that stand in their history, {again.targets:,} in all."
        )
        found.append(
            "They can be found."
            if again.count_as == "targets"
            else "They count as misses; with prepare.repeat_consumption they "
            "could be found."
        )
    return found + warnings(evaluation)


def warnings(evaluation: Evaluation) -> list[str]:
    """What a person should look at before believing the figures."""
    models = evaluation.models
    ours, sanity = models["two_stage"], evaluation.sanity
    found = []
    if evaluation.label.startswith("tutorial"):
        pooled = ", ".join(
            f"{name} {row.pooled_recall_at_100:.3f}"
            for name, row in models.items()
        )
        found.append(f"Note: {evaluation.label}.")
        found.append(
            "Note: recall@100 of all interactions together, as tutorials count "
            f"it: {pooled}."
        )
    if ours.ndcg_at_10 > 0.9:
        found.append(
            f"Warning: NDCG@10 of {ours.ndcg_at_10:.3f} is too good; look for "
            "targets inside histories or features."
        )
    overlap = sanity.list_overlap["two_stage"]
    if overlap > 0.9:
        found.append(
            f"Warning: {overlap:.0%} of a list is the same for everyone; the "
            "model has collapsed to one order."
        )
    norm = sanity.embedding_norm
    if norm.std < 1e-6 or norm.zero_share > 0.5:
        found.append(
            "Warning: candidate embeddings are all alike or zero; the "
            "retrieval model has not learnt."
        )
    found += [
        f"Note: {name} is not compared: {reason}."
        for name, reason in evaluation.left_out.items()
    ]
    live = evaluation.live
    if live.not_compared:
        found.append(
            f"Note: live version {live.version} is not compared: "
            f"{live.not_compared}."
        )
    if ours.users < 100:
        found.append(
            f"Note: {ours.users} queries only; read the intervals, not the "
            "means."
        )
    return found


def _diversity(rows: Sequence[Diversity]) -> list[str]:
    return [
        f"diversity {row.diversity:g}: ndcg@10 {row.ndcg_at_10:.4f} "
        f"({row.ndcg_at_10 - rows[0].ndcg_at_10:+.4f}), likeness within a list "
        f"{row.similarity_at_10:.3f} (was {rows[0].similarity_at_10:.3f}), "
        f"coverage@10 {row.coverage_at_10:.3f} "
        f"(was {rows[0].coverage_at_10:.3f})"
        for row in rows[1:]
    ]


def _models(evaluation: Evaluation) -> list[list[str]]:
    heads = ["model", *_COLUMNS, "coverage@10", "95 % of ndcg@10"]
    return [
        heads,
        *(
            [
                name,
                *_figures(row),
                f"{row.coverage_at_10:.3f}",
                "{:.4f} - {:.4f}".format(*row.ndcg_at_10_interval),
            ]
            for name, row in evaluation.models.items()
        ),
        *([name, *["-"] * len(heads[1:])] for name in evaluation.left_out),
    ]


def _slices(evaluation: Evaluation) -> list[list[str]]:
    """Slices of two_stage next to retrieval."""
    found = {(row.model, row.slice): row for row in evaluation.rows}
    return [
        ["slice", "queries", *_COLUMNS, "retrieval ndcg@10"],
        *(
            [
                name,
                f"{row.users:,}",
                *_figures(row),
                f"{found['retrieval', name].ndcg_at_10:.4f}",
            ]
            for (model, name), row in found.items()
            # The tenths by popularity are in evaluation.json; here they would
            # push the models out of sight.
            if model == "two_stage"
            and name != ALL
            and not name.startswith(_DECILES)
        ),
    ]


def _figures(row: Row) -> list[str]:
    return [f"{row.figures[name]:.4f}" for name in _COLUMNS]
