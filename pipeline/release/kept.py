"""The models behind what is released, as their training wrote them.

A published SavedModel cannot be given other items, the trained weights and
tables can; and the steps of a run are those of its newest training, which the
gate may have rejected. What is live, on trial, staged or previous is therefore
kept below the run, in links to the files of the steps: they take no space
until the run has made others.

On disk: `runs/<name>/released/<bundle id>/<step>/`; a release with other items
has its tables alone, and its models are those of the bundle it was made of.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.export import bundle
from pipeline.release import repository
from pipeline.run import manifest
from pipeline.run.config import Config
from serving import signatures
from serving.releases import files, history

FOLDER = "released"
# Where a release with other items is made.
ITEMS = "items"
TABLES = "prepare"
STEPS = (TABLES, "train-retrieval", "train-ranking")


def keep(config: Config, bundle_id: str, steps: Mapping[str, Path]) -> None:
    """Keeps steps of a released bundle, and no more of those without a role.

    Args:
        config: Of the run.
        bundle_id: Of the release.
        steps: Directories by name.

    Raises:
        OSError: If nothing can be kept; what was kept before stands.
    """
    folder = config.run_directory / FOLDER
    if not (folder / bundle_id).exists():
        with files.staged(folder / bundle_id) as staging:
            staging.mkdir()
            for name, step in steps.items():
                if step.exists():
                    copy(step, staging / name)
    used = set(_with_a_role(config.serving_directory)) | {bundle_id}
    for other in folder.iterdir():
        if other.name not in used:
            files.discard(other)


def find(config: Config, bundle_id: str) -> dict[str, Path]:
    """Where the steps behind a bundle are, by name; none where they are gone.

    Of a bundle that was published and not kept, as before any were, those it
    was exported from are taken, as long as they are there.
    """
    run = config.run_directory
    folder = run / FOLDER / bundle_id
    if not folder.exists():
        for other in (run, run / ITEMS):
            exported = other / "export" / signatures.BUNDLE[0]
            if exported.exists():
                if bundle.read_bundle_id(exported) == bundle_id:
                    folder = other
    return {
        name: folder / name
        for name in STEPS
        if manifest.Record.read(folder / name) is not None
    }


def live_tables(config: Config) -> Path | None:
    """Where the tables of the live release are, if it is of this run.

    Items may have come and gone since it was trained, and the log have grown.
    """
    facts = bundle.live_manifest(config.serving_directory)
    if facts is None or facts["run"] != config.name:
        return None
    return find(config, facts["bundle_id"]).get(TABLES)


def copy(step: Path, target: Path) -> None:
    """Copies a folder by links to its files, where there can be such."""
    shutil.copytree(step, target, copy_function=files.link, dirs_exist_ok=True)


def _with_a_role(serving: Path) -> Iterator[str]:
    """Bundles of the versions that have one, and those they were made of."""
    state = history.state(serving)
    for version in repository.numbers(serving):
        if state.role(version) and not history.missing(serving, version):
            model = serving / signatures.RETRIEVAL / str(version)
            yield bundle.read_bundle_id(model)
            yield bundle.read_origin(model)
