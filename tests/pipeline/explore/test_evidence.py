"""What speaks for an item, against counting by hand."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.explore.evidence import Evidence, Together
from pipeline.ranking.cooccurrence import Log
from pipeline.tables.ragged import Ragged

_ITEMS = 9
_LOGS = st.lists(
    st.lists(st.integers(2, _ITEMS - 1), min_size=1, max_size=6),
    min_size=1,
    max_size=8,
)


def _evidence(users: list[list[int]], vectors: np.ndarray | None = None):
    histories = Ragged.of(users)
    times = np.zeros(len(histories.items), np.int64)
    if vectors is None:
        vectors = np.zeros((_ITEMS, 2), np.float32)
    return Evidence(vectors, Log(histories, times, _ITEMS, _ITEMS))


@settings(max_examples=50)
@given(_LOGS, st.lists(st.integers(2, _ITEMS - 1), max_size=5))
def test_users_who_took_both_are_counted(
    users: list[list[int]], history: list[int]
) -> None:
    candidates = list(range(2, _ITEMS))
    found = _evidence(users).together(history, candidates)
    takers = {i: {n for n, u in enumerate(users) if i in u} for i in candidates}
    for item, together in zip(candidates, found, strict=True):
        # An item does not speak for itself.
        others = [h for h in set(history) if h != item]
        weights = {
            h: len(takers[h] & takers[item]) / max(len(takers[h]), 1) ** 0.5
            for h in others
        }
        best = max(weights.values(), default=0)
        if not best:
            assert together is None
            continue
        assert together is not None
        assert np.isclose(weights[together.row], best)
        assert together.both == len(takers[together.row] & takers[item])
        assert together.users == len(takers[item])


def test_what_everybody_took_explains_less() -> None:
    users = [[2, 3, 4], [2, 3, 4], [2, 5], [2, 6]]
    assert _evidence(users).together([2, 3], [4]) == [Together(3, 2, 2)]


def test_the_nearest_of_the_history_is_told_with_its_cosine() -> None:
    vectors = np.zeros((_ITEMS, 2), np.float32)
    vectors[2:5] = [[2, 0], [0, 3], [3, 3.1]]
    evidence = _evidence([[2]], vectors)
    (found,) = evidence.nearest([2, 3, 2], [4])
    assert found is not None and found.row == 3
    assert np.isclose(found.cosine, 3.1 / np.hypot(3, 3.1))
    assert evidence.nearest([], [4, 2]) == [None, None]
    assert evidence.nearest([2], []) == []
    assert evidence.together([2], []) == []
