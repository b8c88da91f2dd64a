"""Columns of any type that Parquet files have are read, each as it is meant."""

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import sources
from pipeline.onboard import draft
from pipeline.run.data import TabularSource
from pipeline.sources.canonical.tables import Tables

SECONDS = 1_600_000_000
UUIDS = [uuid.UUID(int=n * 7919**9) for n in range(4)]


def table(name: str, values: pa.Array) -> pa.Table:
    columns: dict[str, Any] = {
        "user_id": ["u1", "u2", "u3", "u4"],
        "item_id": ["a", "b", "c", "d"],
        "timestamp": [SECONDS] * 4,
    }
    return pa.table(columns | {name: values})


def read(directory: Path, name: str, values: pa.Array, **options: Any) -> Any:
    """A column of the interactions, of a log where `name` has `values`."""
    pq.write_table(table(name, values), directory / "log.parquet")
    found = tables(directory, **options)
    return pq.read_table(found.interactions)[name].to_pylist()


def tables(directory: Path, **options: Any) -> Tables:
    path = str(directory / "log.parquet")
    (directory / "out").mkdir()
    return sources.read(
        TabularSource(path=path, **options), 0, directory / "out"
    )


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (
            pa.array([value.bytes for value in UUIDS], pa.uuid()),
            [str(value) for value in UUIDS],
        ),
        (
            pa.array([value.bytes for value in UUIDS], pa.binary(16)),
            [value.hex for value in UUIDS],
        ),
        (
            pa.array([b"caf\xc3\xa9", b"\xff\x00", b"a1", b"a1"]),
            ["café", "ff00", "a1", "a1"],
        ),
        (pa.array([b"\xfe", b"a", b"b", b"c"]).dictionary_encode(),
         ["fe", "a", "b", "c"]),
        (pa.array(np.array([1, 2, 3, 4], np.float16)), ["1", "2", "3", "4"]),
    ],
    ids=["uuid", "fixed", "binary", "dictionary", "half"],
)  # fmt: skip
def test_ids_of_any_type_are_text(
    tmp_path: Path, values: pa.Array, ids: list[str]
) -> None:
    assert read(tmp_path, "user_id", values) == ids


@pytest.mark.parametrize("kind", [pa.uuid(), pa.binary(16)])
def test_items_of_any_type_in_lists_are_text(
    tmp_path: Path, kind: pa.DataType
) -> None:
    flat = pa.array([value.bytes for value in UUIDS * 2], kind)
    lists = pa.ListArray.from_arrays(
        pa.array([0, 2, 4, 6, 8], pa.int32()), flat
    )
    found = read(tmp_path, "item_id", lists)
    assert [value.replace("-", "") for value in found] == [
        value.hex for value in UUIDS * 2
    ]


def test_features_of_any_type_in_lists_are_text(tmp_path: Path) -> None:
    flat = pa.array([value.bytes for value in UUIDS], pa.uuid())
    tags = pa.ListArray.from_arrays(pa.array([0, 2, 2, 3, 4], pa.int32()), flat)
    path = tmp_path / "log.parquet"
    pq.write_table(table("tags", tags), path)
    features = {"tags": "multi_categorical"}
    found = tables(tmp_path, items_path=str(path), item_features=features)
    assert found.items
    first, second, third, fourth = map(str, UUIDS)
    assert pq.read_table(found.items)["tags"].to_pylist() == [
        [first, second],
        [],
        [third],
        [fourth],
    ]


def test_bytes_of_objects_in_lists_are_features(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    tags = pa.array([[{"key": b"x"}]] * 4)
    pq.write_table(table("tags", tags), path)
    features = {"tags": "multi_categorical"}
    found = tables(tmp_path, items_path=str(path), item_features=features)
    assert found.items
    ((tag,),) = pq.read_table(found.items)["tags"].to_pylist()[:1]
    assert "key" in tag and "x" in tag


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_times_are_cut_to_seconds(tmp_path: Path, zone: str | None) -> None:
    nanos = [SECONDS * 10**9 + n for n in (0, 1, 999_999_999, 10**9)]
    times = pa.array(nanos, pa.timestamp("ns", zone))
    expected = [SECONDS, SECONDS, SECONDS, SECONDS + 1]
    assert read(tmp_path, "timestamp", times) == expected


@pytest.mark.parametrize(
    "values",
    [
        pa.array([2**62, *[SECONDS * 1000] * 3], pa.timestamp("ms")),
        pa.array([2**63 + 1, *[SECONDS] * 3], pa.uint64()),
    ],
    ids=["timestamp", "uint64"],
)
def test_times_beyond_all_years_set_their_rows_aside(
    tmp_path: Path, values: pa.Array
) -> None:
    found = read(tmp_path, "timestamp", values, max_bad_share=0.5)
    assert found == [SECONDS] * 3


def test_views_of_text_are_events(tmp_path: Path) -> None:
    events = pa.array(["buy", "look", "buy", "buy"], pa.string_view())
    pq.write_table(table("event", events), tmp_path / "log.parquet")
    found = tables(tmp_path, event="event", event_weights={"buy": 2.0})
    assert pq.read_table(found.interactions).num_rows == 3


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (
            "user_id",
            pa.array([2**63 + n % 40 for n in range(600)], pa.uint64()),
        ),
        ("rating", pa.array(np.arange(600) % 5, pa.float16())),
        (
            "timestamp",
            pa.array(
                [(SECONDS + 60 * n) * 10**9 + 7 for n in range(600)],
                pa.timestamp("ns"),
            ),
        ),
    ],
)
def test_a_config_is_drafted_for_such_columns(
    tmp_path: Path, name: str, values: pa.Array
) -> None:
    columns: dict[str, Any] = {
        "user_id": [f"u{n % 40}" for n in range(600)],
        "item_id": [f"i{n * n % 53}" for n in range(600)],
        "timestamp": [SECONDS + 60 * n for n in range(600)],
    }
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table(columns | {name: values}), path)
    drafted = draft.init_config(str(path), progress=lambda said: None)
    assert not drafted.problem
    assert f'{name} = "{name}"' in drafted.text
