from pathlib import Path

import pytest

from pipeline.bench import phases, scale
from pipeline.tables.schema import DataError


def test_a_phase_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    figures = phases.measure(phases.generated, tmp_path, 20_000)
    assert list((tmp_path / "log-20000").glob("part-*.parquet"))
    assert 0 < figures["cpu_seconds"] < 60
    assert 0.01 < figures["peak_gib"] < 2


def crash(directory: Path, interactions: int) -> dict[str, float]:
    raise SystemExit(9)


def test_a_phase_that_dies_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="exit status 9 of crash at 5 "):
        phases.measure(crash, tmp_path, 5)


def test_costs_and_estimates_follow_from_what_was_measured() -> None:
    figures = {
        "prepare": {"seconds": 2.0, "cpu_seconds": 3.0, "peak_gib": 0.5},
        "feed": {"seconds": 1.0, "examples": 800, "peak_gib": 1.0},
        "train": {
            "seconds": 10.0,
            "examples": 400,
            "epoch_examples": 800,
            "cores": 1.5,
            "items": 50,
            "peak_gib": 1.5,
        },
    }
    row = scale.row(1_000, figures, price=2.0)
    assert row["prepare_rows_per_second"] == 500
    assert row["train_examples_per_second"] == 40
    # 16 epochs of 800 examples at 40 a second, on one and a half cores.
    assert row["train_hours"] == pytest.approx(320 / 3600)
    assert row["core_hours"] == pytest.approx((320 * 1.5 + 3) / 3600)
    assert row["cost"] == pytest.approx(2 * row["core_hours"])
    grown = scale.estimate(row, 100_000)
    assert grown["cost"] == pytest.approx(100 * row["cost"])
    assert grown["items"] == 500
    shown = scale.table(scale.Report(2.0, measured=[row], estimated=[grown]))
    assert [cells[0] for cells in shown] == [
        "interactions",
        "1,000",
        "~100,000",
    ]
    assert shown[1][2] == "0.50" and shown[2][2] == ""


@pytest.mark.slow
def test_the_benchmark_measures_every_phase(tmp_path: Path) -> None:
    said: list[str] = []
    report = scale.run(tmp_path, [20_000], 1.0, said.append)
    (row,) = report.measured
    assert len(said) == 4
    assert all(value > 0 for value in row.values())
    target = scale.plot(tmp_path / scale.FILE)
    assert "interactions" in target.read_text() or target.stat().st_size > 1e4
