import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.prepare import sequences as writing
from pipeline.prepare import step, summary
from pipeline.run.data import (
    PrepareConfig,
    Source,
    SyntheticSource,
    TabularSource,
)
from pipeline.tables import sequences
from pipeline.tables.prepared import load
from pipeline.tables.schema import TEST, TRAIN, VALIDATION, DataError
from tests.support.data_cases import events, make_config, prepared, write_csv

HEADER = "user_id,item_id,timestamp,rating,device"


def small(tmp_path: Path) -> Source:
    # ann: a b c d; bob: b a; cid: c b e, where e is in no items table.
    log = write_csv(
        tmp_path / "log.csv",
        HEADER,
        "ann,b,20,4,phone",
        "ann,a,10,5,phone",
        "cid,c,11,1,",
        "ann,c,30,3,tv",
        "bob,b,12,2,tv",
        "cid,b,21,2,phone",
        "ann,d,40,3,radio",
        "cid,e,41,5,tv",
        "bob,a,22,5,tv",
    )
    items = write_csv(
        tmp_path / "items.csv",
        "item_id,name,tags,price",
        "a,Alpha One,red|blue,10",
        "b,Beta,red,20",
        "c,Gamma,green|red,",
        "d,Delta one,gold,40",
        "z,Zeta,blue,50",
    )
    users = write_csv(
        tmp_path / "users.csv",
        "user_id,town",
        "ann,Rome",
        "bob,",
        "eve,Oslo",
    )
    return TabularSource(
        kind="tabular",
        path=log,
        items_path=items,
        users_path=users,
        rating="rating",
        title="name",
        item_features={
            "tags": "multi_categorical",
            "price": "numeric",
            "name": "text",
        },
        user_features={"town": "categorical"},
        context_features={"device": "categorical"},
    )


def test_a_small_log_worked_by_hand(tmp_path: Path) -> None:
    found = prepared(tmp_path / "out", small(tmp_path))
    # Train: ann a b, bob b a (too short to split), cid c. Validation: ann c,
    # cid b. Test: ann d, cid e. a and b have 2 train interactions, c has 1;
    # d and z have none, and e has no row at all.
    assert found.items.ids.tolist() == ["", "", "a", "b", "c", "d", "z"]
    assert found.items.num_known == 5
    assert found.items.counts.tolist() == [
        [0, 0, 2, 2, 1, 0, 0],
        [0, 0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 0],
    ]
    assert found.items.first_seen.tolist() == [0, 0, 10, 12, 11, 0, 0]
    assert found.items.titles[5] == "Delta one"
    assert found.users.ids.tolist() == ["", "", "ann", "bob", "cid"]
    assert found.users.num_known == 5
    assert events(found, "ann") == [
        ("a", 10, TRAIN),
        ("b", 20, TRAIN),
        ("c", 30, VALIDATION),
        ("d", 40, TEST),
    ]
    assert events(found, "cid") == [
        ("c", 11, TRAIN),
        ("b", 21, VALIDATION),
        ("", 41, TEST),
    ]
    block = found.sequences()
    assert block.item_indices[-1] == 1
    assert block.ratings is not None
    assert block.ratings.tolist() == [5, 4, 3, 3, 2, 5, 1, 2, 5]


def test_vocabularies_come_from_train_rows_only(tmp_path: Path) -> None:
    found = prepared(tmp_path / "out", small(tmp_path))
    # Of a, b and c: red 3, blue 1, green 1. gold is on d alone, which train
    # never saw, so it is out of vocabulary.
    assert found.vocabularies["items.tags"] == ["red", "blue", "green"]
    assert found.items.features["tags"].tolist() == [
        [0, 0], [0, 0], [2, 3], [2, 0], [4, 2], [1, 0], [3, 0],
    ]  # fmt: skip
    assert found.vocabularies["items.name"] == ["alpha", "beta", "gamma", "one"]
    assert found.items.features["name"][5].tolist() == [1, 5]
    # Mean of 10 and 20 is 15 and the deviation 5; c has no price.
    assert found.items.features["price"].tolist() == [0, 0, -1, 1, 0, 5, 7]
    assert found.vocabularies["users.town"] == ["Rome"]
    assert found.users.features["town"].tolist() == [0, 0, 2, 0, 0]
    # Train devices: phone 2 (ann), tv 2 (bob), none for cid.
    assert found.vocabularies["context.device"] == ["phone", "tv"]
    assert found.sequences().context["device"].tolist() == [
        2, 2, 3, 1, 3, 3, 0, 2, 3,
    ]  # fmt: skip


