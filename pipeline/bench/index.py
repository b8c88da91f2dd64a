"""Recall against latency of nearest neighbours, by the size of a catalogue.

Every size is built and tuned in a process of its own, then measured beside
exact search, the layers of TensorFlow Recommenders, faiss and hnswlib in one
process, in turn. Where ScaNN begins to be faster than exact search is what
`auto.EXACT_BELOW` stands on.

Leaves `bench-index.json`, `bench-index.png`, and `index` of `million.json`.
"""

import argparse
import dataclasses
import json
import logging
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.bench import phases
from pipeline.bench.phases import Figures
from pipeline.run import manifest
from pipeline.run.release import IndexConfig

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from pipeline.bench.neighbours import Subject

DIRECTORY = Path("artifacts/bench")
FILE, MILLION_FILE = "bench-index.json", "million.json"
MILLION, _LARGE = 1_000_000, 5_000_000
SIZES = (1_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000)
FLOOR = 0.95
# Queries that recall is taken over, and that are timed.
_QUERIES, _ROUNDS, _WARM_UP, _FILLING = 200, 200, 10, 8
OPTIONS = IndexConfig(kind="scann", recall_floor=FLOOR)


@dataclass(frozen=True)
class Row:
    """One method with one setting, as `neighbours.Subject` names them."""

    method: str
    setting: str
    recall: float
    p10_ms: float
    p50_ms: float
    build_seconds: float


@dataclass(frozen=True)
class Size:
    """What was measured on one catalogue; the building is ours."""

    num_items: int
    build_seconds: float
    peak_gib: float
    rows: list[Row]

    @property
    def ours(self) -> Row:
        """Ours as it is tuned."""
        mine = (row for row in self.rows if row.method == "ours")
        return next(row for row in mine if "chosen" in row.setting)

    def cheapest(self, method: str, recall: float = 0.0) -> Row:
        """The fastest setting that finds so much; without one, the best."""
        mine = [row for row in self.rows if row.method == method]
        enough = [row for row in mine if row.recall >= recall]
        if not enough:
            return max(mine, key=lambda row: row.recall)
        return min(enough, key=lambda row: row.p50_ms)


