"""Gives the live version the catalogue as of now: `make index ITEMS=FILE`.

The published candidate tower embeds what is new or was changed, by features
and the embedding of an unknown item; the index is built again; the four models
are exported and released like any version, after the gate has judged them
against the live one. Nothing is trained.

On disk, below the run: `items/` with `prepare`, `index`, `export`, `evaluate`
and `ondevice`, each made again only when it would be another, and
`decision.json`. The pointer is replaced last: whatever stops the command, what
was live is live, and the same command goes on from there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.export import bundle
from pipeline.items import changes, table
from pipeline.items.changes import Catalogue, Changes
from pipeline.items.live import Live
from pipeline.release import decision, kept, publish
from pipeline.release import ondevice as ondevice_release
from pipeline.release.publish import Parcel
from pipeline.run import manifest
from pipeline.run.config import Config
from pipeline.tables import prepared as tables
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import DataError, DataRefused
from pipeline.warm import carried
from serving import signatures
from serving.releases import files, ledger

logger = logging.getLogger(__name__)

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        changes: Of the live version's catalogue.
        version: That has them; the live one where nothing changed.
        is_new: Whether it was released by this.
    """

    changes: Changes
    version: int
    is_new: bool


class Update:
    """One change of the live version's items.

    Args:
        config: Of the run that is live.
        force: Whether steps run that are up to date, and what was withdrawn
            comes back.
        progress: Receives a line at every step.
    """

    def __init__(
        self,
        config: Config,
        force: bool = False,
        progress: Progress = logger.info,
    ) -> None:
        self._config, self._force = config, force
        self._progress = progress
        self._folder = config.run_directory / kept.ITEMS

    def run(self, path: str, accepted: str = "") -> Outcome:
        """Releases the live version with the items of a file.

        Args:
            path: Of the file.
            accepted: Why, although most of what is answered is not in it.

        Raises:
            DataError: If the file cannot be used, or nothing of this run is
                live.
            DataRefused: If most of the live version's items are gone.
            GateRejected: If a rule of the gate is broken, or a version is on
                trial.
        """
        live = Live.find(self._config)
        trained = tables.load(live.steps[kept.TABLES])
        live.require_options(self._config, trained)
        file, notes = table.read(self._config, trained, path)
        now = Catalogue.updated(trained, file)
        found = changes.between(live.catalogue, now)
        for line in (
            *notes,
            *found.lines(),
            *changes.unknown(now, found.added),
        ):
            self._progress(f"  {line}")
        self._require_known(live, found, path, len(file), accepted)
        if not found:
            return Outcome(found, live.version, False)
        whole = changes.between(Catalogue.of(trained), now)
        why = f"items: {found}" + (f" ({accepted})" if accepted else "")
        made = self._make(live, trained, now, _digest(file), str(whole))
        return self._release(live, made, found, why)

    def _require_known(
        self,
        live: Live,
        found: Changes,
        path: str,
        size: int,
        accepted: str,
    ) -> None:
        """Refuses the catalogue of something else."""
        before = len(found.gone) + found.kept
        most = self._config.checks.max_loss
        if found.kept and (len(found.gone) <= most * before or accepted):
            return
        words = (
            "The item file must be the catalogue of what is live: at most "
            f"{most:.0%} of its items may be gone (checks.max_loss). Received: "
            f"{found.kept:,} of the {before:,} items of version "
            f"{live.version} among the {size:,} of {path}. Is it a part, or "
            "of another run?"
        )
        if not found.kept:
            raise DataError(f"{words} None is known: nothing was changed.")
        raise DataRefused(f"{words} ACCEPT_DATA='why' insists.")

    def _make(
        self,
        live: Live,
        trained: Prepared,
        now: Catalogue,
        digest: str,
        whole: str,
    ) -> Path:
        """Everything but the release; the directory of the exports."""
        folder, config = self._folder, self._config
        inputs = {
            "origin": live.origin,
            "file": digest,
            "index": dataclasses.asdict(config.index),
            "seed": config.seed,
            "code": manifest.code(__name__),
            "libraries": manifest.library_versions(__name__),
        }
        self._step(kept.TABLES, inputs, lambda to: now.write(trained, to))
        prepared = tables.load(folder / kept.TABLES)
        steps = {**live.steps, "index": folder / "index"}

        def index(directory: Path) -> None:
            from pipeline.retrieval import index as building

            report = building.run(
                config, prepared, live.steps["train-retrieval"], directory
            )
            self._progress(
                f"  {report.kind} index of {prepared.num_answered} items: "
                f"recall@{report.k} {report.recall:.3f}"
            )

        def export(directory: Path) -> None:
            from pipeline.export import step as exporting

            facts = {bundle.ORIGIN: live.origin, bundle.ITEMS: whole}
            exporting.run(config, prepared, steps, directory, facts)
            manifest.write_json(
                directory
                / signatures.RETRIEVAL
                / signatures.EXTRA_ASSETS
                / bundle.GONE,
                prepared.items.ids[prepared.gone].tolist(),
            )

        self._step("index", inputs, index)
        self._step("export", inputs, export)
        self._judged(live, prepared, inputs)
        return folder / "export"

    def _judged(
        self, live: Live, prepared: Prepared, inputs: manifest.Inputs
    ) -> None:
        config, serving = self._config, self._config.serving_directory
        exports = self._folder / "export"

        def evaluate(directory: Path) -> None:
            from pipeline.items import judge

            new = [
                row
                for id_, row in Catalogue.of(prepared).rows.items()
                if id_ not in known
            ]
            sides = judge.Sides(
                exports,
                {
                    name: serving / name / str(live.version)
                    for name in signatures.BUNDLE
                },
                self._folder / "index",
                np.array(new, np.int32),
            )
            judge.judge(config, prepared, sides, directory)

        known = live.catalogue.rows
        made = {
            **inputs,
            "live": live.version,
            "evaluate": dataclasses.asdict(config.evaluate),
            "publish": dataclasses.asdict(config.publish),
            "after": manifest.file_digest(exports / manifest.MANIFEST),
        }
        self._step("evaluate", made, evaluate)

    def _release(
        self, live: Live, exports: Path, found: Changes, why: str
    ) -> Outcome:
        from pipeline.items import judge
        from pipeline.release import servable

        config, serving = self._config, self._config.serving_directory
        bundle_id = bundle.read_bundle_id(exports / signatures.RETRIEVAL)
        if not self._force:
            withdrawn = ledger.withdrawn(serving, bundle_id)
            if withdrawn is not None:
                self._progress(
                    f"items: version {withdrawn} has them and was withdrawn, "
                    "FORCE=1 brings it back"
                )
                return Outcome(found, live.version, False)
        verdict = judge.Verdict.read(self._folder / "evaluate")
        tried = servable.tried(
            exports,
            serving,
            self._folder / "evaluate",
            config.publish.max_growth,
        )
        halves = {"quality": verdict.quality, "servable": tried}
        reasons = decision.write(self._folder, bundle_id, live.version, halves)
        parcel = Parcel(
            self._sources(live, exports),
            bundle_id,
            figures=verdict.figures,
            why=why,
        )
        publish.refuse(config, parcel, reasons)
        version, is_new = publish.update(config, parcel, live.version)
        kept.keep(config, bundle_id, {kept.TABLES: self._folder / kept.TABLES})
        return Outcome(found, version, is_new)

    def _sources(self, live: Live, exports: Path) -> dict[str, Path]:
        """The models, and the live student without what is gone."""
        sources = {name: exports / name for name in signatures.BUNDLE}
        serving, version = self._config.serving_directory, str(live.version)
        if (training := serving / carried.FOLDER / version).exists():
            sources[carried.FOLDER] = training
        student = ondevice_release.NAME
        before = serving / student / version
        if before.exists():
            now = Catalogue.of(tables.load(self._folder / kept.TABLES))
            sources[student] = self._folder / student
            files.discard(sources[student])
            with files.staged(sources[student]) as staging:
                ondevice_release.without(staging, before, now.rows.keys())
        return sources

    def _step(
        self,
        name: str,
        inputs: manifest.Inputs,
        work: Callable[[Path], object],
    ) -> None:
        """Does `work` where it was not done for the same inputs."""
        directory = self._folder / name
        if not self._force and manifest.is_current(directory, inputs):
            self._progress(f"items, {name}: up to date, skipped")
            return
        self._progress(f"items, {name}: running")
        with manifest.stage(directory, inputs) as staging:
            work(staging)


def _digest(file: pa.Table) -> str:
    """Of what the item file says, in whichever form."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, file.schema) as writer:
        writer.write_table(file.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()
