"""Runs over catalogues of any size, step by step: time and peak memory.

A log is generated (see `generate`), with a table of items that have a feature
to filter by, and every step of a brief run is timed in a process of its own.
Beside it, what one training step costs at this size and at 20,000 items.

Last, what was exported is served and asked (see `served`).

Leaves the run, `log/`, `items.parquet` and `million.toml` in a directory that
others can go on with, and what was measured under "train", "request", "filter"
and "swap" in the file of figures beside it: `artifacts/bench/million.json` for
the default directory and the largest catalogue, `million-10000.json` for one of
10,000 items; `million.png` draws them all.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import needs
from pipeline.bench import generate, phases, served
from pipeline.bench.phases import Figures

logger = logging.getLogger(__name__)

# The figures stand beside the run's directory.
SUFFIX = ".json"
DIRECTORY = Path("artifacts/bench/million")
NUM_ITEMS = 1_000_000
SIZES = (10_000, 100_000, NUM_ITEMS)
# Of a log: enough for most items to be seen, few enough for a brief run.
INTERACTIONS_AN_ITEM = 2
STEPS = (*needs.AFTER, "publish")
# Shares of the catalogue that have each value of `group`, for filters.
GROUPS = {"half": 0.5, "tenth": 0.1, "hundredth": 0.01, "thousandth": 0.001}
_SMALL = 20_000
# A step's batch: histories, their length, targets.
_HISTORIES, _LENGTH, _TARGETS = 60, 50, 2_700
_WARM_UP, _TIMED = 3, 12
# Of the gate, which a brief run need not pass.
_REJECTED = 3
# What is drawn of the server's answers: a name, where it is measured.
_ASKED = (
    ("one caller, p50", "request", "p50_ms"),
    ("one caller, p99", "request", "p99_ms"),
    ("50 a second, p99", "swap", "steady_p99_ms"),
    ("50 a second, p99 during swaps", "swap", "swap_p99_ms"),
)

_CONFIG = """\
name = "million"
seed = 1
artifacts = {artifacts}

[source]
kind = "tabular"
path = {log}
items_path = {items}

[source.item_features]
group = "categorical"
price = "numeric"

[prepare]
split = "temporal"

[retrieval]
encoder = "attention"
history_length = 50
epochs = 1

[ranking]
epochs = 1

[student]
epochs = 1
max_histories = 2_000

