"""Lists of baselines are those that were evaluated."""

import numpy as np
import pytest

from pipeline.evaluate import baselines
from pipeline.explore import columns
from pipeline.explore.catalogue import Catalogue
from pipeline.measure import requests
from tests.support import explorer_cases

ALL = np.ones(len(explorer_cases.prepared().items.ids), bool)


@pytest.fixture(scope="module")
def fitted() -> list[baselines.Baseline]:
    chosen = {
        name: settings
        for name, settings in explorer_cases.SETTINGS.items()
        if name != "random"
    }
    return list(baselines.refit(explorer_cases.prepared(), "test", chosen))


def test_a_users_list_is_the_one_of_the_evaluation(
    fitted: list[baselines.Baseline],
) -> None:
    tables = explorer_cases.prepared()
    catalogue = Catalogue(tables, "test")
    asked = requests.make(tables, "test")
    for baseline in fitted:
        scores, items = baselines.recommend(baseline, asked.histories, 10)
        for row, user in enumerate(["u0", "u1", "u2", "u3"]):
            history = catalogue.user(user).history
            found = columns.of_baseline(
                baseline, catalogue, history, history, ALL
            )
            np.testing.assert_allclose(
                found.scores[:10], scores[row], rtol=1e-6
            )
            # Where scores tie, any order is right.
            sure = np.unique(scores[row], return_counts=True)
            for item, score in zip(found.ids, scores[row], strict=False):
                if sure[1][np.searchsorted(sure[0], score)] == 1:
                    place = list(scores[row]).index(score)
                    assert item == catalogue.ids[items[row][place]]


def test_what_is_hidden_is_in_no_list(
    fitted: list[baselines.Baseline],
) -> None:
    catalogue = Catalogue(explorer_cases.prepared(), "test")
    for baseline in fitted:
        one = columns.of_baseline(
            baseline, catalogue, ["i0"], ["i0", "i5"], ALL
        )
        assert len(one.ids) == len(catalogue) - 2
        assert not {"i0", "i5"} & set(one.ids)
        # Nothing hides what is not said to be hidden.
        two = columns.of_baseline(baseline, catalogue, ["i0"], [], ALL)
        assert {"i0", "i5"} <= set(two.ids)
        assert list(two.scores) == sorted(two.scores, reverse=True)


def test_an_unknown_item_of_the_history_is_answered(
    fitted: list[baselines.Baseline],
) -> None:
    catalogue = Catalogue(explorer_cases.prepared(), "test")
    for baseline in fitted:
        plain = columns.of_baseline(baseline, catalogue, [], [], ALL)
        other = columns.of_baseline(baseline, catalogue, ["?"], ["?"], ALL)
        assert plain.ids == other.ids


def test_a_filter_leaves_what_passes_in_the_same_order(
    fitted: list[baselines.Baseline],
) -> None:
    catalogue = Catalogue(explorer_cases.prepared(), "test")
    odd = np.arange(len(ALL)) % 2 == 1
    for baseline in fitted:
        whole = columns.of_baseline(baseline, catalogue, ["i0"], [], ALL)
        some = columns.of_baseline(baseline, catalogue, ["i0"], [], odd)
        assert some.ids == [i for i in whole.ids if odd[catalogue.row(i)]]
        assert 0 < len(some.ids) < len(whole.ids)
    asked = explorer_cases.Student(), catalogue, ["i1"], ["i3"]
    whole, some = (columns.of_student(*asked, passes) for passes in (ALL, odd))
    assert some.ids == [i for i in whole.ids if odd[catalogue.row(i)]]
    assert some.ids and "i5" in some.ids and "i4" in whole.ids
