"""placeholder."""

from pipeline.schema import DataError, SourceConfig
from pipeline.sources.canonical import Tables


def read(source: SourceConfig, *rest: object) -> Tables:
    """Not there yet."""
    raise DataError("not yet")
