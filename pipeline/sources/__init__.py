"""Readers of interaction logs: each writes the canonical tables as Parquet.

Enters: a source's part of the config, an empty directory. Leaves: canonical
Parquet there, and what its columns mean; nothing downstream knows which source
it was. `read` is the seam. May import `tables` and `run`.
"""

from pathlib import Path

from pipeline.run.data import MovielensSource, Source, SyntheticSource
from pipeline.sources import movielens, synthetic
from pipeline.sources.canonical.tables import Tables


def paths(source: Source) -> list[str]:
    """Where the source's data lie, files that a default names included."""
    if isinstance(source, SyntheticSource):
        return []
    if isinstance(source, MovielensSource):
        return [movielens.locate(source)]
    found = (source.path, source.items_path, source.users_path)
    return [path for path in found if path]


def read(
    source: Source, seed: int, directory: Path, kept: Path | None = None
) -> Tables:
    """Writes the canonical tables of a source into an empty directory.

    Args:
        source: What to read.
        seed: Of the synthetic one; the others draw nothing.
        directory: Empty.
        kept: Folder of what was read before of a log that grows by files;
            None reads all.

    Raises:
        DataError: If the source is missing, corrupt or empty.
    """
    if isinstance(source, SyntheticSource):
        return synthetic.read(source, seed, directory)
    if isinstance(source, MovielensSource):
        return movielens.read(source, directory)
    # Its libraries take long to load, and `--help` needs none of them.
    from pipeline.sources.tabular import reader as tabular

    return tabular.read(source, directory, kept)
