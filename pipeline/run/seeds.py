"""Where chance comes from: each step derives a seed of its own."""

import zlib

from pipeline.run.config import Config


def of(config: Config, step: str) -> int:
    """The seed of a step: of the config's seed and the step's name."""
    return zlib.crc32(f"{config.seed}/{step}".encode())
