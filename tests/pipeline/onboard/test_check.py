import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.onboard import check, draft, evidence, kinds
from pipeline.run import config
from pipeline.run.data import TabularSource
from pipeline.tables.schema import DataError
from tests.support.data_cases import make_config, write_csv


def loaded(tmp_path: Path, *paths: str) -> config.Config:
    text = draft.init_config(*paths).text
    path = tmp_path / "drafted.toml"
    path.write_text(text, "utf-8")
    return config.load(path)


def shop(tmp_path: Path) -> tuple[str, str, str]:
    orders = write_csv(
        tmp_path / "orders.csv",
        "order;customer;sku;ordered_at;channel",
        *[
            f"{n};c{n % 40};{100 + (n * 7 + n // 40) % 50};"
            f"2023-{1 + n // 60:02d}-{1 + n % 28:02d}T10:00:00;"
            f"{'web' if n % 3 else 'shop'}"
            for n in range(600)
        ],
    )
    products = write_csv(
        tmp_path / "products.csv",
        "sku;name;tags;price;colour;picture_url;made",
        *[
            f"{100 + n};Fine thing no {n};{'a|b' if n % 2 else 'c'};{n}.5;"
            f"{'red' if n % 3 else 'blue'};http://x/{n}.jpg;"
            f"2001-01-{1 + n % 28:02d}"
            for n in range(50)
        ],
    )
    people = write_csv(
        tmp_path / "people.csv",
        "id;town;newsletter",
        *[f"c{n};t{n % 4};{n % 2}" for n in range(40)],
    )
    return orders, products, people


def test_a_shop_is_understood(tmp_path: Path) -> None:
    drafted = loaded(tmp_path, *shop(tmp_path))
    source = drafted.source
    assert (source.user_id, source.item_id) == ("customer", "sku")
    assert source.table_ids == {"users": "id"}
    assert source.timestamp == "ordered_at"
    assert source.rating == ""
    assert source.delimiter == ""
    assert source.title == "name"
    assert source.item_features == {
        "name": "text",
        "tags": "multi_categorical",
        "price": "numeric",
        "colour": "categorical",
    }
    assert source.user_features == {
        "town": "categorical",
        "newsletter": "categorical",
    }
    # 40 users are too few for a cut in time.
    assert drafted.prepare.split == "leave_last_out"
    text = (tmp_path / "drafted.toml").read_text()
    assert "leaves out picture_url: it looks like an address" in text
    assert "leaves out made: it is a date" in text
    assert "Not used of the interactions: order, channel" in text


def test_the_draft_of_a_shop_can_be_checked(tmp_path: Path) -> None:
    drafted = loaded(tmp_path, *shop(tmp_path))
    lines = check.check(drafted)
    text = "\n".join(lines)
    assert "600 interactions of 40 users with 50 items" in text
    assert "items table: 50 rows, 0 of them without interactions" in text
    assert "warning: only 40 users in the test part" in text
    assert list(tmp_path.glob("check-*")) == []


def test_a_bare_log_is_understood(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "log.csv",
        "u,i",
        *[f"{n % 30},{n * n % 47}" for n in range(300)],
    )
    drafted = loaded(tmp_path, path)
    assert (drafted.source.user_id, drafted.source.item_id) == ("u", "i")
    assert drafted.source.timestamp == ""
    assert drafted.prepare.split == "leave_last_out"
    # Ten interactions a user.
    assert drafted.retrieval.history_length == 20
    assert drafted.retrieval.num_heads == 8
    assert "no timestamps" in "\n".join(check.check(drafted))


def test_known_moments_of_known_users_get_a_temporal_split(
    tmp_path: Path,
) -> None:
    pq.write_table(
        pa.table(
            {
                "userId": [n % 400 for n in range(8000)],
                "movieId": [n * 31 % 977 for n in range(8000)],
                "rating": [1.0 + n % 5 / 2 for n in range(8000)],
                "timestamp": [1_600_000_000 + 60 * n for n in range(8000)],
            }
        ),
        tmp_path / "ratings.parquet",
    )
    drafted = loaded(tmp_path, str(tmp_path / "ratings.parquet"))
    assert drafted.prepare.split == "temporal"
    assert drafted.source.rating == "rating"
    # Twenty interactions a user.
    assert drafted.retrieval.history_length == 30
    assert drafted.retrieval.num_heads == 2


