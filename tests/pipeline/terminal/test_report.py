"""The evaluation on the terminal: tables, sentences, warnings."""

import re
from dataclasses import replace

from pipeline.evaluate import step
from pipeline.terminal import report
from tests.support import evaluations


def test_table_shows_models_differences_and_what_is_suspicious() -> None:
    text = report.table(evaluations.full())
    for words in (
        "two_stage",
        "popularity",
        "two_stage against retrieval: ndcg@10 +0.5693",
        "RMSE 0.9100 over 20,000",
        "diversity 0.3: ndcg@10 0.1800 (-0.0200), likeness within a list 0.300",
        "3 of 150 queries have targets that stand in their history, 4 in all",
        "They count as misses",
        "too good",
    ):
        assert words in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_table_warns_of_collapse_and_of_tutorial_protocols() -> None:
    evaluation = evaluations.full()
    evaluation = replace(
        evaluation,
        label=step.label("random", "excluded"),
        sanity=replace(evaluation.sanity, list_overlap={"two_stage": 0.95}),
    )
    warnings = " ".join(report.warnings(evaluation))
    assert "tutorial protocol" in warnings
    assert "as tutorials count it: two_stage 1.000, " in warnings
    assert "collapsed" in warnings


def test_a_baseline_that_was_left_out_is_named() -> None:
    left_out = {"ease": "it inverts a matrix"}
    text = report.table(replace(evaluations.full(), left_out=left_out))
    assert re.search(r"│ ease +│ +- │", text)
    assert "ease is not compared: it inverts" in text


def test_the_verdict_names_the_best_baseline_by_ndcg() -> None:
    evaluation = replace(
        evaluations.made(two_stage=0.24, item_knn=0.16, window_markov=0.2),
        baselines={"item_knn": {}, "window_markov": {}, "popularity": {}},
    )
    often = replace(evaluation.models["item_knn"], recall_at_10=0.23)
    evaluation = replace(
        evaluation,
        rows=tuple(
            often if row.model == often.model else row
            for row in evaluation.rows
        ),
    )
    said = "two_stage has 1.20 times the NDCG@10 of the best baseline "
    said += "(window_markov) and finds the next item 1.20 times as often: "
    assert report.verdict(evaluation) == f"{said}accepted"
    assert report.verdict(evaluation, ["why"]) == f"{said}rejected"
    text = report.short(evaluation)
    assert re.search(r"window_markov, the best baseline +│ +20.0% ", text)
    assert "83%" in text and "item_knn" not in text
    assert "24.0% of the queries" in report.verdict(
        replace(evaluation, baselines={})
    )
