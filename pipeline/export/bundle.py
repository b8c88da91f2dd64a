"""What exported and published models say of themselves."""

import json
from pathlib import Path

from pipeline.run import manifest
from pipeline.run.config import Config
from serving import signatures
from serving.releases import history as release_history

# Of a release with other items: the bundle it was made of, what changed.
ORIGIN, ITEMS = "origin", "items"
# Beside its manifest: ids that it answers no more.
GONE = "gone.json"


def read_manifest(model: Path) -> dict[str, str]:
    """What an exported or published model says of itself."""
    path = model / signatures.EXTRA_ASSETS / manifest.MANIFEST
    return json.loads(path.read_text(encoding="utf-8"))


def read_bundle_id(model: Path) -> str:
    """The bundle id inside an exported or published model."""
    return read_manifest(model)["bundle_id"]


def read_origin(model: Path) -> str:
    """The bundle whose trained models a model has.

    Its own, but for a release that has other items than its training had.
    """
    facts = read_manifest(model)
    return facts.get(ORIGIN, facts["bundle_id"])


def read_gone(model: Path) -> list[str]:
    """Ids that a retrieval model knows and answers no more."""
    path = model / signatures.EXTRA_ASSETS / GONE
    if not path.exists():
        return []
    return [str(id_) for id_ in json.loads(path.read_text("utf-8"))]


def live_manifest(serving: Path) -> dict[str, str] | None:
    """The live retrieval model's, None where no whole release is live.

    Raises:
        ServingError: If the pointer's list of releases is damaged.
    """
    history = release_history.read(serving)
    if not history or release_history.missing(serving, history[0]):
        return None
    return read_manifest(serving / signatures.RETRIEVAL / str(history[0]))


def live_bundle(serving: Path) -> str | None:
    """The bundle id of the live release, None where no whole one is live."""
    found = live_manifest(serving)
    return found["bundle_id"] if found else None


def live_before(
    config: Config, step: str, inputs: manifest.Inputs | None = None
) -> str | None:
    """The bundle that a step is held against: live now, or when it was made.

    Of the very bundle that this run exported, published since, the comparison
    with the version before stands; with other items it is the same bundle.

    Args:
        config: Of the run.
        step: Its name.
        inputs: What it would be made from now; None for what it was.
    """
    facts = live_manifest(config.serving_directory)
    live = facts["bundle_id"] if facts else None
    made = manifest.Record.read(config.run_directory / step)
    exported = config.run_directory / "export" / signatures.BUNDLE[0]
    if made is None or facts is None or not exported.exists():
        return live
    is_same = inputs is None or made.inputs.get("after") == inputs["after"]
    origin = facts.get(ORIGIN, live)
    if not is_same or origin != read_bundle_id(exported):
        return live
    before = made.inputs.get("live", live)
    return None if before is None else str(before)
