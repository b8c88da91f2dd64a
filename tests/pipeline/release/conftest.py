"""A run with releases, one of them staged for a trial."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.release import publish, trial
from pipeline.run.config import Config
from pipeline.run.release import PublishConfig
from tests.support.staged import stage


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Version 1 was live, 2 is, 3 is staged; callers are told at once."""
    monkeypatch.setattr(trial, "TOLD_SECONDS", 0.0)
    made = Config(
        name="test",
        seed=1,
        artifacts=str(tmp_path / "artifacts"),
        publish=PublishConfig(stage=True),
    )
    live = replace(made, publish=PublishConfig())
    for number in (1, 2):
        publish.run(live, *stage(live, f"b{number}"))
    assert publish.run(made, *stage(made, "b3")) == (3, True)
    return made
