"""The rules a staged bundle must meet, and the words of a refusal."""

from dataclasses import replace

import pytest

from pipeline.release import gate
from pipeline.run.release import PublishConfig
from tests.support import evaluations


def test_the_gate_accepts_what_beats_the_baselines() -> None:
    assert gate.gate(evaluations.made(), PublishConfig()) == []


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ({"popularity": 0.3}, "must exceed popularity in ndcg@10: 0.2000 is"),
        ({"recent_popularity": 0.2}, "0.2000 is not above 0.2000"),
        ({"two_stage": float("nan")}, "must exceed popularity"),
    ],
)
def test_the_gate_names_what_it_rejects(
    rows: dict[str, float], reason: str
) -> None:
    reasons = gate.gate(evaluations.made(**rows), PublishConfig())
    assert any(reason in line for line in reasons)


def test_the_gate_compares_with_the_live_version_beyond_noise() -> None:
    evaluation = evaluations.compared({"ndcg@10": 0.001})
    assert gate.gate(evaluation, PublishConfig()) == []
    evaluation = evaluations.compared({"ndcg@10": -0.001})
    (reason,) = gate.gate(evaluation, PublishConfig())
    assert "worse than the live version beyond noise" in reason


def test_the_gate_refuses_a_metric_or_row_that_was_not_measured() -> None:
    (reason,) = gate.gate(evaluations.made(), PublishConfig(metric="recall@7"))
    assert "must be a column of the evaluation" in reason
    (reason,) = gate.gate(
        evaluations.made(), PublishConfig(must_beat=("ease",))
    )
    assert "'ease', which was not evaluated. Evaluated: two_stage" in reason
    left_out = {"ease": "it inverts a matrix"}
    (reason,) = gate.gate(
        replace(evaluations.made(), left_out=left_out),
        PublishConfig(must_beat=("ease",)),
    )
    assert "was not evaluated, since it inverts a matrix." in reason


@pytest.mark.parametrize("metric", ["recall@10", "mrr"])
def test_any_metric_of_a_query_is_held_against_the_live_version(
    metric: str,
) -> None:
    evaluation = evaluations.compared(
        {"ndcg@10": 0.01, "recall@10": -0.01, "mrr": -0.01}
    )
    assert gate.gate(evaluation, PublishConfig()) == []
    (reason,) = gate.gate(evaluation, PublishConfig(metric=metric))
    assert f"beyond noise: {metric} differs by -0.0200" in reason


def test_a_figure_without_a_comparison_is_not_silently_let_through() -> None:
    config = PublishConfig(metric="coverage@10")
    assert gate.gate(evaluations.made(), config) == []
    evaluation = evaluations.compared({"ndcg@10": 0.1})
    (reason,) = gate.gate(evaluation, config)
    assert "must be a figure of every query" in reason
    assert "ndcg@10" in reason
