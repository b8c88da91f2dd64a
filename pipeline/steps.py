"""The steps of a run, in order, each skipped when nothing it needs changed.

`prepare → check-data → train-retrieval → index → train-ranking → distill →
export → ondevice-export → evaluate → publish`. Each function brings its step
up to date, after those before it, and returns its directory.
"""

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import needs
from pipeline.run import auto, manifest
from pipeline.run.auto import Choice
from pipeline.run.config import Config
from pipeline.run.rules import Rule
from pipeline.run.workers import Workers
from pipeline.tables.schema import DataError
from serving import signatures
from serving.releases import files, history, locks

if TYPE_CHECKING:
    from pipeline.tables.prepared import Prepared
    from pipeline.warm.carried import Carried

logger = logging.getLogger(__name__)

EVALUATION = "evaluation.json"
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Manner:
    """How a command wants steps to be made.

    Attributes:
        force: Whether they are made even when they are up to date.
        warm: Whether those that are trained start from the live version.
        wait_seconds: For another process that makes steps of this run.
        accepted: Why to train on data that break a rule of the checks.
    """

    force: bool = False
    warm: bool = False
    wait_seconds: float = 0.0
    accepted: str = ""


class Run:
    """One config's run directory and the steps in it.

    Args:
        config: The run's options.
        manner: What a command asked for beside.
        progress: Receives one line at every start, end and skip of a step.
        workers: Processes that train retrieval; None for this one alone.

    Attributes:
        lock: Held while a step is made; hold it for several in a row.
    """

    def __init__(
        self,
        config: Config,
        manner: Manner = Manner(),
        progress: Progress = logger.info,
        workers: Workers | None = None,
    ) -> None:
        self.config = config
        self._manner = manner
        self._workers = workers or Workers()
        self.lock = locks.Lock(
            self._directory(locks.FILE), manner.wait_seconds, progress
        )
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
        if "prepare" in self._current:
            return self._directory("prepare")
        inputs = self._inputs("prepare")

        def work(directory: Path) -> None:
            from pipeline.prepare import step as prepare

            prepare.run(self.config, directory, self._directory(".read"))

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
        from pipeline.prepare import checks

        self.prepare()

        def work(directory: Path) -> Sequence[Choice]:
            data = self._load()
            return checks.run(
                self.config, data, directory, self._manner.accepted
            )

        return self._step("check-data", self._inputs("check-data"), work)

    def train_retrieval(self) -> Path:
        """Trains the two-tower model, on all workers where there are several.

        Raises:
            DataError: If several workers find nothing prepared.
            DataRefused: If the data differ too much from the live version's.
        """
        self.prepare(only_current=self._workers.count > 1)
        if self._workers.is_chief:
            self.check_data()
        inputs = self._inputs("train-retrieval")
        # Outside the step's directory, which a killed run leaves to nobody;
        # of the same code too: weights of other layers are no start.
        checkpoints = self.config.run_directory / ".checkpoints"

        def work(directory: Path) -> list[Choice]:
            from pipeline.retrieval import train as train_retrieval

            live = self._live()
            # A cold training does not go on where one with a start stopped.
            key = manifest.digest(
                inputs
                if live is None or isinstance(live, str)
                else [inputs, live.facts.bundle_id]
            )
            return train_retrieval.Training(
                self.config,
                self._load(),
                directory,
                self._workers,
                checkpoints / key[:16],
                self._progress,
            ).run(live)

        directory = self._step("train-retrieval", inputs, work)
        if self._workers.is_chief:
            shutil.rmtree(checkpoints, ignore_errors=True)
        return directory

    def index(self) -> Path:
        """Embeds the catalogue and builds its index, or merges its shards."""
        retrieval = self.train_retrieval()
        shards = needs.shards(self.config)

        def work(directory: Path) -> list[Choice]:
            from pipeline.retrieval import index

            given = self.config, self._load()
            report = index.run(*given, retrieval, directory, shards)
            merged = f", merged from {len(shards)} shards" if shards else ""
            self._progress(
                f"  {report.kind} index of {report.num_items} items"
                f"{merged}: recall@{report.k} {report.recall:.3f}, "
                f"{report.latency_ms:.2f} ms a query"
            )
            options = self.config.index
            choices: list[Choice] = [auto.index_kind(options, report.num_items)]
            if tuned := report.scann:
                found = tuned.chosen, tuned.frontier
                choices.append(auto.index_tree(*found, options.recall_floor))
            return choices

        return self._step("index", self._inputs("index"), work)

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

        name = needs.shard_name(shard, num_shards)
        return self._step(name, needs.common(self.config, "index"), work)

    def train_ranking(self) -> Path:
        """Trains the model that rescores what the index returns."""
        retrieval = self.train_retrieval()
        self.index()

        def work(directory: Path) -> list[Choice]:
            from pipeline.ranking import train as train_ranking

            given = self.config, self._load()
            begin = train_ranking.found(*given, self._live())
            told = self._progress
            train_ranking.run(*given, retrieval, directory, told, begin)
            return [*train_ranking.choices(*given), *begin.choices("ranking")]

        return self._step("train-ranking", self._inputs("train-ranking"), work)

    def distill(self) -> Path:
        """Trains the on-device student on what both stages answer."""
        ranking = self.train_ranking()

        def work(directory: Path) -> list[Choice]:
            from pipeline.ondevice import distill

            given = self.config, self._load()
            begin = distill.found(*given, self._live())
            told = self._progress
            return distill.run(*given, ranking, directory, told, begin)

        return self._step("distill", self._inputs("distill"), work)

    def export(self) -> Path:
        """Writes the SavedModels that ship."""
        before = {
            "train-retrieval": self.train_retrieval(),
            "index": self.index(),
            "train-ranking": self.train_ranking(),
        }

        def work(directory: Path) -> list[Choice]:
            from pipeline.export import step as export

            prepared = self._load()
            bundle_id = export.run(self.config, prepared, before, directory)
            self._progress(
                f"  bundle {bundle_id}: {', '.join(signatures.BUNDLE)}"
            )
            return [auto.holds(len(prepared.items.ids))]

        return self._step("export", self._inputs("export"), work)

    def ondevice_export(self) -> Path:
        """Writes the student as .tflite bundles, and what was trained."""
        before = {
            "train-retrieval": self.train_retrieval(),
            "train-ranking": self.train_ranking(),
            "distill": self.distill(),
            "export": self.export(),
        }

        def work(directory: Path) -> None:
            from pipeline.ondevice import export as ondevice_export

            ondevice_export.run(self.config, self._load(), before, directory)

        inputs = self._inputs("ondevice-export")
        return self._step("ondevice-export", inputs, work)

    def evaluate(self) -> Path:
        """Measures the exported models; writes evaluation.json."""
        exports, index = self.export(), self.index()
        ondevice = self.ondevice_export()

        def work(directory: Path) -> list[Choice]:
            from pipeline.evaluate import step as evaluate

            student = evaluate.run(
                self.config, self._load(), exports, index, directory, ondevice
            ).ondevice
            wanted = self.config.student.precision
            found = student.precisions if student else {}
            tuned = auto.tuning_users(len(self._load().items.ids))
            return [auto.precision(wanted, found), tuned] if found else [tuned]

        directory = self._step("evaluate", self._inputs("evaluate"), work)
        # The one file people and scripts read stands at a short path.
        with files.staged(self.evaluation) as staged:
            shutil.copyfile(directory / EVALUATION, staged)
        return directory

    def publish(self, replayed: Iterable[Rule] = ()) -> int:
        """Publishes the bundle if the gate accepts it; its version.

        `replayed` is what a log of requests said of it.

        Raises:
            GateRejected: If a rule of the gate is broken.
        """
        from pipeline.release import publish

        exports, ondevice = self.export(), self.ondevice_export()
        self.evaluate()
        version, is_new = publish.run(
            *(self.config, exports, self.evaluation, ondevice),
            replayed,
            self._manner.force,
        )
        role = history.state(self.config.serving_directory).role(version)
        trial = ", make canary lets users try it" * (role == "staged")
        known = role or "withdrawn, FORCE=1 brings it back"
        self._progress(
            f"publish: accepted, version {version} is {role}{trial}"
            if is_new
            else f"publish: up to date, version {version} is this bundle, "
            f"{known}"
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

    def _live(self) -> "Carried | str | None":
        """What training starts from, or why from nothing; None if unasked."""
        if not self._manner.warm:
            return None
        from pipeline.warm import carried

        return carried.find(self.config)

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
        is_forced = self._manner.force and may_force
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

    def _inputs(self, name: str) -> manifest.Inputs:
        return needs.inputs(self.config, name)

    def _lock_of(self, name: str) -> locks.Lock:
        """The run's own lock; shards may be made side by side."""
        if name in needs.AFTER:
            return self.lock
        return locks.Lock(self._directory(f"{locks.FILE}-{name}"))
