"""Rows a second, examples a second, memory and cost against the log's size.

Every size is generated, prepared, fed and trained on for a minute; what a
whole training would take follows from that. Past the largest size measured the
table goes on on paper, and says with which assumptions.

Leaves `bench-scale.json` and, where matplotlib is installed (it is one of
requirements-dev.txt), `bench-scale.svg`.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from pipeline.bench import phases
from pipeline.run import manifest
from pipeline.tables.schema import DataError

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


def run(
    directory: Path,
    sizes: Sequence[int],
    price: float,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Measures every size and writes the report.

    Args:
        directory: Scratch, which needs some 40 bytes an interaction; the logs
            are deleted, the report stays.
        sizes: Interactions.
        price: Of an hour of one core, in any currency.
        progress: Receives a line a phase.

    Returns:
        The report, as written.
    """
    rows: list[dict[str, float]] = []
    report: dict[str, Any] = {}
    directory.mkdir(parents=True, exist_ok=True)
    for size in sorted(sizes):
        figures: dict[str, Any] = {"interactions": size}
        for name, phase in (
            ("generate", phases.generated),
            ("prepare", phases.prepared),
            ("feed", phases.fed),
            ("train", phases.trained),
        ):
            found = phases.measure(phase, directory, size)
            figures[name] = found
            progress(
                f"{size:,}: {name} {found['seconds']:.1f} s "
                f"({found['cpu_seconds']:.1f} s of processor time), peak "
                f"{found['peak_gib']:.2f} GiB"
            )
        options = phases.config(directory, size)
        shutil.rmtree(options.source.path)
        shutil.rmtree(options.run_directory)
        rows.append(_row(figures, price))
        # After each size: the next one takes longer than all before it.
        report = {
            "price_per_core_hour": price,
            "epochs": 2 * _EPOCHS,
            "measured": rows,
            "estimated": [
                _estimate(rows[-1], paper) for paper in _PAPER if paper > size
            ],
            "assumptions": list(ASSUMPTIONS),
        }
        manifest.write_json(directory / "bench-scale.json", report)
    return report


def _row(figures: dict[str, Any], price: float) -> dict[str, float]:
    size = figures["interactions"]
    prepare, feed, train = figures["prepare"], figures["feed"], figures["train"]
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


def _estimate(last: dict[str, float], size: int) -> dict[str, float]:
    """The largest size measured, scaled; see ASSUMPTIONS."""
    factor = size / last["interactions"]
    grown = {
        name: last[name] * factor
        for name in (
            "prepare_cpu_seconds",
            "train_hours",
            "core_hours",
            "cost",
        )
    }
    return {
        "interactions": size,
        "items": round(last["items"] * factor**0.5),
        "prepare_rows_per_second": last["prepare_rows_per_second"],
        "train_examples_per_second": last["train_examples_per_second"],
        **grown,
    }


def table(report: dict[str, Any]) -> Table:
    """The report as people read it."""
    price = report["price_per_core_hour"]
    shown = Table(
        title=f"a whole run by size, {price:g} a core hour; ~ is on paper"
    )
    for name in (
        "interactions",
        "prepared\nrows/s",
        "\nGiB",
        "fed\nexamples/s",
        "trained\nexamples/s",
        "\nGiB",
        "training\nhours",
        "core\nhours",
        "\ncost",
    ):
        shown.add_column(name, justify="right", no_wrap=True)
    rows = [("", row) for row in report["measured"]]
    rows += [("~", row) for row in report["estimated"]]
    for mark, row in rows:
        shown.add_row(
            f"{mark}{row['interactions']:,}",
            f"{row['prepare_rows_per_second']:,.0f}",
            _number(row.get("prepare_peak_gib")),
            _number(row.get("feed_examples_per_second"), ",.0f"),
            f"{row['train_examples_per_second']:,.0f}",
            _number(row.get("train_peak_gib")),
            f"{row['train_hours']:,.2f}",
            f"{row['core_hours']:,.2f}",
            f"{row['cost']:,.2f}",
        )
    return shown


def _number(value: float | None, form: str = ".2f") -> str:
    return "" if value is None else format(value, form)


def plot(path: Path) -> Path:
    """Draws the report of a file beside it.

    Raises:
        DataError: If matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DataError(
            "Plots need matplotlib. Received: an environment without it. "
            "Install requirements-dev.txt; the figures are in "
            f"{path}."
        ) from error
    rows = json.loads(path.read_text(encoding="utf-8"))["measured"]
    sizes = [row["interactions"] for row in rows]
    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(2, 2).ravel()
    for axes, title, lines in zip(
        panels,
        ("rows or examples a second", "peak memory, GiB", "core hours", "cost"),
        (
            {
                "prepared": "prepare_rows_per_second",
                "fed": "feed_examples_per_second",
                "trained": "train_examples_per_second",
            },
            {
                "prepare": "prepare_peak_gib",
                "feed": "feed_peak_gib",
                "train": "train_peak_gib",
            },
            {"a whole run": "core_hours"},
            {"a whole run": "cost"},
        ),
        strict=True,
    ):
        for label, name in lines.items():
            values = [row[name] for row in rows]
            axes.plot(sizes, values, marker="o", label=label)
        axes.set_title(title)
        axes.set_xscale("log")
        axes.set_yscale("linear" if "memory" in title else "log")
        axes.set_xlabel("interactions")
        axes.grid(alpha=0.3)
        axes.legend()
    target = path.with_suffix(".svg")
    figure.savefig(target)
    return target
