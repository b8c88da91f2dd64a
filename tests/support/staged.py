"""Bundles that are enough for publishing, and what is served of them."""

import json
import time
from dataclasses import replace
from pathlib import Path

from pipeline.release import publish
from pipeline.run import manifest
from pipeline.run.config import Config
from pipeline.run.release import PublishConfig
from serving import signatures
from serving.releases import history, ledger, versions
from serving.releases.history import POINTER, State
from tests.support import evaluations


def stage(config: Config, bundle_id: str) -> tuple[Path, Path]:
    """A bundle that is enough for publishing, and its evaluation."""
    exports = config.run_directory / "export"
    for name in signatures.BUNDLE:
        extra = exports / name / signatures.EXTRA_ASSETS
        extra.mkdir(parents=True, exist_ok=True)
        (exports / name / "saved_model.pb").write_text(bundle_id + name)
        manifest.write_json(
            extra / manifest.MANIFEST, {"bundle_id": bundle_id, "model": name}
        )
    path = config.run_directory / "evaluation.json"
    evaluations.made(bundle_id).write(path)
    return exports, path


def served(config: Config) -> dict[str, list[int]]:
    pointer = config.serving_directory / POINTER
    return {
        name: numbers
        for name, (_, numbers) in versions.read_models_config(pointer).items()
    }


def ago(serving: Path, minutes: float) -> None:
    """Makes the last event of the ledger so many minutes old."""
    path = serving / ledger.FILE
    *lines, last = path.read_text().splitlines()
    at = ledger.moment(time.time() - 60 * minutes)
    changed = json.loads(last) | {"at": at}
    path.write_text("\n".join([*lines, json.dumps(changed)]) + "\n")


def state_of(config: Config) -> State:
    """What the pointer says."""
    return history.state(config.serving_directory)


def labels_of(config: Config) -> dict[str, int]:
    """Versions by label, the same for every model."""
    pointer = config.serving_directory / POINTER
    found = versions.read_labels(pointer)
    assert set(found) == set(signatures.BUNDLE)
    first, *others = found.values()
    assert all(one == first for one in others)
    return first


def released(folder: Path) -> Config:
    """A run of which version 1 was live, 2 is, and 3 is staged."""
    made = Config(
        name="test",
        seed=1,
        artifacts=str(folder / "artifacts"),
        publish=PublishConfig(stage=True),
    )
    live = replace(made, publish=PublishConfig())
    for number in (1, 2):
        publish.run(live, *stage(live, f"b{number}"))
    assert publish.run(made, *stage(made, "b3")) == (3, True)
    return made
