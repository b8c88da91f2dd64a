"""The steps of a run, in order, each skipped when nothing it needs changed.

`prepare → train-retrieval → index → train-ranking → distill → export →
ondevice-export → evaluate → publish`. Each function brings its step up to
date, after those before it, and returns its directory.
"""

import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.run import config as configuration
from pipeline.run import manifest
from pipeline.run.config import Config
from pipeline.run.workers import Workers
from pipeline.tables.schema import DataError
from serving import signatures
from serving.releases import files

logger = logging.getLogger(__name__)

EVALUATION = "evaluation.json"
Progress = Callable[[str], None]


class Run:
    """One config's run directory and the steps in it.

    Args:
        config: The run's options.
        force: Whether steps run even when they are up to date.
        progress: Receives one line at every start, end and skip of a step.
        workers: Processes that train retrieval; None for this one alone.
    """

    def __init__(
        self,
        config: Config,
        force: bool = False,
        progress: Progress = logger.info,
        workers: Workers | None = None,
    ) -> None:
        self.config = config
        self._workers = workers or Workers()
        self._force = force
        self._progress = progress
        self._current: dict[str, Path] = {}
        self._prepared: Any = None

    @property
    def evaluation(self) -> Path:
        """Where the evaluation of this run is read from."""
        return self.config.run_directory / EVALUATION

    def prepare(self, only_current: bool = False) -> Path:
        """Interactions and catalogue to prepared tables.

        Args:
            only_current: Whether tables that are not up to date are an error.

        Raises:
            DataError: If they are one.
        """
        from pipeline import sources
        from pipeline.prepare import step as prepare
        from pipeline.sources.reading import files

        inputs = self._sections("source", "prepare") | {
            "files": {
                path: files.content(path)
                for path in sources.paths(self.config.source)
            }
        }
        return self._step(
            "prepare",
            "pipeline.prepare.step",
            inputs,
            lambda directory: prepare.run(self.config, directory),
            only_current=only_current,
        )

    def train_retrieval(self) -> Path:
        """Trains the two-tower model, on all workers where there are several.

        Raises:
            DataError: If several workers find nothing prepared.
        """
        prepared = self.prepare(only_current=self._workers.count > 1)
        inputs = self._sections("retrieval") | _after(prepared)
        # Outside the step's directory, which a killed run leaves to nobody.
        checkpoints = self.config.run_directory / ".checkpoints"
        # Of the same code too: weights of other layers are no start.
        made_from = self._inputs("pipeline.retrieval.train", inputs)

        def work(directory: Path) -> None:
            from pipeline.retrieval import train as train_retrieval

            train_retrieval.run(
                self.config,
                self._load(),
                directory,
                self._workers,
                checkpoints / manifest.digest(made_from)[:16],
                self._progress,
            )

        directory = self._step(
            "train-retrieval",
            "pipeline.retrieval.train",
            inputs,
            work,
            is_written=self._workers.is_chief,
        )
        if self._workers.is_chief:
            shutil.rmtree(checkpoints, ignore_errors=True)
        return directory

    def index(self) -> Path:
        """Embeds the catalogue and builds its index, or merges its shards."""
        retrieval = self.train_retrieval()
        shards = self._shards(retrieval)

        def work(directory: Path) -> None:
            from pipeline.retrieval import index

            report = index.run(
                self.config, self._load(), retrieval, directory, shards
            )
            k = report["num_candidates"]
            merged = f", merged from {len(shards)} shards" if shards else ""
            self._progress(
                f"  {report['kind']} index of {report['num_items']} items"
                f"{merged}: recall@{k} {report[f'recall@{k}']:.3f}, "
                f"{report['latency_ms']:.2f} ms a query"
            )

        return self._step(
            "index",
            "pipeline.retrieval.index",
            self._sections("index")
            | _after(retrieval)
            | ({"shards": len(shards)} if shards else {}),
            work,
        )

    def index_shard(self, shard: int, num_shards: int) -> Path:
        """Embeds and indexes one slice of the catalogue.

        Once all are there, in any order and from any machine that sees the
        run's directory, `index` merges them.
        """
        retrieval = self.train_retrieval()

        def work(directory: Path) -> None:
            from pipeline.retrieval import index

            size = index.run_shard(
                self.config,
                self._load(),
                retrieval,
                directory,
                shard,
                num_shards,
            )
            self._progress(f"  {size} items")

        return self._step(
            _shard_name(shard, num_shards),
            "pipeline.retrieval.index",
            self._shard_inputs(retrieval),
            work,
        )

    def _shard_inputs(self, retrieval: Path) -> dict[str, Any]:
        return self._sections("index") | _after(retrieval)

    def _shards(self, retrieval: Path) -> list[Path]:
        """A complete set of shards that are up to date, or none."""
        inputs = self._inputs(
            "pipeline.retrieval.index", self._shard_inputs(retrieval)
        )
        for first in sorted(self.config.run_directory.glob("index-shard-0-*")):
            count = int(first.name.rpartition("-")[2])
            found = [
                self.config.run_directory / _shard_name(shard, count)
                for shard in range(count)
            ]
            if all(manifest.is_current(shard, inputs) for shard in found):
                return found
        return []

    def train_ranking(self) -> Path:
        """Trains the model that rescores what the index returns."""
        retrieval, index = self.train_retrieval(), self.index()

        def work(directory: Path) -> None:
            from pipeline.ranking import train as train_ranking

            report = train_ranking.run(
                self.config, self._load(), retrieval, index, directory
            )
            for table, reason in report["left_out"].items():
                self._progress(f"  without the {table} item table: {reason}")

        return self._step(
            "train-ranking",
            "pipeline.ranking.train",
            self._sections("ranking") | _after(retrieval, index),
            work,
        )

    def distill(self) -> Path:
        """Trains the on-device student on what both stages answer."""
        ranking = self.train_ranking()

        def work(directory: Path) -> None:
            from pipeline.ondevice import distill

            distill.run(
                self.config, self._load(), ranking, directory, self._progress
            )

        return self._step(
            "distill",
            "pipeline.ondevice.distill",
            self._sections("student") | _after(ranking),
            work,
        )

    def export(self) -> Path:
        """Writes the SavedModels that ship."""
        before = {
            "train-retrieval": self.train_retrieval(),
            "index": self.index(),
            "train-ranking": self.train_ranking(),
        }

        def work(directory: Path) -> None:
            from pipeline.export import step as export

            bundle_id = export.run(self.config, self._load(), before, directory)
            self._progress(
                f"  bundle {bundle_id}: {', '.join(signatures.BUNDLE)}"
            )

        return self._step(
            "export", "pipeline.export.step", _after(*before.values()), work
        )

    def ondevice_export(self) -> Path:
        """Writes the student as .tflite bundles."""
        distilled, exports = self.distill(), self.export()

        def work(directory: Path) -> None:
            from pipeline.ondevice import export as ondevice_export

            ondevice_export.run(
                self.config, self._load(), distilled, exports, directory
            )

        inputs, module = _after(distilled, exports), "pipeline.ondevice.export"
        return self._step("ondevice-export", module, inputs, work)

    def evaluate(self) -> Path:
        """Measures the exported models; writes evaluation.json."""
        from pipeline.export import bundle

        exports, index = self.export(), self.index()
        ondevice = self.ondevice_export()
        directory = self.config.run_directory / "evaluate"
        live: object = bundle.live_bundle(self.config.serving_directory)
        if live == bundle.read_bundle_id(exports / signatures.BUNDLE[0]):
            # Published since: the comparison with the version before stands.
            made = manifest.Record.read(directory)
            live = made.inputs.get("live", live) if made else live

        def work(directory: Path) -> None:
            from pipeline.evaluate import step as evaluate

            evaluate.run(
                self.config, self._load(), exports, index, directory, ondevice
            )

        directory = self._step(
            "evaluate",
            "pipeline.evaluate.step",
            self._sections("evaluate")
            | {"live": live}
            | _after(exports, ondevice),
            work,
        )
        # The one file people and scripts read stands at a short path.
        _copy(directory / EVALUATION, self.evaluation)
        return directory

    def publish(self) -> int:
        """Publishes the bundle if the gate accepts it; the live version.

        Raises:
            GateRejected: If a rule of the gate is broken.
        """
        from pipeline.release import publish

        exports, ondevice = self.export(), self.ondevice_export()
        self.evaluate()
        version, is_new = publish.run(
            self.config, exports, self.evaluation, ondevice
        )
        self._progress(
            f"publish: accepted, version {version} is live"
            if is_new
            else f"publish: up to date, version {version} is this bundle"
        )
        return version

    def prepared(self) -> Any:
        """The prepared tables, brought up to date."""
        self.prepare()
        return self._load()

    def _load(self) -> Any:
        from pipeline.tables.prepared import load

        if self._prepared is None:
            self._prepared = load(self._current["prepare"])
        return self._prepared

    def _step(
        self,
        name: str,
        module: str,
        inputs: dict[str, Any],
        work: Callable[[Path], None],
        only_current: bool = False,
        is_written: bool = True,
    ) -> Path:
        if name in self._current:
            return self._current[name]
        directory = self.config.run_directory / name
        inputs = self._inputs(module, inputs)
        is_current = manifest.is_current(directory, inputs)
        if is_current and (only_current or not self._force):
            self._progress(f"{name}: up to date, skipped (FORCE=1 reruns it)")
        elif only_current:
            raise DataError(
                f"The step {name} must be up to date before several workers "
                f"start. Received: nothing current in {directory}. Run "
                f"`python -m pipeline {name}` once, with the same config."
            )
        elif not is_written:
            self._progress(f"{name}: running for the chief")
            with tempfile.TemporaryDirectory() as scratch:
                work(Path(scratch))
        else:
            self._progress(f"{name}: running")
            with manifest.stage(directory, inputs) as staging:
                work(staging)
            if made := manifest.Record.read(directory):
                self._progress(f"{name}: done in {made.seconds:.1f} s")
        self._current[name] = directory
        return directory

    def _inputs(self, module: str, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs | {
            "seed": self.config.seed,
            "code": manifest.code_digest(module),
            "libraries": manifest.library_versions(module),
        }

    def _sections(self, *names: str) -> dict[str, Any]:
        return {
            name: configuration.section_values(getattr(self.config, name))
            for name in names
        }


def _shard_name(shard: int, num_shards: int) -> str:
    return f"index-shard-{shard}-of-{num_shards}"


def _after(*steps: Path) -> dict[str, Any]:
    return {
        "after": {
            step.name: manifest.file_digest(step / manifest.MANIFEST)
            for step in steps
        }
    }


def _copy(source: Path, target: Path) -> None:
    with files.staged(target) as staged:
        shutil.copyfile(source, staged)
