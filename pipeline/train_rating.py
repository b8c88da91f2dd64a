"""Trains the rating head on the ratings of the train part."""

from pathlib import Path
from typing import Any

from models.rating import RatingHead
from pipeline.config import Config
from pipeline.prepare import Prepared


def run(config: Config, prepared: Prepared, directory: Path) -> dict[str, Any]:
    """Trains and writes `rating.h5`."""
    return {}


def load(
    config: Config, prepared: Prepared, directory: Path
) -> RatingHead | None:
    """The trained head, None where there is none."""
    return None
