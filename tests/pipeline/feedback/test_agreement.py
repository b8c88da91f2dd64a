"""Agreement of lists, against arithmetic."""

import math

import pytest

from pipeline.feedback import agreement
from pipeline.feedback.agreement import Pairs
from pipeline.feedback.log import Shown


def shown(items: str, start: float = 0.0) -> Shown:
    """Items of one letter each, scores falling by one."""
    return Shown(list(items), [start - place for place in range(len(items))])


@pytest.mark.parametrize(
    ("live", "new", "expected"),
    [
        ("abcdefghij", "abcdefghij", 1.0),
        ("abcdefghij", "jihgfedcba", 1.0),
        ("abcdefghij", "klmnopqrst", 0.0),
        ("abcdefghijx", "xabcdefghij", 0.9),
        ("ab", "bc", 0.5),
        ("ab", "", 0.0),
        ("", "", 1.0),
        ("", "a", 0.0),
    ],
)
def test_overlap_is_of_the_first_ten_of_the_live_list(
    live: str, new: str, expected: float
) -> None:
    assert agreement.overlap(live, new) == expected


def test_the_same_lists_agree_in_everything() -> None:
    pairs = Pairs()
    for _ in range(3):
        pairs.add(shown("abcde"), shown("abcde"), shown("abcde"))
    found = pairs.figures()
    assert (found.lists, found.emptied) == (3, 0)
    assert found.overlap_at_10 == found.common == 1.0
    assert found.spearman == found.kendall == pytest.approx(1.0)
    assert found.score_shift == found.score_ks == 0.0
    assert found.shown_overlap_live == found.shown_overlap_new == 1.0


def test_ranks_and_scores_are_of_the_items_in_common() -> None:
    pairs = Pairs()
    # In common a, c, d: places 0 2 3 there and 3 0 2 here.
    pairs.add(shown("abcd", 9), shown("cxda", 5), None)
    found = pairs.figures()
    assert found.common == 0.75
    # By hand: of three pairs one is in order. Ranks 1 2 3 and 3 1 2: 1 - 6 x 6
    # / (3 x 8).
    assert found.kendall == pytest.approx(-1 / 3, abs=1e-6)
    assert found.spearman == pytest.approx(-0.5, abs=1e-6)
    # Live: 9, 7, 6; new: 2, 5, 3.
    assert found.score_shift == pytest.approx(10 / 3 - 22 / 3, abs=1e-6)
    assert found.score_ks == 1.0
    assert math.isnan(found.shown_overlap_live)


def test_lists_with_nothing_in_common_have_no_order() -> None:
    pairs = Pairs()
    pairs.add(shown("ab"), shown("cd"), shown("ab"))
    pairs.add(shown("ab"), shown(""), shown("ab"))
    found = pairs.figures()
    assert (found.overlap_at_10, found.emptied) == (0.0, 1)
    assert math.isnan(found.spearman)
    assert math.isnan(found.score_shift)
    assert (found.shown_overlap_live, found.shown_overlap_new) == (1.0, 0.0)


def test_the_tenth_that_agrees_least_is_told() -> None:
    pairs = Pairs()
    for number in range(100):
        new = "abcdefghij" if number >= 15 else "klmnopqrst"
        pairs.add(shown("abcdefghij"), shown(new), None)
    found = pairs.figures()
    assert (found.overlap_at_10, found.overlap_at_10_low) == (0.85, 0.0)
