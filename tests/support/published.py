"""A directory that was published to twice."""

import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

from pipeline.release import publish
from pipeline.run.config import Config
from pipeline.run.release import PublishConfig
from pipeline.steps import Run

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "published_before.tar.xz"
# Both are too small to beat more.
GATE = PublishConfig(must_beat=("random",), student_must_beat=("random",))


def unpack(directory: Path) -> None:
    """Unpacks the release of another time; `serving` in it is live."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(directory, filter="data")
    pointer = directory / "serving" / publish.POINTER
    text = pointer.read_text().replace("@SERVING@", str(pointer.parent))
    pointer.write_text(text)


def publish_twice(run: Run, artifacts: Path) -> Config:
    """Publishes a run over that release.

    Args:
        run: Evaluated; its files stay as they are.
        artifacts: Where to, made here.

    Returns:
        The run's config there; version 2 is live.
    """
    unpack(artifacts)
    config = replace(run.config, artifacts=str(artifacts), publish=GATE)
    shutil.copytree(run.config.run_directory, config.run_directory)
    assert Run(config).publish() == 2
    return config
