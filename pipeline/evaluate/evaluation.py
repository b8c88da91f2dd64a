"""What an evaluation found: the one place that writes and reads it.

`evaluation.json` holds these classes, its keys are their fields; a field
`ndcg_at_10` is the key, and the metric, `ndcg@10`. What was added to the file
later has a default, so that older files are read.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from pipeline.run import manifest

FILE = "evaluation.json"
HEADLINE = "ndcg@10"
# The slice that holds every query.
ALL = "all"
Interval: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Row:
    """Means of one model over the users of one slice."""

    model: str
    slice: str
    users: int
    mrr: float
    recall_at_10: float
    ndcg_at_10: float
    recall_at_100: float
    ndcg_at_100: float

    @property
    def figures(self) -> dict[str, float]:
        """The row's figures by metric."""
        return {
            name: value
            for name, value in plain(self).items()
            if isinstance(value, float)
        }


@dataclass(frozen=True)
class Whole(Row):
    """The row of all queries.

    Attributes:
        coverage_at_10: Share of the catalogue that is in any list.
        pooled_recall_at_100: Of all targets together, as tutorials count:
            a few users weigh the most in it.
    """

    ndcg_at_10_interval: Interval
    recall_at_10_interval: Interval
    recall_at_100_interval: Interval
    coverage_at_10: float
    pooled_recall_at_100: float = 0.0


@dataclass(frozen=True)
class Difference:
    """A paired difference over the same queries, with its 95 % interval."""

    model: str
    against: str
    metric: str
    difference: float
    low: float
    high: float
    p_value: float
    ratio: float


@dataclass(frozen=True)
class Again:
    """Targets that stand in their history, and what they count as."""

    queries: int = 0
    targets: int = 0
    count_as: str = "misses"


@dataclass(frozen=True)
class Live:
    """The live version, and why it was not compared: "" where it was."""

    version: int | None = None
    not_compared: str = ""


@dataclass(frozen=True)
class Index:
    """What approximate search finds of what exact search does."""

    kind: str
    latency_ms: float
    recall_at_10: float
    recall_at_100: float


@dataclass(frozen=True)
class Ratings:
    """Root mean squared error of the predicted ratings."""

    rmse: float
    interactions: int


@dataclass(frozen=True)
class Precision:
    """One .tflite file of the student."""

    bytes: int
    latency_us: float
    ndcg_at_10: float
    agreement_at_10_float32: float
    agreement_at_10_teacher: float


@dataclass(frozen=True)
class Student:
    """The files of the student, and which of them is published."""

    precision: str
    bundle_id: str
    server_bundle_id: str
    precisions: dict[str, Precision]


@dataclass(frozen=True)
class Diversity:
    """What a diversity on request costs and gives.

    Attributes:
        similarity_at_10: Mean cosine of two items of a list.
        coverage_at_10: Share of the catalogue that is in any list.
    """

    diversity: float
    ndcg_at_10: float
    similarity_at_10: float
    coverage_at_10: float


@dataclass(frozen=True)
class Norm:
    """Lengths of the candidate embeddings."""

    mean: float
    std: float
    zero_share: float


@dataclass(frozen=True)
class Sanity:
    """Whether users get lists of their own, and targets matter.

    Attributes:
        list_overlap: Share of a list that another user's has too, by model.
        shuffled_targets_ndcg_at_10: Of two_stage for the targets of other
            users: what is left is popularity.
    """

    list_overlap: dict[str, float]
    embedding_norm: Norm
    shuffled_targets_ndcg_at_10: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything that was measured of one bundle.

    Attributes:
        label: What the figures may be compared with.
        queries: How many were asked.
        bundle_id: Of the exported models.
        rows: Each model's over all queries, then over their slices.
        differences: two_stage against retrieval, the best baseline and the
            live version, the student against them.
        baselines: Their settings, chosen on validation.
        left_out: Models that are not among the rows, with the reason.
        ratings: None without ratings.
        ondevice: None without a student.
        diversity: That without diversity first; None where it is not asked.
    """

    dataset: str
    split: str
    part: str
    protocol: str
    seen: str
    label: str
    queries: int
    again: Again = Again()
    live: Live = Live()
    bundle_id: str
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    baselines: dict[str, dict[str, float]]
    left_out: dict[str, str] = field(default_factory=dict)
    index: Index
    ratings: Ratings | None = None
    ondevice: Student | None = None
    diversity: tuple[Diversity, ...] | None = None
    sanity: Sanity
    seconds: float

    @property
    def models(self) -> dict[str, Whole]:
        """The rows of all queries by model."""
        return {row.model: row for row in self.rows if isinstance(row, Whole)}

    @classmethod
    def read(cls, path: Path) -> Evaluation:
        """Reads what `write` wrote, now or in an earlier version."""
        found = restored(cls, json.loads(path.read_text(encoding="utf-8")))
        return typing.cast(Evaluation, found)

    def write(self, path: Path) -> None:
        """Writes the file, all of it or nothing."""
        manifest.write_json(path, plain(self))


def plain(value: Any) -> dict[str, Any]:
    """One of these classes as it stands in the file."""
    return dataclasses.asdict(
        value,
        dict_factory=lambda pairs: {metric(key): item for key, item in pairs},
    )


def metric(name: str) -> str:
    """The key of a field: `ndcg@10` of `ndcg_at_10`."""
    return name.replace("_at_", "@")


def fields(values: dict[str, float]) -> dict[str, float]:
    """Figures by field for figures by metric."""
    return {key.replace("@", "_at_"): value for key, value in values.items()}


def restored(hint: Any, value: Any) -> Any:
    """What a field of this type holds; keys that no field has are left."""
    arguments = typing.get_args(hint)
    if type(None) in arguments:
        return restored(arguments[0], value)
    if isinstance(value, list):
        return tuple(restored(arguments[0], item) for item in value)
    if not isinstance(value, dict):
        return value
    if not dataclasses.is_dataclass(hint):
        return {
            key: restored(arguments[1], item) for key, item in value.items()
        }
    kind: Any = Whole if hint is Row and value["slice"] == ALL else hint
    return kind(
        **{
            name: restored(inner, value[metric(name)])
            for name, inner in typing.get_type_hints(kind).items()
            if metric(name) in value
        }
    )
