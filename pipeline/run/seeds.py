"""Where chance comes from: each step derives a seed of its own."""

import zlib
from typing import Protocol


class Seeded(Protocol):
    """What has the seed of a run."""

    @property
    def seed(self) -> int:
        """Of the whole run."""


def of(config: Seeded, step: str) -> int:
    """The seed of a step: of the config's seed and the step's name."""
    return zlib.crc32(f"{config.seed}/{step}".encode())
