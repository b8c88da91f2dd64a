"""Graphs see what training saw, or are not exported."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.export import encode, graphs, skew
from pipeline.run.data import TabularSource
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import DataError
from tests.support.data_cases import prepared, write_csv


@pytest.fixture
def trained(tmp_path: Path) -> Prepared:
    log = write_csv(
        tmp_path / "log.csv",
        "user_id,item_id,timestamp,device,basket",
        *(
            f"u{n % 9},i{n * 5 % 8},{10**9 + 7_000 * n},"
            f"{('phone', 'tv', '')[n % 3]},{n % 7 + 0.25}"
            for n in range(60)
        ),
    )
    items = write_csv(
        tmp_path / "items.csv",
        "item_id,name,tags,price",
        *(f"i{n},Item No {n},t{n % 3}|t{n % 2},{n * 9.99}" for n in range(7)),
        "i7,,,",
    )
    users = write_csv(
        tmp_path / "users.csv",
        "user_id,town",
        *(f"u{n},{('Rome', 'Oslo', '')[n % 3]}" for n in range(9)),
    )
    source = TabularSource(
        kind="tabular",
        path=log,
        items_path=items,
        users_path=users,
        item_features={
            "tags": "multi_categorical",
            "price": "numeric",
            "name": "text",
        },
        user_features={"town": "categorical"},
        context_features={"device": "categorical", "basket": "numeric"},
    )
    return prepared(tmp_path / "out", source)


def compared(trained: Prepared, exported: Prepared) -> list[str]:
    """What is compared where the graphs are made from other tables."""
    items = encode.IdLookup(list(exported.items.ids[2:]))
    return skew.check(
        trained,
        {
            "retrieval": graphs.QueryInputs(exported, items, 5, False),
            "ranking": graphs.QueryInputs(exported, items, 5, True),
        },
        encode.make(exported.columns("items")),
    )


def test_the_same_tables_are_seen_alike(trained: Prepared) -> None:
    query = ["history", "user_id", "user_town"]
    query += ["context_device", "context_basket"]
    assert compared(trained, trained) == [
        *(f"retrieval {name}" for name in query),
        *(f"ranking {name}" for name in query),
        *(f"candidate {name}" for name in ("tags", "price", "name")),
    ]


@pytest.mark.parametrize(
    ("column", "named"),
    [
        ("users.town", "retrieval user_town, ranking user_town"),
        ("context.device", "retrieval context_device, ranking context_device"),
        ("items.tags", "candidate tags"),
        ("items.name", "candidate name"),
    ],
)
def test_a_changed_vocabulary_is_told_by_its_tensors(
    trained: Prepared, column: str, named: str
) -> None:
    changed = {**trained.vocabularies}
    changed[column] = changed[column][::-1]
    other = replace(trained, vocabularies=changed)
    with pytest.raises(DataError, match=rf"other values in {named} \("):
        compared(trained, other)


def test_other_items_users_and_scales_are_told(trained: Prepared) -> None:
    ids = trained.items.ids.copy()
    ids[2:] = ids[2:][::-1]
    other = replace(trained, items=replace(trained.items, ids=ids))
    with pytest.raises(DataError, match="retrieval history, ranking history "):
        compared(trained, other)
    ids = trained.users.ids.copy()
    ids[2:] = ids[2:][::-1]
    other = replace(trained, users=replace(trained.users, ids=ids))
    with pytest.raises(DataError, match=r"in ranking user_id \("):
        compared(trained, other)
    specs = tuple(
        replace(spec, mean=spec.mean + 1) if spec.kind == "numeric" else spec
        for spec in trained.items.specs
    )
    other = replace(trained, items=replace(trained.items, specs=specs))
    with pytest.raises(DataError, match=r"in candidate price \("):
        compared(trained, other)
