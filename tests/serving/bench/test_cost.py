"""The benchmark of a question's time, on a server as operators start it."""

import sys

import pytest

from serving.bench import cost
from serving.client.command import load
from tests.support import toy_models


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_the_graph_is_a_part_of_the_request_and_of_the_server(tmp_path):
    toy_models.export(tmp_path, 1)
    config = toy_models.models_config(tmp_path)

    report = cost.run(config, load.Load(threads=1, seconds=1.0))

    (row,) = report
    assert not row["failed"]
    assert 0 < row["graph_ms"] < row["request_ms"] < row["p50_ms"] * 2
    assert row["server_ms"] > row["graph_ms"] / 2
    assert "times as many" in str(report)
