"""What is one id in the files is one id in the tables, whatever its type."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import sources
from pipeline.run.data import TabularSource
from pipeline.tables.schema import DataError

LONG = [2**64 - 1, 2**64 - 2, 2**64 - 3, 12]


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
