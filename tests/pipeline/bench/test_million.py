"""The benchmark of large catalogues, at a size that takes seconds."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.bench import million
from pipeline.run import config


def test_the_log_and_the_options_fit_each_other(tmp_path: Path) -> None:
    bench = million.Bench(tmp_path / "run", 3_000, 2_000)
    bench.write()
    options = config.load(bench.config)
    assert options.run_directory.is_relative_to(tmp_path)
    items = pq.read_table(bench.items).to_pydict()
    assert len(set(items["item_id"])) == 3_000
    for name, share in million.GROUPS.items():
        found = np.mean([group == name for group in items["group"]])
        assert found == pytest.approx(share, abs=0.03)
    log = pq.read_table(bench.log).to_pydict()
    assert len(log["item_id"]) == 2_000
    assert max(log["item_id"]) < 3_000
    # Most of a catalogue this large is never seen.
    assert len(set(log["item_id"])) > 500


def test_a_step_is_measured_and_a_failure_is_none(tmp_path: Path) -> None:
    bench = million.Bench(tmp_path, 300, 2_000)
    bench.write()
    figures = bench.step("prepare")
    assert 0 < figures["cpu_seconds"] < 120
    assert 0.05 < figures["peak_gib"] < 4
    with pytest.raises(subprocess.CalledProcessError):
        bench.step("prepare-nothing")


def test_what_others_measured_stays(tmp_path: Path, monkeypatch) -> None:
    cost = {"step_cpu_ms": 2.0, "step_mib": 4.0}
    monkeypatch.setattr(million.phases, "measure", lambda *_: dict(cost))
    monkeypatch.setattr(
        million.Bench, "step", lambda *_: {"seconds": 1.0, "peak_gib": 2.0}
    )
    served = []
    monkeypatch.setattr(
        million.served, "run", lambda *given: served.append(given)
    )
    path = tmp_path / "run.json"
    path.write_text('{"index": {"recall": 0.96}}')
    bench = million.Bench(tmp_path / "run", 300, 1_000)
    million.run(bench, lambda line: None)
    kept = json.loads(path.read_text())
    assert kept["index"] == {"recall": 0.96}
    assert list(kept["train"]["steps"]) == list(million.STEPS)
    assert kept["train"]["step_time_ratio"] == 1.0
    assert served[0][0] == bench.exports


def test_sizes_stand_beside_each_other(tmp_path: Path, monkeypatch) -> None:
    def measured(bench: million.Bench, progress: object) -> None:
        row = {"seconds": 1.0, "peak_gib": 2.0}
        asked = {"p50_ms": 1.0, "p99_ms": bench.num_items}
        swap = {"steady_p99_ms": 1.0, "swap_p99_ms": 2.0}
        found = {
            "train": {"steps": dict.fromkeys(million.STEPS, row)},
            "request": asked,
            "swap": swap,
        }
        bench.figures.write_text(json.dumps(found))

    monkeypatch.setattr(million, "run", measured)
    arguments = ["--directory", str(tmp_path / "run"), "--items", "300", "100"]
    assert million.main(arguments) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "run-100.json",
        "run.json",
        "run.png",
    ]
    kept = json.loads((tmp_path / "run.json").read_text())
    assert kept["request"]["p99_ms"] == 300