def test_events_get_weights(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(
        "\n".join(
            json.dumps(
                {
                    "visitorid": n % 20,
                    "itemid": f"x{n % 33}",
                    "event": "buy" if n % 5 == 0 else "view",
                    "ts": 1_600_000_000_000 + 1000 * n,
                }
            )
            for n in range(400)
        )
    )
    drafted = loaded(tmp_path, str(path))
    assert drafted.source.event_weights == {"view": 1.0, "buy": 1.0}
    lines = check.check(drafted)
    assert "timestamps were read as numbers in ms" in lines


def test_counts_with_a_long_tail_are_no_weights(tmp_path: Path) -> None:
    for name, counts in (("quantity", range(1, 6)), ("plays", (1, 1, 1, 9000))):
        path = write_csv(
            tmp_path / f"{name}.csv",
            f"user,item,{name}",
            *[
                f"{n % 30},{n * n % 47},{counts[n % len(counts)]}"
                for n in range(300)
            ],
        )
        drafted = loaded(tmp_path, path)
        assert drafted.source.weight == (
            "quantity" if name == "quantity" else ""
        )
    assert (
        "Not used of the interactions: plays"
        in (tmp_path / "drafted.toml").read_text()
    )


def test_movielens_is_recognised(tmp_path: Path, movielens_100k: Path) -> None:
    drafted = loaded(tmp_path, str(movielens_100k))
    assert drafted.source.kind == "movielens"
    assert drafted.prepare.split == "leave_last_out"


def test_a_log_without_ids_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "log.csv", "price", "1.5", "2.5")
    drafted = draft.init_config(path)
    assert "a column of users and one of items" in drafted.problem
    assert "['price']" in drafted.problem
    assert loaded(tmp_path, path).source.path == path


def test_orders_of_guests_do_not_stop_the_draft(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "log.csv",
        "user,item,time",
        *[
            f"{n % 30 if n % 4 else ''},{n * n % 47},{1_600_000_000 + n}"
            for n in range(600)
        ],
    )
    drafted = loaded(tmp_path, path)
    assert drafted.source.max_bad_share == 0.3
    text = (tmp_path / "drafted.toml").read_text()
    assert "# 150 rows set aside because `user_id` is empty." in text
    check.check(drafted)


def test_exact_repeats_are_left_out(tmp_path: Path) -> None:
    # Repeats of what is in the history are no targets: nothing would be left.
    rows = [f"{n // 8},{n * n % 47},{1_600_000_000 + n}" for n in range(240)]
    path = write_csv(tmp_path / "log.csv", "user,item,time", *rows, *rows)
    drafted = loaded(tmp_path, path)
    assert drafted.prepare.repeated == "distinct"
    assert "50% of the interactions" in (tmp_path / "drafted.toml").read_text()
    clean = write_csv(tmp_path / "clean.csv", "user,item,time", *rows)
    assert loaded(tmp_path, clean).prepare.repeated == "keep"


def test_a_log_of_one_item_is_refused(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "log.csv", "user,item", *[f"{n % 9},x" for n in range(60)]
    )
    assert "item_id = 'item' says the same" in "".join(
        draft.init_config(path).doubts
    )
    assert "1 in the train part" in draft.init_config(path).problem


def test_a_log_that_leaves_nobody_to_test_is_refused(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "log.csv", "user,item", *[f"{n},{n % 9}" for n in range(60)]
    )
    drafted = draft.init_config(path)
    assert "none of 60 users" in drafted.problem
    assert 'user_id = "user"' in drafted.text
    with pytest.raises(DataError, match="none of 60 users"):
        check.check(
            make_config(
                TabularSource(
                    kind="tabular",
                    path=path,
                    user_id="user",
                    item_id="item",
                    timestamp="",
                )
            )
        )


def test_warnings_name_what_is_wrong(tmp_path: Path) -> None:
    log = write_csv(
        tmp_path / "log.csv",
        "user_id,item_id,timestamp",
        *[f"u{n % 50},i{n % 7},5" for n in range(300)],
        "u1,stray,9",
    )
    items = write_csv(
        tmp_path / "items.csv", "item_id,x", *[f"i{n},{n}" for n in range(9)]
    )
    source = TabularSource(
        kind="tabular",
        path=log,
        items_path=items,
        item_features={"x": "numeric"},
    )
    text = "\n".join(check.check(make_config(source)))
    assert "warning: 1 items of the interactions are not in the items" in text
    assert "fall into the same second" in text
    assert "warning: only 7 items in the train part" in text


COLUMNS: list[tuple[str, list[Any], str]] = [
    ("age", [18, 25, 35] * 20, "categorical"),
    ("height", list(range(100, 160)), "numeric"),
    ("price", [n + 0.5 for n in range(60)], "numeric"),
    ("genres", ["a|b", "b", "c|a"] * 20, "multi_categorical"),
    ("tags", [["a", "b"], ["c"], []] * 20, "multi_categorical"),
    ("brand", ["x", "y", "z"] * 20, "categorical"),
    ("about", [f"some words about {n}" for n in range(60)], "text"),
    ("code", [f"Z{n}" for n in range(60)], ""),
    ("image_url", ["http://x", "http://y"] * 30, ""),
    ("empty", [None] * 60, ""),
    ("same", ["x"] * 60, ""),
]


@pytest.mark.parametrize(
    ("name", "values", "kind"), COLUMNS, ids=[c[0] for c in COLUMNS]
)
def test_kinds_of_columns(name: str, values: list[Any], kind: str) -> None:
    found, left_out, _sep = kinds.features(
        evidence.columns({name: pa.array(values)}), "id"
    )
    assert found.get(name, "") == kind
    assert (name in left_out) == (not kind)
