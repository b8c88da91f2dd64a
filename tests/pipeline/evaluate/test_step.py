"""Who is asked, under which label, and what is left out."""

from dataclasses import replace

import pytest

from pipeline.evaluate import step
from pipeline.run.config import Config
from pipeline.run.release import EvaluateConfig
from pipeline.tables.schema import DataError
from tests.support.prepared_stub import make_prepared


@pytest.mark.parametrize(
    ("split", "seen", "is_tutorial"),
    [
        ("temporal", "excluded", False),
        ("leave_last_out", "included", True),
        ("random", "excluded", True),
    ],
)
def test_only_leaking_protocols_are_labelled(split, seen, is_tutorial):
    found = step.label(split, seen).startswith("tutorial")
    assert found == is_tutorial


def test_an_evaluation_without_a_target_to_find_is_refused(tmp_path):
    # The test part has nothing but items outside the catalogue.
    prepared = make_prepared([[2, 3, 4, 1], [3, 4, 2, 1]] * 5, 60)
    config = Config(name="small", seed=0)
    with pytest.raises(DataError, match="targets that can be found"):
        step.run(config, prepared, tmp_path, tmp_path, tmp_path)


@pytest.mark.slow
def test_where_the_history_may_come_back_what_ships_stands_beside(
    tiny_run, tmp_path
):
    options = EvaluateConfig(seen="included")
    result = step.run(
        replace(tiny_run.config, evaluate=options),
        tiny_run.prepared(),
        tiny_run.export(),
        tiny_run.index(),
        tmp_path,
    )
    found = result.models
    assert "student" in result.left_out and "student" not in found
    # Nobody's target was in the history, whose items only take places.
    shipped, towers = found[step.AS_SHIPPED], found["retrieval"]
    assert shipped.recall_at_10 > towers.recall_at_10
    assert shipped.pooled_recall_at_100 >= towers.pooled_recall_at_100
