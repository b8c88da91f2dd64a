"""What a version carries of its training, for the next one to start from.

On disk, `<serving>/training/<version>/`, which no server reads: the weights of
`base`, `final`, `scorer` and of both students by their paths (`.npz`), how far
each has learned (`.parquet`), and in `training.json` what their rows stand for.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from models.config import FIRST_ITEM, Encoder
from pipeline.run import manifest
from pipeline.run.config import Config
from pipeline.tables.prepared import Prepared
from pipeline.warm.seen import Seen
from serving.releases import files, history

FOLDER = "training"
Model: TypeAlias = Literal["base", "final", "scorer", "student", "undistilled"]
# Beside the weights of each model in its step.
SEEN, TARGETS = "seen.parquet", "targets.npz"
_FACTS = "training.json"
_TABLES: tuple[Literal["items", "users", "context"], ...] = (
    "items",
    "users",
    "context",
)


@dataclass(frozen=True)
class Facts:
    """What the weights of a version belong to.

    Attributes:
        run: Name of the run.
        bundle_id: Of the version.
        split: Its name.
        encoder: Of both retrieval models.
        embedding_dim: Likewise.
        num_heads: Likewise.
        item_features: As the config has them.
        cold_epochs: That the last training without a start took.
        vocabularies: Values from index 2 of "items", "users" and features
            such as "items.genres".
        numbers: Mean and standard deviation of numeric features, likewise.
    """

    run: str
    bundle_id: str
    split: str
    encoder: Encoder
    embedding_dim: int
    num_heads: int
    item_features: Sequence[str]
    cold_epochs: int
    vocabularies: Mapping[str, Sequence[str]]
    numbers: Mapping[str, tuple[float, float]]

    @classmethod
    def of(
        cls,
        config: Config,
        prepared: Prepared,
        encoder: Encoder,
        cold_epochs: int,
        bundle_id: str,
    ) -> Facts:
        """What weights that a run trained belong to."""
        options, users = config.retrieval, prepared.users
        known = users.ids[FIRST_ITEM : users.num_known].tolist()
        return cls(
            config.name,
            bundle_id,
            prepared.split,
            encoder,
            options.embedding_dim,
            options.num_heads,
            options.item_features,
            cold_epochs,
            {
                "items": prepared.items.ids[FIRST_ITEM:].tolist(),
                "users": known if "user" in options.ids else [],
                **prepared.vocabularies,
            },
            numbers(prepared),
        )


@dataclass(frozen=True)
class Carried:
    """A version's training, to start from.

    Attributes:
        version: Which.
        directory: Where it lies.
        facts: What the weights belong to.
    """

    version: int
    directory: Path
    facts: Facts

    def has(self, model: Model) -> bool:
        """Whether it has this one: releases of before carry no students."""
        return (self.directory / f"{model}.npz").exists()

    def weights(self, model: Model) -> dict[str, np.ndarray]:
        """Weights by path."""
        with np.load(self.directory / f"{model}.npz") as saved:
            return {name: saved[name] for name in saved.files}

    def items(self, model: Model) -> list[str]:
        """Ids of a model's items, "" for those it never had to find.

        Their rows have learned that nobody takes them, and nothing else.
        Students have to find what `final` has to.
        """
        model = "base" if model == "base" else "final"
        with np.load(self.directory / f"{model}-{TARGETS}") as saved:
            counts = saved["counts"][FIRST_ITEM:]
        pairs = zip(self.facts.vocabularies["items"], counts, strict=True)
        return [item if count else "" for item, count in pairs]

    def seen(self, model: Model) -> Seen:
        """How far it has learned."""
        return Seen.read(self.directory / f"{model}.parquet")


def write(
    config: Config,
    prepared: Prepared,
    steps: Mapping[str, Path],
    bundle_id: str,
    directory: Path,
) -> None:
    """Writes what a version is to carry, from the steps of its training."""
    directory.mkdir(parents=True)
    retrieval, ranking = steps["train-retrieval"], steps["train-ranking"]
    students = steps["distill"]
    for source, name in (
        (retrieval / "base" / "weights.npz", "base.npz"),
        (retrieval / "base" / SEEN, "base.parquet"),
        (retrieval / "base" / TARGETS, f"base-{TARGETS}"),
        (retrieval / "final" / "weights.npz", "final.npz"),
        (retrieval / "final" / SEEN, "final.parquet"),
        (retrieval / "final" / TARGETS, f"final-{TARGETS}"),
        (ranking / "scorer.npz", "scorer.npz"),
        (ranking / SEEN, "scorer.parquet"),
        (students / "student.npz", "student.npz"),
        (students / "undistilled.npz", "undistilled.npz"),
        (students / SEEN, "student.parquet"),
        (students / SEEN, "undistilled.parquet"),
    ):
        files.link(source, directory / name)
    told = json.loads((retrieval / "metrics.json").read_text("utf-8"))["base"]
    trained = told["encoder"], told["cold_epochs"]
    facts = Facts.of(config, prepared, *trained, bundle_id)
    manifest.write_json(directory / _FACTS, dataclasses.asdict(facts))


def numbers(prepared: Prepared) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of numeric features, in their order."""
    return {
        f"{table}.{name}": (column.spec.mean, column.spec.std)
        for table in _TABLES
        for name, column in prepared.columns(table).items()
        if column.spec.kind == "numeric"
    }


def find(config: Config) -> Carried | str:
    """What the live version carries, or why there is nothing to start from."""
    serving = config.serving_directory
    released = history.read(serving)
    if not released:
        return "nothing is live yet"
    version = released[0]
    directory = serving / FOLDER / str(version)
    try:
        told = json.loads((directory / _FACTS).read_text("utf-8"))
        facts = Facts(**told)
        for model in ("base", "final", "scorer"):
            (directory / f"{model}.npz").stat()
            (directory / f"{model}.parquet").stat()
    except FileNotFoundError:
        return f"version {version} carries no weights of its training"
    except (OSError, ValueError, TypeError) as error:
        return f"what version {version} carries cannot be read: {error}"
    if facts.run != config.name:
        return f"version {version} is of another run, {facts.run!r}"
    return Carried(version, directory, facts)
