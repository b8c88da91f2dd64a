"""The steps of a run, in order, each skipped when nothing it needs changed.

`prepare → check-data → train-retrieval → index → train-ranking → distill →
export → ondevice-export → evaluate → publish`. Each function brings its step
up to date, after those before it, and returns its directory.
"""

import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.run import auto, manifest
from pipeline.run.auto import Choice
from pipeline.run.config import Config
from pipeline.run.workers import Workers
from pipeline.tables.schema import DataError
from serving import signatures
from serving.releases import files, locks

if TYPE_CHECKING:
    from pipeline.tables.prepared import Prepared

logger = logging.getLogger(__name__)

EVALUATION = "evaluation.json"
Progress = Callable[[str], None]
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


class Run:
    """One config's run directory and the steps in it.

    Args:
        config: The run's options.
        force: Whether steps run even when they are up to date.
        progress: Receives one line at every start, end and skip of a step.
        workers: Processes that train retrieval; None for this one alone.
        wait_seconds: For another process that makes steps of this run.

    Attributes:
        lock: Held while a step is made; hold it for several in a row.
        accepted: Why to train on data that break a rule of the checks.
    """

    def __init__(
        self,
        config: Config,
        force: bool = False,
        progress: Progress = logger.info,
        workers: Workers | None = None,
        wait_seconds: float = 0.0,
        accepted: str = "",
    ) -> None:
        self.config = config
        self._accepted = accepted
        self._workers = workers or Workers()
        self.lock = locks.Lock(
            self._directory(locks.FILE), wait_seconds, progress
        )
        self._force = force
        self._progress = progress
        self._current: set[str] = set()
        self._prepared: Prepared | None = None

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
        from pipeline.sources.reading import files

        if "prepare" in self._current:
            return self._directory("prepare")
        paths = sources.paths(self.config.source)
        inputs = self._inputs(
            "prepare", files={path: files.content(path) for path in paths}
        )

        def work(directory: Path) -> None:
            from pipeline.prepare import step as prepare

            prepare.run(self.config, directory)

        if only_current and not self._is_current("prepare", inputs):
            raise DataError(
                "The step prepare must be up to date before several workers "
                "start. Received: nothing current in "
                f"{self._directory('prepare')}. Run `python -m pipeline "
                "prepare` once, with the same config."
            )
        return self._step("prepare", inputs, work, not only_current)

    def check_data(self) -> Path:
        """Holds the data against the live version's, or raises DataRefused."""
        from pipeline.export import bundle
        from pipeline.prepare import checks

        inputs = self._inputs("check-data", self.prepare())
        inputs["live"] = bundle.live_before(self.config, "check-data", inputs)

        def work(directory: Path) -> Sequence[Choice]:
            data = self._load()
            return checks.run(self.config, data, directory, self._accepted)

        return self._step("check-data", inputs, work)

    def train_retrieval(self) -> Path:
        """Trains the two-tower model, on all workers where there are several.

        Raises:
            DataError: If several workers find nothing prepared.
            DataRefused: If the data differ too much from the live version's.
        """
        prepared = self.prepare(only_current=self._workers.count > 1)
        if self._workers.is_chief:
            self.check_data()
        inputs = self._inputs("train-retrieval", prepared)
        # Outside the step's directory, which a killed run leaves to nobody;
        # of the same code too: weights of other layers are no start.
        checkpoints = self.config.run_directory / ".checkpoints"

        def work(directory: Path) -> list[Choice]:
            from pipeline.retrieval import train as train_retrieval

            return train_retrieval.Training(
                self.config,
                self._load(),
                directory,
                self._workers,
                checkpoints / manifest.digest(inputs)[:16],
                self._progress,
            ).run()

        directory = self._step("train-retrieval", inputs, work)
        if self._workers.is_chief:
            shutil.rmtree(checkpoints, ignore_errors=True)
        return directory

    def index(self) -> Path:
        """Embeds the catalogue and builds its index, or merges its shards."""
        retrieval = self.train_retrieval()
        shards = self._shards(retrieval)

        def work(directory: Path) -> list[Choice]:
            from pipeline.retrieval import index

            report = index.run(
                self.config, self._load(), retrieval, directory, shards
            )
            merged = f", merged from {len(shards)} shards" if shards else ""
            self._progress(
                f"  {report.kind} index of {report.num_items} items"
                f"{merged}: recall@{report.k} {report.recall:.3f}, "
                f"{report.latency_ms:.2f} ms a query"
            )
            options = self.config.index
            choices: list[Choice] = [auto.index_kind(options, report.num_items)]
            if tuned := report.scann:
                tree = auto.index_tree(
                    tuned.chosen, tuned.frontier, options.recall_floor
                )
                choices.append(tree)
            return choices

        count = {"shards": len(shards)} if shards else {}
        inputs = self._inputs("index", retrieval, **count)
        return self._step("index", inputs, work)

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

        name = _shard_name(shard, num_shards)
        return self._step(name, self._inputs("index", retrieval), work)

    def _shards(self, retrieval: Path) -> list[Path]:
        """A complete set of shards that are up to date, or none."""
        inputs = self._inputs("index", retrieval)
        for first in sorted(self.config.run_directory.glob("index-shard-0-*")):
            count = int(first.name.rpartition("-")[2])
            found = [_shard_name(shard, count) for shard in range(count)]
            if all(self._is_current(name, inputs) for name in found):
                return [self._directory(name) for name in found]
        return []

    def train_ranking(self) -> Path:
        """Trains the model that rescores what the index returns."""
        retrieval, index = self.train_retrieval(), self.index()

        def work(directory: Path) -> list[Choice]:
            from pipeline.ranking import train as train_ranking

            report = train_ranking.run(
                self.config,
                self._load(),
                retrieval,
                directory,
                self._progress,
            )
            for table, reason in report["left_out"].items():
                self._progress(f"  without the {table} item table: {reason}")
            return train_ranking.choices(self.config, self._load())

        inputs = self._inputs("train-ranking", retrieval, index)
        return self._step("train-ranking", inputs, work)

    def distill(self) -> Path:
        """Trains the on-device student on what both stages answer."""
        ranking = self.train_ranking()

        def work(directory: Path) -> list[Choice]:
            from pipeline.ondevice import distill

            return distill.run(
                self.config, self._load(), ranking, directory, self._progress
            )

        return self._step("distill", self._inputs("distill", ranking), work)

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

        inputs = self._inputs("export", *before.values())
        return self._step("export", inputs, work)

    def ondevice_export(self) -> Path:
        """Writes the student as .tflite bundles."""
        distilled, exports = self.distill(), self.export()

        def work(directory: Path) -> None:
            from pipeline.ondevice import export as ondevice_export

            ondevice_export.run(
                self.config, self._load(), distilled, exports, directory
            )

        inputs = self._inputs("ondevice-export", distilled, exports)
        return self._step("ondevice-export", inputs, work)

    def evaluate(self) -> Path:
        """Measures the exported models; writes evaluation.json."""
        from pipeline.export import bundle

        exports, index = self.export(), self.index()
        ondevice = self.ondevice_export()
        live = bundle.live_before(self.config, "evaluate")

        def work(directory: Path) -> list[Choice]:
            from pipeline.evaluate import step as evaluate

            student = evaluate.run(
                self.config, self._load(), exports, index, directory, ondevice
            ).ondevice
            wanted = self.config.student.precision
            found = student.precisions if student else {}
            tuned = auto.tuning_users(len(self._load().items.ids))
            return [auto.precision(wanted, found), tuned] if found else [tuned]

        inputs = self._inputs("evaluate", exports, ondevice, live=live)
        directory = self._step("evaluate", inputs, work)
        # The one file people and scripts read stands at a short path.
        with files.staged(self.evaluation) as staged:
            shutil.copyfile(directory / EVALUATION, staged)
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

    def prepared(self) -> "Prepared":
        """The prepared tables, brought up to date."""
        self.prepare()
        return self._load()

    def _load(self) -> "Prepared":
        from pipeline.tables import prepared

        if self._prepared is None:
            self._prepared = prepared.load(self._directory("prepare"))
        return self._prepared

    def _directory(self, name: str) -> Path:
        return self.config.run_directory / name

    def _is_current(self, name: str, inputs: manifest.Inputs) -> bool:
        return manifest.is_current(self._directory(name), inputs)

    def _step(
        self,
        name: str,
        inputs: manifest.Inputs,
        work: Callable[[Path], Sequence[Choice] | None],
        may_force: bool = True,
    ) -> Path:
        """Does `work` where no step made from `inputs` stands yet."""
        directory = self._directory(name)
        if name in self._current:
            return directory
        is_forced = self._force and may_force
        if not is_forced and self._is_current(name, inputs):
            self._progress(f"{name}: up to date, skipped (FORCE=1 reruns it)")
        elif not self._workers.is_chief:
            self._progress(f"{name}: running for the chief")
            with tempfile.TemporaryDirectory() as scratch:
                work(Path(scratch))
        else:
            self._progress(f"{name}: running")
            choices: list[Choice] = []
            with (
                self._lock_of(name),
                manifest.stage(directory, inputs, choices) as staging,
            ):
                choices += [c for c in work(staging) or () if c.why]
            for choice in choices:
                self._progress(f"  {choice}")
            if made := manifest.Record.read(directory):
                self._progress(f"{name}: done in {made.seconds:.1f} s")
        self._current.add(name)
        return directory

    def _lock_of(self, name: str) -> locks.Lock:
        """The run's own lock; shards may be made side by side."""
        if name in _MAKERS:
            return self.lock
        return locks.Lock(self._directory(f"{locks.FILE}-{name}"))

    def _inputs(
        self, name: str, *after: Path, **others: object
    ) -> dict[str, object]:
        """What a step depends on: options, the steps before it, its code."""
        found = manifest.inputs_of(self.config, *_MAKERS[name]) | others
        if after:
            found["after"] = {
                step.name: manifest.file_digest(step / manifest.MANIFEST)
                for step in after
            }
        return found


def _shard_name(shard: int, num_shards: int) -> str:
    return f"index-shard-{shard}-of-{num_shards}"