def test_summary_counts_parts_and_cold_users(tmp_path: Path) -> None:
    found = prepared(tmp_path / "out", small(tmp_path))
    assert found.summary["interactions"] == 9
    assert found.summary["density"] == pytest.approx(9 / 15)
    parts = found.summary["parts"]
    assert [parts[p]["interactions"] for p in parts] == [5, 2, 2]
    assert parts["test"]["cold_items_share"] == 1.0
    assert parts["test"]["cold_users_share"] == 0.0
    lines = "\n".join(summary.describe(found.summary))
    assert "9 interactions of 3 users with 5 items" in lines
    assert "leave_last_out" in lines


def test_temporal_split_sends_ties_at_a_cut_to_the_later_part(
    tmp_path: Path,
) -> None:
    log = write_csv(
        tmp_path / "log.csv",
        "user_id,item_id,timestamp",
        *[f"u{n % 3},i{n},{time}" for n, time in enumerate(
            [1, 2, 3, 4, 5, 6, 7, 7, 7, 9]
        )],
    )  # fmt: skip
    found = prepared(
        tmp_path / "out",
        TabularSource(kind="tabular", path=log),
        split="temporal",
        validation_share=0.3,
        test_share=0.1,
    )
    # The quantiles .6 and .9 of the ten times are 6.4 and 7.2, so the cuts
    # are 7 and 8: all three interactions at 7 are validation.
    block = found.sequences()
    by_time = dict(zip(block.timestamps, block.parts, strict=True))
    assert by_time == {
        1: 0, 2: 0, 3: 0, 4: 0, 5: 0, 6: 0, 7: 1, 9: 2,
    }  # fmt: skip
    assert found.summary["cuts"]["validation_from"] == 7


@pytest.mark.parametrize("split", ["temporal", "leave_last_out", "random"])
@settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_log_is_partitioned_without_leaks(
    tmp_path_factory: pytest.TempPathFactory, split: str, data: st.DataObject
) -> None:
    log = data.draw(
        st.lists(
            st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(0, 30)),
            min_size=12,
            max_size=60,
        )
    )
    directory = tmp_path_factory.mktemp("leak")
    rows = [f"u{u},i{i},{t}" for u, i, t in log]
    shuffled = data.draw(st.permutations(rows))
    outs = []
    for name, order in (("one", rows), ("two", shuffled)):
        path = write_csv(
            directory / f"{name}.csv", "user_id,item_id,timestamp", *order
        )
        try:
            outs.append(
                prepared(
                    directory / name,
                    TabularSource(kind="tabular", path=path),
                    split=split,
                    validation_share=0.2,
                    test_share=0.2,
                )
            )
        except DataError as error:
            outs.append(None)
            expected = ("temporal split needs", "train part must have")
            assert any(text in str(error) for text in expected)
    if outs[0] is None or outs[1] is None:
        assert outs == [None, None]
        return
    block, again = outs[0].sequences(), outs[1].sequences()
    # The order of the rows in the file does not matter.
    for name in ("user_ids", "item_indices", "timestamps", "parts"):
        assert getattr(block, name).tolist() == getattr(again, name).tolist()
    # Every interaction is there once.
    users = np.repeat(block.user_ids, np.diff(block.offsets))
    assert sorted(zip(users, block.timestamps.tolist(), strict=True)) == sorted(
        (f"u{u}", t) for u, _i, t in log
    )
    inside = users[1:] == users[:-1]
    assert (np.diff(block.timestamps)[inside] >= 0).all()
    if split != "random":
        assert (np.diff(block.parts)[inside] >= 0).all()
    if split == "temporal":
        latest = block.timestamps[block.parts == TRAIN].max()
        later = block.timestamps[block.parts != TRAIN]
        assert (later > latest).all()
    # Indices that have an embedding are those that train saw.
    seen = set(block.item_indices[block.parts == TRAIN].tolist())
    assert seen == set(range(2, outs[0].items.num_known))


def test_row_groups_are_bounded_and_stream_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "ROW_GROUP_SIZE", 64)
    source = SyntheticSource(
        num_users=60, num_items=40, interactions_per_user=8
    )
    found = prepared(tmp_path / "out", source)
    file = pq.ParquetFile(found.directory / sequences.FILE)
    assert file.num_row_groups > 5
    blocks = list(sequences.iterate(found.directory, rows=4))
    assert max(len(block.user_ids) for block in blocks) <= 4
    whole = found.sequences()
    for name in ("user_ids", "item_indices", "parts", "ratings"):
        joined = np.concatenate([getattr(block, name) for block in blocks])
        assert joined.tolist() == getattr(whole, name).tolist()
    lengths = np.concatenate([np.diff(block.offsets) for block in blocks])
    assert np.diff(whole.offsets).tolist() == lengths.tolist()
    assert whole.user_ids.tolist() == found.users.ids[2:].tolist()


