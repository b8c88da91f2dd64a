"""The nights of `make bench-week` and their log, without training."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.bench import shop_days, week
from pipeline.bench.week import Night, Week


def test_days_are_the_same_and_users_keep_to_their_taste() -> None:
    rows = shop_days.generate(0, 10, 5, 500)
    again = shop_days.generate(0, 10, 5, 500)
    assert np.array_equal(rows.items, again.items)
    assert len(rows.users) == pytest.approx(5_000, rel=0.1)
    assert np.all(np.diff(rows.times) >= 0)
    days = rows.times // 86_400
    assert len(np.unique(days)) == 10
    liked = np.mean(
        [
            shop_days.likes(user, item)
            for user, item in zip(rows.users, rows.items, strict=True)
        ]
    )
    # Four of five, and an eighth of the rest.
    assert liked == pytest.approx(0.825, abs=0.02)


def test_what_was_joined_wrongly_has_the_same_counts_and_no_taste() -> None:
    rows = shop_days.generate(0, 10, 5, 500)
    mixed = shop_days.mixed_up(rows, 0)
    assert np.array_equal(np.sort(rows.items), np.sort(mixed.items))
    assert np.array_equal(rows.users, mixed.users)
    liked = [
        shop_days.likes(user, item)
        for user, item in zip(mixed.users, mixed.items, strict=True)
    ]
    assert np.mean(liked) == pytest.approx(1 / 8, abs=0.03)


def test_a_file_a_day_arrives_and_what_was_wrong_is_put_right(
    tmp_path: Path,
) -> None:
    planted = {2: ("other ids", 4), 4: ("joined wrongly", 3)}
    found = Week(tmp_path, 5, planted, lambda line: None)
    right: dict[str, bytes] = {}
    wrong = []
    for night in range(6):
        found._deliver(night)
        paths = sorted((tmp_path / "interactions").glob("*.parquet"))
        assert len(paths) == night + 1
        now = {path.name: path.read_bytes() for path in paths}
        wrong.append([n for n in right if now[n] != right[n]])
        if night == 2:
            other = set(pq.read_table(paths[-1])["user_id"].to_pylist())
            now.pop(paths[-1].name)
        if night == 3:
            mended = set(pq.read_table(paths[-2])["user_id"].to_pylist())
            assert mended and not mended & other
        right = now | right
    # A wrong join touches what was right; what came wrong is put right.
    assert [len(names) for names in wrong] == [0, 0, 0, 0, 4, 1]
    assert [path.name for path in paths][:2] == [
        *("2026-03-01.parquet", "2026-03-22.parquet")
    ]


def test_the_table_has_a_row_a_night() -> None:
    nights = [
        Night(0, "a.parquet", "", 0, 0, 60.0, 1, 0.2),
        Night(
            1, "b.parquet", "other ids", 4, 4, 5.0, 1, None, None, 90, 0, 7.5
        ),
    ]
    _heads, _line, first, second = week.table(nights).splitlines()
    assert first == "| 0 | good | 0 | 60.0 | 0.2000 |  | 1 | 0 | 0 |  |"
    assert second == "| 1 | other ids | 4 | 5.0 |  |  | 1 | 90 | 0 | 7.5 |"
