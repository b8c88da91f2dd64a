"""The benchmark of two replicas, on servers as operators start them."""

import json

import pytest

from serving.bench import fleet
from serving.client.command import load
from tests.support import toy_models


@pytest.mark.slow
def test_a_replica_is_stopped_and_killed(tmp_path, monkeypatch):
    toy_models.export(tmp_path, 1)
    config = toy_models.models_config(tmp_path)
    monkeypatch.setattr(fleet, "OUTPUT", tmp_path / "bench" / "fleet.json")

    report = fleet.run(config, load.Load(threads=1, seconds=4, rate=20))

    assert [row["loop"] for row in report] == [
        *("healthy", "stopped", "back", "killed")
    ]
    for row in report:
        assert row["requests"] == 80
        # All but the first few; how long they take is for the bench to say.
        assert row["not_answered"] + row["degraded"] <= 8
    written = json.loads(fleet.OUTPUT.read_text())
    assert [row["p50_ratio"] for row in written] == [
        row["p50_ratio"] for row in report
    ]
    assert "80 of 80 answered whole" in str(report)
