"""Values are found by their words, and tell which items pass."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.explore.values import ItemValues, Value
from pipeline.tables.schema import DataError

CELLS = {
    "genres": [["Drama", "Sci-Fi"], [], ["Drama"], ["Comédie noire"]],
    "shop": [["Oslo"], ["Oslo"], ["Bergen"], ["Oslo"]],
}


@pytest.fixture(scope="module")
def values() -> ItemValues:
    # Rows 0 and 1 are no items.
    return ItemValues({name: pa.array(c) for name, c in CELLS.items()}, 6)


def test_values_are_found_by_the_start_of_words(values: ItemValues) -> None:
    assert values.search("os") == [Value("shop", "Oslo", 3)]
    assert values.search("noire comedie")[0].value == "Comédie noire"
    assert values.search("fi")[0].value == "Sci-Fi"
    assert [one.value for one in values.search("shop")] == ["Oslo", "Bergen"]
    assert [one.value for one in values.search("")][:2] == ["Oslo", "Drama"]
    assert values.search("slo") == []


def test_any_value_of_every_feature_passes(values: ItemValues) -> None:
    def passing(**filters: list[str]) -> list[int]:
        found: list[int] = np.flatnonzero(values.passing(filters)).tolist()
        return found

    assert passing() == [0, 1, 2, 3, 4, 5]
    assert passing(genres=["Drama"]) == [2, 4]
    assert passing(genres=["Drama", "Comédie noire"]) == [2, 4, 5]
    assert passing(genres=["Drama"], shop=["Oslo"]) == [2]
    assert passing(genres=["Western"]) == []


def test_an_unknown_feature_is_refused(values: ItemValues) -> None:
    with pytest.raises(DataError, match=r"genres, shop\. Received: 'genre'"):
        values.passing({"genre": ["Drama"]})
