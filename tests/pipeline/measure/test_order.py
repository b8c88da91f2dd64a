"""What a log foretells, on logs of which that is known."""

from collections.abc import Sequence

import numpy as np
import pytest

from models.config import FeatureSpec
from pipeline.measure import order
from pipeline.tables.prepared import Prepared
from tests.support.prepared_stub import make_prepared, make_table

NUM_ITEMS = 400


def log(rows: Sequence[Sequence[int]]) -> Prepared:
    """Items in two genres, even and odd ones."""
    genres = np.arange(NUM_ITEMS + 2)[:, None] % 2 + 2
    spec = FeatureSpec("genres", "multi_categorical", 4, width=1)
    items = make_table(
        "i",
        NUM_ITEMS,
        NUM_ITEMS + 2,
        specs=(spec,),
        features={"genres": genres},
    )
    return make_prepared(rows, NUM_ITEMS, items=items)


def test_a_chain_is_foretold_at_the_distances_it_reaches() -> None:
    rng = np.random.default_rng(0)
    starts = rng.integers(0, NUM_ITEMS, 600)
    found = order.measure(
        log([[(s + 2 * n) % NUM_ITEMS + 2 for n in range(8)] for s in starts])
    )
    assert min(found["followers_1"], found["followers_5"]) > 0.9
    # Eight items have nothing ten places behind.
    assert found["followers_10"] == 0.0
    assert found["repeats_genres"] == 1.0
    assert found["chance_genres"] == pytest.approx(0.5, abs=0.05)


def test_nothing_is_foretold_where_there_is_nothing() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(2, NUM_ITEMS + 2, (600, 20)).tolist()
    found = order.measure(log(rows))
    for distance in order.DISTANCES:
        assert found[f"followers_{distance}"] < 0.06
    assert found["popular"] < 0.05
    assert found["repeats_genres"] == pytest.approx(0.5, abs=0.03)


def test_shares_by_hand() -> None:
    # Users 0 and 2 are counted, 1 measured: of its steps 2-3 and 3-5, the
    # first alone was seen.
    found = order.measure(log([[2, 3, 4], [2, 3, 5], [3, 4, 2]]))
    assert found["followers_1"] == 0.5
    assert found["followers_2"] == 0.0
    assert found["popular"] == 1.0


def test_lines_say_it_in_words() -> None:
    lines = order.describe(order.measure(log([[2, 3, 4], [2, 3, 5]])))
    assert "have 50.0% at 1, " in lines[0]
    assert "share a value of genres" in lines[1]
