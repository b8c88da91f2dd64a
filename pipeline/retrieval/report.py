"""What building an index found: `index.json`, written and read here alone."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from pipeline.run import manifest

FILE = "index.json"
# Beside it, `[num_items + 2, embedding_dim]`.
EMBEDDINGS = "embeddings.npy"


@dataclass(frozen=True)
class Point:
    """One setting of ScaNN, measured.

    Attributes:
        num_leaves: Of each searcher's tree.
        leaves: Visited a query and searcher.
        reordering: Candidates scored exactly, a query and searcher.
        work: Expected microseconds of a query, counted and not timed.
        recall: Share of the exact list.
        latency_ms: Median of single queries, called from Python.
    """

    num_leaves: int
    leaves: int
    reordering: int
    work: float
    recall: float
    latency_ms: float


@dataclass(frozen=True)
class Tuned:
    """What ScaNN was tuned to.

    Attributes:
        shards: Items of each searcher.
        chosen: Of the frontier.
        exact_latency_ms: Of exact search.
        meets_recall_floor: Whether `chosen` does.
        frontier: What finds more than all that is less work, tree by tree.
    """

    shards: list[int]
    chosen: Point
    exact_latency_ms: float
    meets_recall_floor: bool
    frontier: list[Point]


@dataclass(frozen=True)
class Report:
    """What was built.

    Attributes:
        num_items: In the index.
        k: Items it returns.
        recall: Share of the exact list.
        latency_ms: Median of single queries.
        scann: None for exact search.
    """

    num_items: int
    k: int
    recall: float
    latency_ms: float
    scann: Tuned | None = None

    @property
    def kind(self) -> Literal["exact", "scann"]:
        """Which index it is."""
        return "scann" if self.scann else "exact"

    def write(self, directory: Path) -> None:
        """Writes `index.json`."""
        recall, tuned = f"recall@{self.k}", self.scann

        def row(point: Point) -> dict[str, float]:
            return {
                "num_leaves": point.num_leaves,
                "num_leaves_to_search": point.leaves,
                "num_reordering_candidates": point.reordering,
                "work": point.work,
                recall: point.recall,
                "latency_ms": point.latency_ms,
            }

        content: dict[str, Any] = {
            "kind": self.kind,
            "num_items": self.num_items,
            "num_candidates": self.k,
            recall: self.recall,
            "latency_ms": self.latency_ms,
        }
        if tuned is not None:
            content |= vars(tuned) | {"chosen": row(tuned.chosen)}
        content["frontier"] = [row(p) for p in tuned.frontier] if tuned else []
        manifest.write_json(directory / FILE, content)

    @classmethod
    def read(cls, directory: Path) -> "Report":
        """Reads what `write` wrote."""
        content = json.loads((directory / FILE).read_text("utf-8"))
        k, scann = content["num_candidates"], None
        if content["kind"] == "scann":
            found = {f.name: content[f.name] for f in fields(Tuned)}
            found["chosen"] = Point(*found["chosen"].values())
            found["frontier"] = [Point(*r.values()) for r in found["frontier"]]
            scann = Tuned(**found)
        recall, latency = content[f"recall@{k}"], content["latency_ms"]
        return cls(content["num_items"], k, recall, latency, scann)
