"""What is one id in the files is one id in the tables, whatever its type."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import sources
from pipeline.run.data import TabularSource
from pipeline.sources.reading import files
from pipeline.sources.tabular import reader
from pipeline.tables.schema import DataError

LONG = [2**64 - 1, 2**64 - 2, 2**64 - 3, 12]


def items_of(path: Path, out: Path) -> tuple[list[str], str]:
    rows, notes = read(path, out)
    return [row["item_id"] for row in rows], notes


def read(path: Path, out: Path, **options: Any) -> tuple[list[dict], str]:
    """The interactions as read, and the notes."""
    out.mkdir()
    source = TabularSource(path=str(path), **{"timestamp": "", **options})
    found = sources.read(source, 0, out)
    rows = pq.read_table(found.interactions).to_pylist()
    return rows, "\n".join(found.notes)


def written(path: Path, *lines: object) -> Path:
    texts = [v if isinstance(v, str) else json.dumps(v) for v in lines]
    path.write_text("\n".join(texts) + "\n")
    return path


def log(path: Path, *items: str) -> Path:
    return written(path, "user_id,item_id", *(f"u1,{item}" for item in items))


def users(rows: list[dict]) -> list[str]:
    return [row["user_id"] for row in rows]


@pytest.mark.parametrize("more", [[], [2**64], [2**200, "u1"], [1.5, 2**63]])
def test_long_numbers_in_json_keep_their_digits(
    tmp_path: Path, more: list[Any]
) -> None:
    ids = [*LONG, *more]
    rows = [{"user_id": v, "item_id": "a"} for v in ids]
    path = written(tmp_path / "log.jsonl", *rows)
    assert users(read(path, tmp_path / "out")[0]) == [str(v) for v in ids]


def test_long_numbers_inside_of_json_keep_their_digits(tmp_path: Path) -> None:
    path = written(
        tmp_path / "log.jsonl",
        *({"user": {"id": v}, "item_id": [v, 7]} for v in LONG),
    )
    rows, _notes = read(path, tmp_path / "out", user_id="user.id")
    assert users(rows) == [str(v) for v in LONG for _item in range(2)]
    assert [r["item_id"] for r in rows[::2]] == [str(v) for v in LONG]
    assert {r["item_id"] for r in rows[1::2]} == {"7"}


def test_half_a_letter_in_json_sets_its_row_aside(tmp_path: Path) -> None:
    good = {"user_id": "u\U0001f600", "item_id": "a"}
    bad = {"user_id": "u\ud83d", "item_id": "a"}
    path = written(tmp_path / "log.jsonl", good, bad, good)
    rows, notes = read(path, tmp_path / "out", max_bad_share=0.5)
    assert users(rows) == ["u\U0001f600"] * 2
    assert "half a surrogate pair" in notes and "log.jsonl line 2" in notes


@pytest.mark.parametrize(
    ("kind", "limit"), [(pa.float64(), 2.0**53), (pa.float32(), 2.0**24)]
)
def test_ids_that_their_type_cannot_tell_apart_are_refused(
    tmp_path: Path, kind: pa.DataType, limit: float
) -> None:
    path = tmp_path / "log.parquet"

    def write(*ids: float | None) -> Path:
        items = ["a"] * len(ids)
        table = {"user_id": pa.array(ids, kind), "item_id": items}
        pq.write_table(pa.table(table), path)
        return path

    rows, _notes = read(write(7.0, limit - 1.0), tmp_path / "below")
    assert users(rows) == ["7", str(int(limit) - 1)]
    with pytest.raises(DataError, match=r"log.parquet line 2\).*int64"):
        read(write(7.0, limit, None), tmp_path / "above")


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (["17.0", "18", " 19.0 "], ["17", "18", "19"]),
        # Versions and codes are no floats.
        (["1.0", "1.5"], ["1.0", "1.5"]),
        (["17.0", "A1"], ["17.0", "A1"]),
        (["007.0", "8."], ["007", "8"]),
    ],
)
def test_ids_lose_the_point_of_floats_alone(
    tmp_path: Path, values: list[str], ids: list[str]
) -> None:
    path = log(tmp_path / "log.csv", *values)
    assert items_of(path, tmp_path / "out")[0] == ids


@pytest.mark.parametrize(
    ("first", "second", "ids", "words"),
    [
        (
            ["1.0", "1.5"],
            ["1.0", "2.0"],
            ["1.0", "1.5", "1.0", "2.0"],
            r"with '\.0' in all files.*'1\.0' in \S+b\.csv",
        ),
        (
            ["1.0", "2.0"],
            ["1.0", "1.5"],
            ["1", "2", "1", "1.5"],
            r"without '\.0' in all files.*'1\.5' in \S+b\.csv",
        ),
        (
            ["1.5"],
            ["1.0", "2.0"],
            ["1.5", "1.0", "2.0"],
            r"with '\.0' in all files.*'1\.0' in \S+b\.csv",
        ),
    ],
    ids=["versions first", "floats first", "versions without .0"],
)
@pytest.mark.parametrize("as_blocks", [False, True])
def test_an_id_reads_alike_in_all_files_and_blocks(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: list[str],
    second: list[str],
    ids: list[str],
    words: str,
    as_blocks: bool,
) -> None:
    path = tmp_path / "log"
    path.mkdir()
    if as_blocks:
        log(path / "b.csv", *first, *second)
        size = len("user_id,item_id\n" + "".join(f"u1,{v}\n" for v in first))
        monkeypatch.setattr(files, "BLOCK", size)
    else:
        log(path / "a.csv", *first)
        log(path / "b.csv", *second)
    found, notes = items_of(path, tmp_path / "out")
    assert found == ids
    assert re.search(words, notes)


@pytest.mark.parametrize(
    ("in_log", "in_items", "ids"),
    [
        (["1.0", "2.0"], ["1.0", "1.5"], ["1", "1.5"]),
        (["1.0", "1.5"], ["1.0", "2.0"], ["1.0", "2.0"]),
        (["1", "2"], ["1.0", "2.0"], ["1", "2"]),
    ],
)
def test_items_read_as_the_log_does(
    tmp_path: Path, in_log: list[str], in_items: list[str], ids: list[str]
) -> None:
    path = log(tmp_path / "log.csv", *in_log)
    items = written(
        tmp_path / "items.csv", "item_id,x", *(f"{v},1" for v in in_items)
    )
    source = TabularSource(
        path=str(path),
        timestamp="",
        items_path=str(items),
        item_features={"x": "categorical"},
    )
    (tmp_path / "out").mkdir()
    found = sources.read(source, 0, tmp_path / "out")
    assert found.items
    assert pq.read_table(found.items)["item_id"].to_pylist() == ids


def test_doubles_read_alike_in_all_blocks(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.mkdir()
    for name, ids in (("a", [2e10, 3.0]), ("b", [2e10, 3.5])):
        table = {"user_id": ["u", "u"], "item_id": ids}
        pq.write_table(pa.table(table), path / f"{name}.parquet")
    found, _notes = items_of(path, tmp_path / "out")
    assert found == ["20000000000", "3", "20000000000", "3.5"]


@pytest.mark.parametrize(
    ("ids", "items"), [("1.0 1.5 2.0", "1.0 2.0"), ("1.0 3.0", "1.0 9.5")]
)
def test_items_that_come_later_read_as_the_log_did(
    tmp_path: Path, ids: str, items: str
) -> None:
    rows = (f"{item},x" for item in items.split())
    source = TabularSource(
        path=str(log(tmp_path / "log.csv", *ids.split())),
        timestamp="",
        items_path=str(written(tmp_path / "items.csv", "item_id,kind", *rows)),
        item_features={"kind": "categorical"},
    )
    (tmp_path / "out").mkdir()
    (tmp_path / "later").mkdir()
    tables = sources.read(source, 0, tmp_path / "out")
    assert tables.items
    path, _notes = reader.read_items(
        source, tmp_path / "later", "ITEMS", tables.facts["float_ids"]
    )
    assert pq.read_table(path).equals(pq.read_table(tables.items))
