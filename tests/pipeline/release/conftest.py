"""A run with releases, one of them staged for a trial."""

from pathlib import Path

import pytest

from pipeline.release import trial
from pipeline.run.config import Config
from tests.support.staged import released


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Version 1 was live, 2 is, 3 is staged; callers are told at once."""
    monkeypatch.setattr(trial, "TOLD_SECONDS", 0.0)
    return released(tmp_path)