def run(
    directory: Path, sizes: Sequence[int], progress: Callable[[str], None]
) -> list[Size]:
    """Measures sizes; what is known of others stays in the file.

    Args:
        directory: Of figures, and scratch of some 2 kB an item.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / FILE
    found = {size.num_items: size for size in read(path)}
    for num_items in sorted(sizes):
        built = phases.measure(build, directory, num_items)
        phases.measure(compare, directory, num_items)
        rows = _read(_rows(directory, num_items))["rows"]
        shutil.rmtree(scratch(directory, num_items))
        size = found[num_items] = Size(
            num_items,
            built["seconds"],
            built["peak_gib"],
            [Row(**row) for row in rows],
        )
        progress(summary(size))
        if num_items == MILLION:
            million(directory, size)
        made = [found[key] for key in sorted(found)]
        content = {
            "crossing": crossing(made),
            "sizes": [dataclasses.asdict(size) for size in made],
        }
        manifest.write_json(path, content)
    return [found[key] for key in sorted(sizes)]


def build_large(directory: Path, progress: Callable[[str], None]) -> None:
    """Builds five million items, for the memory that takes."""
    built = phases.measure(build, directory, _LARGE)
    shutil.rmtree(scratch(directory, _LARGE))
    large = {
        "num_items": _LARGE,
        "build_seconds": built["seconds"],
        "peak_gib": built["peak_gib"],
    }
    phases.keep(directory / MILLION_FILE, "index", {"large": large})
    progress(
        f"{_LARGE:,} items: built in {built['seconds']:.0f} s, peak "
        f"{built['peak_gib']:.2f} GiB"
    )


def million(directory: Path, size: Size) -> None:
    """Writes `index` of million.json, beside what else it holds."""
    near = size.cheapest("faiss", size.ours.recall)
    exact = size.cheapest("exact")
    index = {
        "num_items": size.num_items,
        "recall": size.ours.recall,
        "p50_ms": size.ours.p50_ms,
        "exact_p50_ms": exact.p50_ms,
        "faiss_p50_ms": near.p50_ms,
        "faiss_recall": near.recall,
        "build_seconds": size.build_seconds,
        "peak_gib": size.peak_gib,
    }
    phases.keep(directory / MILLION_FILE, "index", index)


def read(path: Path) -> list[Size]:
    """What a file of `run` holds."""
    return [
        Size(**entry | {"rows": [Row(**row) for row in entry["rows"]]})
        for entry in _read(path).get("sizes", [])
    ]


def _read(path: Path) -> dict:
    found: dict = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found


def scratch(directory: Path, num_items: int) -> Path:
    """Where `build` leaves the index of a size."""
    return directory / f"index-{num_items}"


def _rows(directory: Path, num_items: int) -> Path:
    return scratch(directory, num_items) / "rows.json"


def build(directory: Path, num_items: int) -> Figures:
    """Builds, tunes and saves the index of a generated catalogue."""
    from pipeline.bench import neighbours
    from pipeline.retrieval import index

    embeddings, queries = neighbours.catalogue(num_items)
    target = scratch(directory, num_items)
    target.mkdir(exist_ok=True)
    start = time.monotonic()
    report, searchers = index.build(embeddings, queries, OPTIONS)
    index.save(embeddings, report, searchers, target)
    return {"seconds": time.monotonic() - start}


def compare(directory: Path, num_items: int) -> Figures:
    """Measures every method on it, into a file of rows."""
    from pipeline.bench import neighbours
    from pipeline.retrieval import index

    path = scratch(directory, num_items)
    subjects = list(neighbours.all_of(index.load(OPTIONS, path), path))
    queries = neighbours.catalogue(num_items)[1]
    asked = queries[:_QUERIES]
    # The first subject is exact search.
    truth = [set(subjects[0].find(query).tolist()) for query in asked]
    rows = []
    for subject, taken in zip(subjects, _timed(subjects, queries), strict=True):
        shared = [
            len(wanted.intersection(subject.find(query).tolist())) / len(wanted)
            for wanted, query in zip(truth, asked, strict=True)
        ]
        rows.append(
            Row(
                subject.method,
                subject.setting,
                round(float(np.mean(shared)), 4),
                round(float(np.percentile(taken, 10)), 4),
                round(float(np.median(taken)), 4),
                round(subject.build_seconds, 2),
            )
        )
    content = {"rows": [dataclasses.asdict(row) for row in rows]}
    manifest.write_json(_rows(directory, num_items), content)
    return {"subjects": len(rows)}


def _timed(
    subjects: "Sequence[Subject]", queries: np.ndarray
) -> list[np.ndarray]:
    """Milliseconds of single queries, all subjects in turn.

    Before each stand queries that are not timed: they fill the caches that the
    subject before it, which may read the whole catalogue, has emptied.
    """
    taken = np.zeros((len(subjects), _ROUNDS + _WARM_UP))
    for number in range(_ROUNDS + _WARM_UP):
        query = queries[number % len(queries)]
        for place, subject in enumerate(subjects):
            for ahead in range(_FILLING):
                subject.find(queries[number + ahead - _FILLING])
            start = time.perf_counter()
            subject.find(query)
            taken[place, number] = time.perf_counter() - start
    return list(1e3 * taken[:, _WARM_UP:])


def crossing(sizes: Sequence[Size]) -> int | None:
    """The size from which on ours takes at most half of exact search's time.

    By the clock alone ScaNN is ahead earlier, by less than its share of the
    list that it does not find is worth.
    """
    found = None
    for size in reversed(sizes):
        if 2 * size.ours.p50_ms > size.cheapest("exact").p50_ms:
            break
        found = size.num_items
    return found


def summary(size: Size) -> str:
    """One line: of each method the fastest that finds as much as ours must."""
    names = dict.fromkeys(row.method for row in size.rows)
    best = {name: size.cheapest(name, FLOOR) for name in names}
    best["ours"] = size.ours
    told = (
        f"{name} {row.p50_ms:.3f} ms (recall {row.recall:.3f})"
        for name, row in best.items()
    )
    return (
        f"{size.num_items:,} items: built in {size.build_seconds:.1f} s, peak "
        f"{size.peak_gib:.2f} GiB; {', '.join(told)}"
    )


def plot(path: Path) -> Path:
    """Draws the report of a file beside it: by size, then each frontier."""
    from matplotlib.figure import Figure

    sizes = read(path)
    names = dict.fromkeys(row.method for row in sizes[-1].rows)
    colours = {name: f"C{place}" for place, name in enumerate(names)}
    lines = len(sizes) // 3 + 1
    figure = Figure(figsize=(13, 3.6 * lines), layout="constrained")
    first, *others = figure.subplots(lines, 3, squeeze=False).ravel()
    for name, colour in colours.items():
        kept = [(s.num_items, s.cheapest(name, FLOOR)) for s in sizes]
        kept = [(count, row) for count, row in kept if row.recall >= FLOOR]
        first.plot(
            [count for count, _row in kept],
            [row.p50_ms for _count, row in kept],
            "o-",
            c=colour,
            label=name,
        )
    first.set_title(f"recall@200 of {FLOOR} and more")
    first.set(xscale="log", yscale="log", xlabel="items", ylabel="ms a query")
    first.legend(fontsize="small")
    for axes, size in zip(others, sizes, strict=False):
        for name, colour in colours.items():
            mine = [row for row in size.rows if row.method == name]
            mine.sort(key=lambda row: row.recall)
            # An exact list misses nothing, which no log axis has.
            missed = [max(1 - row.recall, 1e-3) for row in mine]
            axes.plot(missed, [row.p50_ms for row in mine], "o-", c=colour)
        axes.set(xscale="log", yscale="log", xlabel="missed of the exact list")
        axes.invert_xaxis()
        axes.set_title(f"{size.num_items:,} items")
    for axes in (first, *others):
        axes.grid(alpha=0.3, which="both")
        axes.set_visible(axes.has_data())
    target = path.with_suffix(".png")
    figure.savefig(target, dpi=110)
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark by the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.bench.index",
        description=__doc__.partition("\n")[0],
    )
    parser.add_argument(
        "--items", type=int, nargs="*", default=SIZES, help="sizes to measure"
    )
    parser.add_argument(
        "--large",
        action="store_true",
        help="a million items as well, and five million built",
    )
    parser.add_argument(
        "--directory", type=Path, default=DIRECTORY, help="of figures"
    )
    given = parser.parse_args(arguments)

    def progress(line: str) -> None:
        logger.info("bench-index: %s", line)

    sizes = {*given.items, *([MILLION] if given.large else [])}
    run(given.directory, sorted(sizes), progress)
    if given.large:
        build_large(given.directory, progress)
    progress(f"drawn in {plot(given.directory / FILE)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
