"""The evaluation as people read it on a terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.evaluate import diversity, scoreboard

_COLUMNS = ("ndcg@10", "recall@10", "recall@100", "mrr")
_WIDTH = 100
_DECILES = "popularity_"


def table(evaluation: dict[str, Any]) -> str:
    """Models, slices of two_stage, differences and warnings, as text.

    Args:
        evaluation: What `evaluate.run` wrote.
    """
    console = Console(width=_WIDTH, color_system=None)
    with console.capture() as capture:
        console.print(_models(evaluation))
        console.print(_slices(evaluation))
        for line in lines(evaluation):
            console.print(line, markup=False, highlight=False)
    return capture.get()


def lines(evaluation: dict[str, Any]) -> list[str]:
    """One sentence each: differences, index, ratings, anything suspicious."""
    found = [
        f"{item['model']} against {item['against']}: {item['metric']} "
        f"{item['difference']:+.4f} (95 % {item['low']:+.4f} to "
        f"{item['high']:+.4f}), {item['ratio']:.2f} x"
        for item in evaluation["differences"]
        if item["metric"] == scoreboard.HEADLINE
    ]
    index = evaluation["index"]
    found.append(
        f"index ({index['kind']}): recall@100 {index['recall@100']:.3f} of "
        f"exact search, {index['latency_ms']:.2f} ms a query"
    )
    ratings = evaluation.get("ratings")
    if ratings:
        found.append(
            f"predicted ratings: RMSE {ratings['rmse']:.4f} over "
            f"{ratings['interactions']:,} interactions"
        )
    if evaluation.get("diversity"):
        found += diversity.sentences(evaluation["diversity"])
    again = evaluation["again"]
    if again["queries"]:
        found.append(
            f"{again['queries']:,} of {evaluation['queries']:,} queries have "
            f"targets that stand in their history, {again['targets']:,} in all."
        )
        found.append(
            "They can be found."
            if again["count_as"] == "targets"
            else "They count as misses; with prepare.repeat_consumption they "
            "could be found."
        )
    return found + warnings(evaluation)


def warnings(evaluation: dict[str, Any]) -> list[str]:
    """What a person should look at before believing the figures."""
    rows = {
        row["model"]: row for row in evaluation["rows"] if row["slice"] == "all"
    }
    ours = rows["two_stage"]
    found = []
    if evaluation["label"].startswith("tutorial"):
        found.append(f"Note: {evaluation['label']}.")
        found.append(
            "Note: recall@100 of all interactions together, as tutorials count "
            "it: "
            + ", ".join(
                f"{row['model']} {row[scoreboard.POOLED]:.3f}"
                for row in evaluation["rows"]
                if row["slice"] == "all"
            )
            + "."
        )
    if ours["ndcg@10"] > 0.9:
        found.append(
            f"Warning: NDCG@10 of {ours['ndcg@10']:.3f} is too good; look for "
            "targets inside histories or features."
        )
    overlap = evaluation["sanity"]["list_overlap"]
    if overlap["two_stage"] > 0.9:
        found.append(
            f"Warning: {overlap['two_stage']:.0%} of a list is the same for "
            "everyone; the model has collapsed to one order."
        )
    norm = evaluation["sanity"]["embedding_norm"]
    if norm["std"] < 1e-6 or norm["zero_share"] > 0.5:
        found.append(
            "Warning: candidate embeddings are all alike or zero; the "
            "retrieval model has not learnt."
        )
    found += [
        f"Note: {name} is not compared: {reason}."
        for name, reason in evaluation["left_out"].items()
    ]
    if evaluation["live"]["not_compared"]:
        found.append(
            f"Note: live version {evaluation['live']['version']} is not "
            f"compared: {evaluation['live']['not_compared']}."
        )
    if ours["users"] < 100:
        found.append(
            f"Note: {ours['users']} queries only; read the intervals, not the "
            "means."
        )
    return found


def _models(evaluation: dict[str, Any]) -> Table:
    title = (
        f"{evaluation['dataset']}: {evaluation['split']} split, "
        f"{evaluation['part']} part, {evaluation['protocol']} protocol, "
        f"{evaluation['queries']:,} queries"
    )
    made = Table(title=title)
    made.add_column("model")
    for name in (*_COLUMNS, "coverage@10", "95 % of ndcg@10"):
        made.add_column(name, justify="right")
    for row in evaluation["rows"]:
        if row["slice"] == "all":
            low, high = row["ndcg@10_interval"]
            made.add_row(
                row["model"],
                *(f"{row[name]:.4f}" for name in _COLUMNS),
                f"{row['coverage@10']:.3f}",
                f"{low:.4f} - {high:.4f}",
            )
    for name in evaluation["left_out"]:
        made.add_row(name, *("-" for _ in made.columns[1:]))
    return made


def _slices(evaluation: dict[str, Any]) -> Table:
    """Slices of two_stage next to retrieval."""
    made = Table(title="two_stage by slice")
    made.add_column("slice")
    for name in ("queries", *_COLUMNS, "retrieval ndcg@10"):
        made.add_column(name, justify="right")
    retrieval = {
        row["slice"]: row
        for row in evaluation["rows"]
        if row["model"] == "retrieval"
    }
    for row in evaluation["rows"]:
        name = row["slice"]
        # The tenths by popularity are in evaluation.json; here they would
        # push the models out of sight.
        if (
            row["model"] == "two_stage"
            and name != "all"
            and not name.startswith(_DECILES)
        ):
            made.add_row(
                name,
                f"{row['users']:,}",
                *(f"{row[column]:.4f}" for column in _COLUMNS),
                f"{retrieval[row['slice']]['ndcg@10']:.4f}",
            )
    return made
