import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.sources.canonical import quarantine
from pipeline.sources.canonical.quarantine import Quarantine
from pipeline.sources.canonical.tables import Batch
from pipeline.tables.schema import DataError


def batch(rows: int, first: int = 1) -> Batch:
    return Batch(
        {"user_id": pa.array([f"u{n}" for n in range(rows)])},
        np.arange(first, first + rows),
        "log.csv",
    )


def test_a_row_is_counted_for_its_first_reason(tmp_path: Path) -> None:
    kept = Quarantine(tmp_path / "q.jsonl", 0.5)
    bad = np.zeros(3, bool)
    bad |= kept.add("it is odd", batch(3), np.array([1, 0, 1], bool), bad)
    new = kept.add("it is late", batch(3), np.array([1, 1, 0], bool), bad)
    assert new.tolist() == [False, True, False]
    assert dict(kept.counts) == {"it is odd": 2, "it is late": 1}
    lines = [
        json.loads(line)
        for line in (tmp_path / "q.jsonl").read_text().splitlines()
    ]
    assert [(e["line"], e["values"]["user_id"]) for e in lines] == [
        (1, "u0"), (3, "u2"), (2, "u1"),
    ]  # fmt: skip
    kept.seen(3, "log.csv")
    with pytest.raises(DataError, match=r"3 of 3 \(100.00%\) in log.csv"):
        kept.check()


def test_the_share_is_of_one_file(tmp_path: Path) -> None:
    kept = Quarantine(tmp_path / "q.jsonl", 0.5)
    kept.add("it is odd", batch(2), np.array([1, 0], bool), np.zeros(2, bool))
    kept.seen(2, "log.csv")
    kept.seen(1_000, "other.csv")
    kept.check()
    kept.add_line("it is no row", "log.csv", 9, "x")
    with pytest.raises(DataError, match="2 of 3"):
        kept.check()


def test_beyond_a_number_rows_are_only_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "KEPT", 4)
    kept = Quarantine(tmp_path / "q.jsonl", 1.0)
    for first in (1, 4, 7):
        kept.add(
            "it is odd", batch(3, first), np.ones(3, bool), np.zeros(3, bool)
        )
    assert kept.counts["it is odd"] == 9
    assert len((tmp_path / "q.jsonl").read_text().splitlines()) == 4
    assert kept.lines() == [
        "9 rows set aside because it is odd; the first: log.csv line 1: "
        "user_id='u0'"
    ]


def test_sound_data_leaves_no_file(tmp_path: Path) -> None:
    kept = Quarantine(tmp_path / "q.jsonl", 0.0)
    kept.add("it is odd", batch(2), np.zeros(2, bool), np.zeros(2, bool))
    kept.seen(2, "log.csv")
    kept.check()
    assert kept.lines() == []
    assert not (tmp_path / "q.jsonl").exists()
