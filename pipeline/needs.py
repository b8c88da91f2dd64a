"""What each step is made from, and so whether it is up to date.

Enters: a config, and the steps, sources and releases as they stand. Leaves:
plain values, kept in a step's manifest and compared with it later.
"""

from pathlib import Path

from pipeline.run import manifest
from pipeline.run.config import Config

# What makes each step besides those before it: a module, config sections.
_MAKERS = {
    "prepare": ("pipeline.prepare.step", "source", "prepare"),
    "check-data": ("pipeline.prepare.checks", "checks"),
    "train-retrieval": ("pipeline.retrieval.train", "retrieval"),
    "index": ("pipeline.retrieval.index", "index"),
    "train-ranking": ("pipeline.ranking.train", "ranking"),
    "distill": ("pipeline.ondevice.distill", "student"),
    "export": ("pipeline.export.step",),
    "ondevice-export": ("pipeline.ondevice.export",),
    "evaluate": ("pipeline.evaluate.step", "evaluate"),
}
# The steps in order, and which of those before it each is made from.
AFTER: dict[str, tuple[str, ...]] = {
    "prepare": (),
    "check-data": ("prepare",),
    "train-retrieval": ("prepare",),
    "index": ("train-retrieval",),
    "train-ranking": ("train-retrieval", "index"),
    "distill": ("train-ranking",),
    "export": ("train-retrieval", "index", "train-ranking"),
    "ondevice-export": (
        *("train-retrieval", "train-ranking", "distill", "export"),
    ),
    "evaluate": ("export", "ondevice-export"),
}


def inputs(config: Config, name: str) -> dict[str, object]:
    """What a step would be made from now, the steps before as they stand.

    Raises:
        DataError: If a source cannot be found.
    """
    found = common(config, name)
    if name == "prepare":
        from pipeline import sources
        from pipeline.sources.reading import files, stamps

        paths = sources.paths(config.source)
        known = stamps.Stamps(config.run_directory / stamps.FILE)
        found["files"] = {path: files.content(path, known) for path in paths}
        known.save()
    elif name == "index":
        if made := shards(config):
            found["shards"] = len(made)
    elif name in ("check-data", "evaluate"):
        from pipeline.export import bundle

        now = found if name == "check-data" else None
        found["live"] = bundle.live_before(config, name, now)
    return found


def common(config: Config, name: str) -> dict[str, object]:
    """What every step depends on: options, steps before it, its code."""
    found = manifest.inputs_of(config, *_MAKERS[name])
    if after := AFTER[name]:
        found["after"] = {step: _made(config, step) for step in after}
    return found


def _made(config: Config, step: str) -> str | None:
    path = config.run_directory / step / manifest.MANIFEST
    return manifest.file_digest(path) if path.exists() else None


def shards(config: Config) -> list[Path]:
    """A complete set of index shards that are up to date, or none."""
    wanted = common(config, "index")
    for first in sorted(config.run_directory.glob("index-shard-0-*")):
        count = int(first.name.rpartition("-")[2])
        found = [
            config.run_directory / shard_name(shard, count)
            for shard in range(count)
        ]
        if all(manifest.is_current(path, wanted) for path in found):
            return found
    return []


def shard_name(shard: int, num_shards: int) -> str:
    """The directory of one slice of the index."""
    return f"index-shard-{shard}-of-{num_shards}"