[evaluate]
num_users = 1_000
"""


@dataclass(frozen=True)
class Bench:
    """Where a run is and how large.

    Attributes:
        directory: Of the run and its log.
        num_items: Rows of the items table.
        interactions: Rows of the log.
    """

    directory: Path
    num_items: int
    interactions: int

    @classmethod
    def of(cls, directory: Path, num_items: int) -> "Bench":
        """That of a catalogue, with the log that belongs to it."""
        return cls(directory, num_items, num_items * INTERACTIONS_AN_ITEM)

    @property
    def figures(self) -> Path:
        """What was measured."""
        return self.directory.with_suffix(SUFFIX)

    @property
    def config(self) -> Path:
        """The options of the run."""
        return self.directory / "million.toml"

    @property
    def log(self) -> Path:
        """Shards of the log."""
        return self.directory / "log"

    @property
    def items(self) -> Path:
        """The catalogue."""
        return self.directory / "items.parquet"

    @property
    def exports(self) -> Path:
        """The exported models of the run."""
        return self.directory / "artifacts" / "runs" / "million" / "export"

    def write(self) -> None:
        """Writes the log, the items and the options."""
        self.directory.mkdir(parents=True, exist_ok=True)
        generate.write(self.log, self.interactions, 1, self.num_items)
        rng = np.random.default_rng(1)
        shares = [*GROUPS.values(), 1 - sum(GROUPS.values())]
        group = rng.choice([*GROUPS, "rest"], self.num_items, p=shares)
        columns = {
            "item_id": np.arange(self.num_items),
            "group": group,
            "price": rng.lognormal(3.0, 1.0, self.num_items).round(2),
        }
        pq.write_table(pa.table(columns), self.items)
        text = _CONFIG.format(
            artifacts=json.dumps(str(self.directory / "artifacts")),
            log=json.dumps(str(self.log)),
            items=json.dumps(str(self.items)),
        )
        self.config.write_text(text, encoding="utf-8")

    def step(self, name: str) -> Figures:
        """Brings one step up to date in a process of its own.

        Returns:
            `seconds`, `cpu_seconds` and `peak_gib`, of memory that is resident.

        Raises:
            subprocess.CalledProcessError: If it fails.
        """
        command = [sys.executable, "-m", "pipeline"]
        command += ["--config", str(self.config), name]
        start = time.monotonic()
        process = subprocess.Popen(command)
        # Unlike `wait`, it says what this child and its children took.
        _, status, used = os.wait4(process.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        # Else `Popen` would wait for what has been waited for.
        process.returncode = code
        if code and not (name == "publish" and code == _REJECTED):
            raise subprocess.CalledProcessError(code, command)
        return {
            "seconds": round(time.monotonic() - start, 1),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "peak_gib": round(used.ru_maxrss / 2**20, 2),
        }


def training_step(_directory: Path, num_items: int) -> Figures:
    """What one training step costs: the same batch, whatever the catalogue.

    Returns:
        `step_cpu_ms`, processor time of the median step, and `step_mib`, what
        the steps took beyond the tables that stand between them.
    """
    import tensorflow as tf

    from models import retrieval
    from models.config import FIRST_ITEM, RetrievalConfig
    from models.towers import CandidateInputs
    from pipeline.retrieval import fit
    from pipeline.retrieval.watch import Averages
    from pipeline.run import auto

    rng = np.random.default_rng(0)
    options = RetrievalConfig(
        encoder="attention", loss="in_batch", history_length=_LENGTH
    )
    rows = num_items + FIRST_ITEM
    counts = np.append(np.zeros(FIRST_ITEM), np.ones(num_items))
    inputs = CandidateInputs({}, (), rows, counts)
    model = retrieval.build(options, inputs, (), (), FIRST_ITEM)
    sizes = [table.shape[0] for table in model.tables]
    lazy = auto.lazy_rows(options.loss, sizes, 1).value
    model.compile(fit.optimizer(options, 1_000, model.tables if lazy else ()))
    model.optimizer.build(model.trainable_variables)
    Averages(model, fit.AVERAGING, model.optimizer if lazy else None)

    def draw(*shape: int) -> tf.Tensor:
        return tf.constant(rng.integers(FIRST_ITEM, rows, shape), tf.int32)

    each = _TARGETS // _HISTORIES
    batch = {
        "history": draw(_HISTORIES, _LENGTH),
        "user_index": tf.ones([_HISTORIES], tf.int32),
        "user_features": {},
        "row": tf.repeat(tf.range(_HISTORIES), each),
        "state": tf.tile(tf.range(each), [_HISTORIES]),
        "weight": tf.ones([_TARGETS]),
        "context": {},
        "moment": tf.zeros([_TARGETS], tf.int32),
    }
    step = tf.function(model.train_step)
    # Building the tables is no part of a step.
    phases.forget_peak()
    taken, before = [], phases.peak_gib()
    for _ in range(_WARM_UP + _TIMED):
        given = batch | {"target": draw(_TARGETS)}
        start = time.process_time()
        step(given)
        taken.append(1000 * (time.process_time() - start))
    return {
        "step_cpu_ms": round(float(np.median(taken[_WARM_UP:])), 1),
        "step_mib": round(1024 * (phases.peak_gib() - before), 1),
    }


def run(bench: Bench, progress: Callable[[str], None]) -> dict[str, object]:
    """Writes the log, runs every step and measures; what it measured."""
    costs = {
        size: phases.measure(training_step, bench.directory, size)
        for size in (_SMALL, bench.num_items)
    }
    small, large = costs[_SMALL], costs[bench.num_items]
    found: dict[str, object] = {
        "items": bench.num_items,
        "interactions": bench.interactions,
        "training_step": {str(size): cost for size, cost in costs.items()},
        "step_time_ratio": round(
            large["step_cpu_ms"] / small["step_cpu_ms"], 2
        ),
        "step_memory_ratio": round(large["step_mib"] / small["step_mib"], 2),
    }
    progress(
        f"a training step: {large['step_cpu_ms']} ms of processor time, "
        f"{large['step_mib']} MiB; with {_SMALL:,} items "
        f"{small['step_cpu_ms']} ms, {small['step_mib']} MiB"
    )
    start = time.monotonic()
    bench.write()
    progress(f"generate: {time.monotonic() - start:.1f} s")
    steps: dict[str, Figures] = {}
    found["steps"] = steps
    for name in STEPS:
        steps[name] = bench.step(name)
        progress(
            f"{name}: {steps[name]['seconds']:.1f} s, peak "
            f"{steps[name]['peak_gib']:.2f} GiB"
        )
        # After each: the next may be killed for memory.
        phases.keep(bench.figures, "train", found)
    served.run(bench.exports, bench.figures, GROUPS, progress)
    return found


def plot(benches: Sequence[Bench], path: Path) -> None:
    """Draws what callers wait for, and the steps, by the number of items."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    kept = [json.loads(bench.figures.read_text("utf-8")) for bench in benches]
    sizes = [bench.num_items for bench in benches]
    steps = {
        name: [found["train"]["steps"][name] for found in kept]
        for name in STEPS
    }
    lines = {
        "ms a recommendation": {
            name: [found[part][key] for found in kept]
            for name, part, key in _ASKED
        },
        "seconds a step": {
            name: [row["seconds"] for row in rows]
            for name, rows in steps.items()
        },
        "peak GiB of a step": {
            name: [row["peak_gib"] for row in rows]
            for name, rows in steps.items()
        },
    }
    figure = Figure(figsize=(14, 4.5), layout="constrained")
    asked, *costs = figure.subplots(1, len(lines))
    for axes, (title, found) in zip(
        (asked, *costs), lines.items(), strict=True
    ):
        for name, values in found.items():
            axes.plot(sizes, values, "o-", label=name)
        axes.set(xscale="log", yscale="log", xlabel="items", title=title)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3, which="both")
    asked.legend(fontsize="small")
    costs[-1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark by the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.bench.million",
        description=__doc__.partition("\n")[0],
    )
    parser.add_argument(
        "--directory",
        type=Path,
        default=DIRECTORY,
        help="of the log and the run",
    )
    parser.add_argument(
        "--items",
        type=int,
        nargs="+",
        default=SIZES,
        help="sizes of catalogues",
    )
    given = parser.parse_args(arguments)
    *smaller, largest = sorted(set(given.items))
    directory = given.directory
    benches = [
        Bench.of(directory.with_name(f"{directory.name}-{size}"), size)
        for size in smaller
    ]
    benches.append(Bench.of(directory, largest))
    for bench in benches:
        run(bench, lambda line: logger.info("bench-million: %s", line))
    drawn = directory.with_suffix(".png")
    plot(benches, drawn)
    logger.info("bench-million: drawn in %s", drawn)
    return 0


if __name__ == "__main__":
    sys.exit(main())
