"""Rows a second, examples a second, memory and cost against the log's size.

Every size is generated, prepared, fed and trained on for a minute; what a
whole training would take follows from that. Past the largest size measured the
table goes on on paper, and says with which assumptions.

Leaves `bench-scale.json` and `bench-scale.svg`.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pipeline.bench import phases
from pipeline.bench.phases import Figures
from pipeline.run import manifest

FILE = "bench-scale.json"
SIZES = (100_000, 1_000_000, 10_000_000, 25_000_000)
_PAPER = (100_000_000, 1_000_000_000)
_EPOCHS = 8
ASSUMPTIONS = (
    "processor time of preparing and training grows in proportion to the rows, "
    "at the rate of the largest size measured",
    "training streams, so its memory is that of the largest streamed size and "
    "grows only with the tables of items and users",
    f"a run trains two models for {_EPOCHS} epochs each",
    "items grow with the square root of the interactions, as generated ones do",
    "cost is processor time at the price given, storage and transfer left out",
)
# Heads of the table, the figure under each and its form.
_COLUMNS = (
    ("interactions", "interactions", ",.0f"),
    ("prepared\nrows/s", "prepare_rows_per_second", ",.0f"),
    ("\nGiB", "prepare_peak_gib", ".2f"),
    ("fed\nexamples/s", "feed_examples_per_second", ",.0f"),
    ("trained\nexamples/s", "train_examples_per_second", ",.0f"),
    ("\nGiB", "train_peak_gib", ".2f"),
    ("training\nhours", "train_hours", ",.2f"),
    ("core\nhours", "core_hours", ",.2f"),
    ("\ncost", "cost", ",.2f"),
)
# Panels of the drawing, and the figure behind each line in them.
_PANELS = {
    "rows or examples a second": {
        "prepared": "prepare_rows_per_second",
        "fed": "feed_examples_per_second",
        "trained": "train_examples_per_second",
    },
    "peak memory, GiB": {
        "prepare": "prepare_peak_gib",
        "feed": "feed_peak_gib",
        "train": "train_peak_gib",
    },
    "core hours": {"a whole run": "core_hours"},
    "cost": {"a whole run": "cost"},
}
Row: TypeAlias = dict[str, float]


@dataclass
class Report:
    """What bench-scale.json holds: a row a size, measured or on paper."""

    price_per_core_hour: float
    epochs: int = 2 * _EPOCHS
    measured: list[Row] = dataclasses.field(default_factory=list)
    estimated: list[Row] = dataclasses.field(default_factory=list)
    assumptions: tuple[str, ...] = ASSUMPTIONS


def run(
    directory: Path,
    sizes: Sequence[int],
    price: float,
    progress: Callable[[str], None],
) -> Report:
    """Measures every size and writes the report.

    Args:
        directory: Scratch, which needs some 40 bytes an interaction; the logs
            are deleted, the report stays.
        price: Of an hour of one core, in any currency.
    """
    report = Report(price)
    directory.mkdir(parents=True, exist_ok=True)
    for size in sorted(sizes):
        figures = {}
        for name, phase in phases.PHASES.items():
            found = figures[name] = phases.measure(phase, directory, size)
            progress(
                f"{size:,}: {name} {found['seconds']:.1f} s "
                f"({found['cpu_seconds']:.1f} s of processor time), peak "
                f"{found['peak_gib']:.2f} GiB"
            )
        shutil.rmtree(phases.log_path(directory, size))
        shutil.rmtree(phases.config(directory, size).run_directory)
        # After each size: the next one takes longer than all before it.
        report.measured.append(row(size, figures, price))
        report.estimated = [
            estimate(report.measured[-1], paper)
            for paper in _PAPER
            if paper > size
        ]
        manifest.write_json(directory / FILE, dataclasses.asdict(report))
    return report


def row(size: int, figures: dict[str, Figures], price: float) -> Row:
    """What the phases of one size say of a whole run."""
    prepare, feed, train = (
        figures[name] for name in ("prepare", "feed", "train")
    )
    speed = train["examples"] / train["seconds"]
    seconds = 2 * _EPOCHS * train["epoch_examples"] / speed
    core_hours = (prepare["cpu_seconds"] + seconds * train["cores"]) / 3600
    return {
        "interactions": size,
        "items": train["items"],
        "prepare_rows_per_second": size / prepare["seconds"],
        "prepare_cpu_seconds": prepare["cpu_seconds"],
        "prepare_peak_gib": prepare["peak_gib"],
        "feed_examples_per_second": feed["examples"] / feed["seconds"],
        "feed_peak_gib": feed["peak_gib"],
        "train_examples_per_second": speed,
        "train_peak_gib": train["peak_gib"],
        "train_hours": seconds / 3600,
        "core_hours": core_hours,
        "cost": core_hours * price,
    }


def estimate(last: Row, size: int) -> Row:
    """The largest size measured, scaled; see ASSUMPTIONS."""
    factor = size / last["interactions"]
    grown = ("prepare_cpu_seconds", "train_hours", "core_hours", "cost")
    kept = ("prepare_rows_per_second", "train_examples_per_second")
    return {
        "interactions": size,
        "items": round(last["items"] * factor**0.5),
        **{name: last[name] for name in kept},
        **{name: last[name] * factor for name in grown},
    }


def table(report: Report) -> list[list[str]]:
    """The report as people read it, heads first; ~ marks what is on paper."""
    shown = [[head for head, _key, _form in _COLUMNS]]
    for mark, rows in (("", report.measured), ("~", report.estimated)):
        for found in rows:
            first, *others = (
                format(found[key], form) if key in found else ""
                for _head, key, form in _COLUMNS
            )
            shown.append([mark + first, *others])
    return shown


def plot(path: Path) -> Path:
    """Draws the report of a file beside it."""
    from matplotlib.figure import Figure

    rows = json.loads(path.read_text(encoding="utf-8"))["measured"]
    sizes = [row["interactions"] for row in rows]
    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(2, 2).ravel()
    for axes, (title, lines) in zip(panels, _PANELS.items(), strict=True):
        for label, name in lines.items():
            axes.plot(sizes, [row[name] for row in rows], "o-", label=label)
        axes.set_title(title)
        axes.set_xscale("log")
        axes.set_yscale("linear" if "memory" in title else "log")
        axes.set_xlabel("interactions")
        axes.grid(alpha=0.3)
        axes.legend()
    target = path.with_suffix(".svg")
    figure.savefig(target)
    return target
