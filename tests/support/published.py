"""A directory that was published to twice."""

import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.release import publish, servable
from pipeline.run.config import Config
from pipeline.run.release import PublishConfig
from pipeline.steps import Run

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "published_before.tar.xz"
# Both are too small to beat more.
GATE = PublishConfig(must_beat=("random",))


def unpack(directory: Path) -> None:
    """Unpacks the release of another time; `serving` in it is live."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(directory, filter="data")
    pointer = directory / "serving" / publish.POINTER
    text = pointer.read_text().replace("@SERVING@", str(pointer.parent))
    pointer.write_text(text)


def publish_twice(run: Run, artifacts: Path) -> Config:
    """Publishes a run over that release, unless that is done already.

    Args:
        run: Evaluated; its files stay as they are.
        artifacts: Where to.

    Returns:
        The run's config there; version 2 is live.
    """
    config = replace(run.config, artifacts=str(artifacts), publish=GATE)
    if not artifacts.exists():
        unpack(artifacts)
        shutil.copytree(run.config.run_directory, config.run_directory)
        with pytest.MonkeyPatch.context() as patch:
            # Ten seconds more: tests/pipeline/release/test_servable.py has it.
            patch.setattr(servable, "tried", lambda *_: [])
            assert Run(config).publish() == 2
    return config


def copied(config: Config, artifacts: Path) -> Config:
    """What was published elsewhere as well, so that a test may change it."""
    shutil.copytree(config.artifacts, artifacts)
    pointer = artifacts / "serving" / publish.POINTER
    text = pointer.read_text().replace(config.artifacts, str(artifacts))
    pointer.write_text(text)
    return replace(config, artifacts=str(artifacts))
