"""A few requests with their lists, as people read them."""

from dataclasses import replace

import numpy as np

from pipeline.evaluate import examples
from pipeline.evaluate.examples import Example
from pipeline.measure import requests
from tests.support.prepared_stub import make_prepared


def test_ten_users_from_the_shortest_history_to_the_longest(tmp_path):
    rows = [[2 + place for place in range(3 + user)] for user in range(30)]
    prepared = make_prepared(rows, 40)
    asked = requests.make(prepared, "test")
    lists = np.zeros((len(asked), 12), np.int32)
    examples.write(tmp_path, prepared, asked, {"ease": (lists, lists)})
    found = examples.read(tmp_path)
    assert [example.length for example in found] == sorted(
        example.length for example in found
    )
    assert len(found) == 10
    assert (found[0].user, found[-1].user) == ("u0", "u29")
    # Padding is no item, and no more is kept than a person reads.
    assert found[-1].lists == {"ease": []}
    assert len(found[-1].history) == 10


def test_titles_stand_for_items_where_there_are_any(tmp_path):
    prepared = make_prepared([[2, 1, 3, 4]], 4)
    titles = prepared.items.titles.copy()
    titles[3] = "<Heat>"
    prepared = replace(prepared, items=replace(prepared.items, titles=titles))
    asked = requests.make(prepared, "test")
    lists = np.array([[3, 5, 0]], np.int32)
    examples.write(tmp_path, prepared, asked, {"ease": (lists, lists)})
    assert examples.read(tmp_path) == [
        Example(
            "u0",
            3,
            ["<Heat>", "(unknown item)", "i0"],
            ["i2"],
            {"ease": ["<Heat>", "i3"]},
        )
    ]
    assert examples.read(tmp_path / "elsewhere") == []
