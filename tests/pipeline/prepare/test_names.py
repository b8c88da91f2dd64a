"""Columns that bear the names of our own, or names that are none to a model."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.run.data import TabularSource
from pipeline.tables.prepared import Prepared
from tests.support.data_cases import prepared, write_csv

# Names that steps use themselves, and names that are none to a model.
ODD = {
    "items": "first_seen listed count_train brand/model größe",
    "users": "id user_row first_seen Home.Town a-b",
    "context": "part tie length turn from_end user_row item_index rating "
    "weight page/section",
}


@pytest.mark.parametrize("split", ["temporal", "leave_last_out"])
def test_columns_may_bear_any_name(tmp_path: Path, split: str) -> None:
    rng = np.random.default_rng(3)

    def features(kind: str, rows: int) -> list[list[str]]:
        width = len(ODD[kind].split())
        return [
            [str(v) for v in row] for row in rng.integers(2, 9, (rows, width))
        ]

    ids = [[str(n)] for n in range(20)]
    tables = {
        "items": [
            a + b for a, b in zip(ids, features("items", 20), strict=True)
        ],
        "users": [
            a + b for a, b in zip(ids, features("users", 20), strict=True)
        ],
        "context": [
            [str(n % 20), str(n * 7 % 19), str(1000 + n), *row]
            for n, row in enumerate(features("context", 200))
        ],
    }
    keys = {"items": "item_id", "users": "user_id"}
    keys["context"] = "user_id,item_id,timestamp"

    def made(name: str, called: dict[str, list[str]]) -> Prepared:
        path = tmp_path / name
        path.mkdir()
        for kind, rows in tables.items():
            head = ",".join([keys[kind], *called[kind]])
            write_csv(path / f"{kind}.csv", head, *map(",".join, rows))
        kinds = {
            kind: {
                column: ("numeric", "categorical")[number % 2]
                for number, column in enumerate(columns)
            }
            for kind, columns in called.items()
        }
        source = TabularSource(
            path=str(path / "context.csv"),
            items_path=str(path / "items.csv"),
            users_path=str(path / "users.csv"),
            item_features=kinds["items"],
            user_features=kinds["users"],
            context_features=kinds["context"],
        )
        return prepared(path / "out", source, split=split, repeated="first")

    odd = made("odd", {kind: text.split() for kind, text in ODD.items()})
    plain = made(
        "plain",
        {
            kind: [f"f{n}" for n in range(len(text.split()))]
            for kind, text in ODD.items()
        },
    )
    for one, other in ((odd.items, plain.items), (odd.users, plain.users)):
        assert len(one.specs) == 5
        for column, twin in zip(
            one.features.values(), other.features.values(), strict=True
        ):
            np.testing.assert_array_equal(column, twin)
        np.testing.assert_array_equal(one.first_seen, other.first_seen)
    told = " ".join(odd.summary["notes"])
    assert "`item_features.größe` is called 'gro_e'" in told
    assert not [note for note in plain.summary["notes"] if "called" in note]
