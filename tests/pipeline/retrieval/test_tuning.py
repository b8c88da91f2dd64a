"""Which tree and effort are taken: recall first, then work."""

import numpy as np
import pytest

from models.layers import index as search
from pipeline.retrieval import tuning
from pipeline.retrieval.report import Tuned
from pipeline.run import auto
from pipeline.run.release import IndexConfig

NUM_ITEMS, DIM, K, FLOOR = 3_000, 16, 20, 0.9


@pytest.fixture(scope="module")
def tuned() -> Tuned:
    generator = np.random.default_rng(5)
    centres = generator.normal(size=(60, DIM))
    rows = centres[generator.integers(0, 60, NUM_ITEMS + 2)]
    rows = (rows + 0.5 * generator.normal(size=rows.shape)).astype(np.float32)
    queries = rows[generator.integers(2, NUM_ITEMS, 80)]
    exact = search.ExactIndex(rows, K)
    config = IndexConfig(kind="scann", num_candidates=K, recall_floor=FLOOR)
    return tuning.tune(exact, rows, queries, config)[0]


def test_the_least_work_that_finds_enough_is_taken(tuned: Tuned) -> None:
    enough = [p for p in tuned.frontier if p.recall >= FLOOR]
    assert tuned.meets_recall_floor
    assert tuned.chosen == min(enough, key=lambda point: point.work)


def test_each_tree_goes_from_cheap_to_good_enough(tuned: Tuned) -> None:
    trees = list(dict.fromkeys(p.num_leaves for p in tuned.frontier))
    assert trees == [54, 108, 216][: len(trees)] and len(trees) > 1
    for leaves in trees:
        points = [p for p in tuned.frontier if p.num_leaves == leaves]
        for one, next_one in zip(points, points[1:], strict=False):
            assert one.work < next_one.work
            assert one.recall < min(FLOOR, next_one.recall)


def test_the_choice_names_all_trees(tuned: Tuned) -> None:
    choice = auto.index_tree(tuned.chosen, tuned.frontier, FLOOR)
    assert choice.value == tuned.chosen.num_leaves
    for point in tuned.frontier:
        assert f"{point.num_leaves} leaves" in choice.why
