"""The live version, and the models it was made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.export import bundle
from pipeline.items.changes import Catalogue
from pipeline.release import kept, publish
from pipeline.run import manifest
from pipeline.run.config import Config
from pipeline.tables import names
from pipeline.tables import prepared as tables
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import DataError
from serving import signatures
from serving.releases import history
from serving.releases.history import POINTER


@dataclass(frozen=True)
class Live:
    """The live version and what it was made of.

    Attributes:
        version: Its number.
        origin: The bundle of its models' training.
        steps: Directories of that training, by name.
        catalogue: The items that it answers with.
    """

    version: int
    origin: str
    steps: Mapping[str, Path]
    catalogue: Catalogue

    @classmethod
    def find(cls, config: Config) -> Live:
        """What is live, and the models behind it.

        Raises:
            DataError: If nothing of the run is live, or its models are gone.
            GateRejected: If another version is on trial.
        """
        serving, name = config.serving_directory, config.name
        state = history.state(serving)
        if state.live is None:
            raise DataError(
                "A version must be live whose items can change. Received: none "
                f"(from {serving / POINTER}). Publish one first: make retrain."
            )
        publish.require_live(serving, state, state.live)
        if lost := history.missing(serving, state.live):
            raise DataError(
                f"The live version must be whole. Received: version "
                f"{state.live} without {', '.join(map(str, lost))}. Return to "
                "another: make rollback."
            )
        model = serving / signatures.RETRIEVAL / str(state.live)
        facts = bundle.read_manifest(model)
        if facts["run"] != name:
            raise DataError(
                "The live version must be of the config's run. Received: "
                f"version {state.live} of run {facts['run']!r}, the config "
                f"names {name!r}. Give its config: CONFIG=..."
            )
        origin = bundle.read_origin(model)
        steps = kept.find(config, origin)
        tables_of = kept.find(config, facts["bundle_id"])
        if len(steps) < len(kept.STEPS) or kept.TABLES not in tables_of:
            raise DataError(
                "The trained models behind the live version must be there. "
                f"Received: version {state.live}, bundle {origin}, and in "
                f"{config.run_directory} those of another one. Train "
                "and publish: make retrain."
            )
        catalogue = Catalogue.of(tables.load(tables_of[kept.TABLES]))
        return cls(state.live, origin, steps, catalogue)

    def require_options(self, config: Config, trained: Prepared) -> None:
        """Refuses options that the live models were not trained with.

        Args:
            config: As it is now.
            trained: Tables that they were trained on.

        Raises:
            DataError: If any differ; all are named.
        """
        differing = []
        for step in ("retrieval", "ranking"):
            record = manifest.Record.read(self.steps[f"train-{step}"])
            now = manifest.plain(dataclasses.asdict(getattr(config, step)))
            then = record.inputs.get(step) if record else None
            if isinstance(then, Mapping):
                differing += [
                    f"{step}.{key}"
                    # An option that is newer than they are has its default.
                    for key in sorted(then)
                    if now.get(key) != then[key]
                ]
        features = getattr(config.source, "item_features", None)
        known = {spec.name: spec.kind for spec in trained.items.specs}
        if (
            features is not None
            and known
            and names.kinds("item_features", features) != known
        ):
            differing.append("source.item_features")
        if differing:
            raise DataError(
                "The options must be those that the live version was trained "
                f"with. Received: others in {', '.join(differing)}. Train with "
                "them first: make retrain."
            )
