"""Items by words, users by ids, and what of a user may be known."""

import pytest

from pipeline.explore.catalogue import Catalogue
from pipeline.tables.schema import DataError
from tests.support import explorer_cases


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue(explorer_cases.prepared(), "test")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("amelie", ["i4"]),
        ("THIRD, amé", ["i4"]),
        ("tale 07", ["i7"]),
        ("i12", ["i12"]),
        ("ale", []),
        ("07 nothing", []),
        ("", []),
        (" , ", []),
    ],
)
def test_every_word_starts_a_word_of_the_title(
    catalogue: Catalogue, text: str, found: list[str]
) -> None:
    assert catalogue.search(text) == found


def test_popular_titles_come_first_and_few_are_enough(
    catalogue: Catalogue,
) -> None:
    found = catalogue.search("many")
    # All four users took i5 before the test part, three took i0 and i1.
    assert found[:3] == ["i5", "i0", "i1"]
    assert len(found) == 8
    item = catalogue.describe(["i5", "unheard of"])["i5"]
    assert (item.interactions, item.place) == (4, 1)
    assert item.features == {"genres": "Crime"}


def test_users_are_found_by_the_start_of_their_id(
    catalogue: Catalogue,
) -> None:
    assert catalogue.users("") == ["u0", "u1", "u2", "u3"]
    assert catalogue.users("u2") == ["u2"]
    assert catalogue.users("2") == []


def test_a_user_is_known_up_to_the_part_that_is_evaluated(
    catalogue: Catalogue,
) -> None:
    user = catalogue.user("u0")
    assert user.history == ["i0", "i1", "i5", "i2"]
    assert user.targets == ["i3"]
    before = Catalogue(explorer_cases.prepared(), "validation").user("u0")
    assert (before.history, before.targets) == (["i0", "i1", "i5"], ["i2"])
    with pytest.raises(DataError, match="one of the run's 4. Received: 'u9'"):
        catalogue.user("u9")


def test_words_of_a_feature_are_told_by_place(catalogue: Catalogue) -> None:
    rows = catalogue.popular[:3]
    words = catalogue.words["genres"]
    found = [words[i] for i in catalogue.first_word("genres", rows)]
    assert found == ["Crime", "Musical", "Crime"]