def test_filters_apply_until_nothing_changes(tmp_path: Path) -> None:
    # i3 has one interaction; without it u2 has one left and goes too, and
    # then i2 has one.
    log = write_csv(
        tmp_path / "log.csv",
        "user_id,item_id,timestamp",
        "u0,i0,1", "u0,i1,2", "u1,i0,3", "u1,i1,4",
        "u1,i2,5", "u2,i2,6", "u2,i3,7",
    )  # fmt: skip
    found = prepared(
        tmp_path / "out",
        TabularSource(kind="tabular", path=log),
        min_user_interactions=2,
        min_item_interactions=2,
    )
    assert sorted(found.users.ids[2:]) == ["u0", "u1"]
    assert sorted(found.items.ids[2:]) == ["i0", "i1"]
    assert found.summary["interactions_read"] == 7


@pytest.mark.parametrize(
    ("repeated", "times"),
    [("keep", [1, 2, 3, 4]), ("first", [1, 2]), ("last", [2, 4])],
)
def test_repeated_interactions(
    tmp_path: Path, repeated: str, times: list[int]
) -> None:
    log = write_csv(
        tmp_path / "log.csv",
        "user_id,item_id,timestamp",
        "u,a,1", "u,b,2", "u,a,3", "u,a,4",
    )  # fmt: skip
    found = prepared(
        tmp_path / "out",
        TabularSource(kind="tabular", path=log),
        repeated=repeated,
    )
    assert found.sequences().timestamps.tolist() == times


def test_dates_ratings_and_samples_filter(tmp_path: Path) -> None:
    log = write_csv(
        tmp_path / "log.csv",
        "user_id,item_id,timestamp,rating",
        "u,a,2020-01-01,5",
        "u,b,2020-01-02,1",
        "u,c,2020-01-03,4",
        "u,d,2020-01-04,4",
    )
    source = TabularSource(kind="tabular", path=log, rating="rating")
    found = prepared(
        tmp_path / "out",
        source,
        min_rating=3.0,
        period="2020-01-01/2020-01-04",
    )
    assert sorted(found.items.ids[2:]) == ["a", "c"]
    with pytest.raises(DataError, match="filters must leave interactions"):
        prepared(tmp_path / "none", source, min_rating=6.0)


def test_the_log_alone_is_enough(tmp_path: Path) -> None:
    log = write_csv(tmp_path / "log.csv", "who,what", "u,a", "u,b", "u,c")
    found = prepared(
        tmp_path / "out",
        TabularSource(
            kind="tabular",
            path=log,
            user_id="who",
            item_id="what",
            timestamp="",
        ),
    )
    assert events(found, "u") == [("a", 0, 0), ("", 1, 1), ("", 2, 2)]
    assert found.sequences().ratings is None
    assert found.items.specs == ()
    # b and c are neither in train nor in an items table.
    assert found.items.ids.tolist() == ["", "", "a"]
    assert any("order of the rows" in n for n in found.summary["notes"])


def test_an_empty_log_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    log = write_csv(tmp_path / "log.csv", "user_id,item_id,timestamp")
    (tmp_path / "out").mkdir()
    config = make_config(TabularSource(kind="tabular", path=log))
    with pytest.raises(DataError, match=r"must have rows\. Received: 0"):
        step.run(config, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_loading_what_is_not_there_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Run the prepare step"):
        load(tmp_path)


def test_unknown_engine_settings_are_explained(tmp_path: Path) -> None:
    config = make_config(small(tmp_path), memory_limit="lots")
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="memory_limit = 'lots'"):
        step.run(config, tmp_path / "out")


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    source = SyntheticSource(
        num_users=50, num_items=40, interactions_per_user=6
    )
    for name in ("one", "two"):
        prepared(tmp_path / name, source, split="temporal")
    names = sorted(
        str(path.relative_to(tmp_path / "one"))
        for path in (tmp_path / "one").rglob("*")
        if path.is_file()
    )
    assert {"sequences.parquet", "summary.json", "tables.json"} <= set(names)
    for name in names:
        first, second = (tmp_path / n / name for n in ("one", "two"))
        assert first.read_bytes() == second.read_bytes(), name


def test_the_summary_is_plain_json(tmp_path: Path) -> None:
    found = prepared(tmp_path / "out", small(tmp_path))
    kept = json.loads((found.directory / "summary.json").read_text())
    assert kept == found.summary
    assert PrepareConfig().split == "temporal"
