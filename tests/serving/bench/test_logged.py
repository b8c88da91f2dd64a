"""The benchmark of the log, on a server as operators start it."""

import pytest

from serving.bench import logged
from serving.client.command import load
from serving.releases import versions
from tests.support import toy_models


@pytest.mark.slow
def test_the_log_is_off_and_on_in_turns(tmp_path):
    toy_models.export(tmp_path, 1)
    config = toy_models.models_config(tmp_path)

    report = logged.run(config, load.Load(threads=1, seconds=0.5))

    assert [row["loop"] for row in report] == ["off", "on"] * 3
    assert not any(row["failed"] for row in report)
    assert report.num_records > 0
    assert "With the log: " in str(report)
    assert not versions.read_logging(config)
