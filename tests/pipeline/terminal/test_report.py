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
