"""Counts of a log, by hand."""

from pathlib import Path

import pytest

from pipeline.onboard import trial
from pipeline.run.data import TabularSource
from tests.support.data_cases import write_csv

DAY = 86_400
START = 20_000 * DAY


def counted(path: Path, *rows: str, least: float = 0.0) -> dict[str, float]:
    log = write_csv(path / "log.csv", "user_id,item_id,timestamp,stars", *rows)
    with trial.read(TabularSource(path=log, rating="stars")) as tried:
        return tried.count(least)


def test_repeats_are_told_from_returns(tmp_path: Path) -> None:
    found = counted(
        tmp_path,
        f"u,a,{START},5",
        f"u,a,{START},5",
        f"u,a,{START + DAY},5",
        f"u,b,{START + DAY + 9},-1",
        f"v,a,{START},5",
    )
    assert found["rows"] == 5 and found["users"] == 2
    assert found["duplicates"] == 1 and found["repeated"] == 2
    assert found["negative"] == 1 and found["under_3"] == 1
    # Four days on which somebody takes an item, of which one is a return.
    assert found["returns"] == 0.25
    # `a` on 3 of 4 days: three draws give 1.5625 different items, one gives 1.
    assert found["chance"] == pytest.approx(1.0 - 2.5625 / 4)
    assert not found["sorted_by_item"]


def test_low_ratings_are_left_out_where_asked(tmp_path: Path) -> None:
    rows = [f"u,a,{START},5", f"u,b,{START},-1", f"v,a,{START},4"]
    assert counted(tmp_path, *rows, least=4.0)["rows"] == 2


def test_a_log_of_nothing_has_no_habits(tmp_path: Path) -> None:
    found = counted(tmp_path, f"u,a,{START},1", least=4.0)
    assert found["rows"] == 0 and found["chance"] == 0.0


def test_ids_that_are_numbers_are_sorted_as_such(tmp_path: Path) -> None:
    found = counted(
        tmp_path,
        *(f"u{u},{n},{START + n},5" for u in range(3) for n in range(2, 12)),
    )
    assert found["sorted_by_item"]
