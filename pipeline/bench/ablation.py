"""What each choice is worth, measured on the validation part.

Every variant changes the config in one place, trains both stages with one to
three seeds and keeps the validation figures of its training. The test part
is not touched: the defaults are chosen from this table.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from models.config import RANKING_FEATURES
from pipeline.ranking import train as train_ranking
from pipeline.retrieval import train as train_retrieval
from pipeline.run import config as configuration
from pipeline.run import manifest
from pipeline.run.config import Config
from pipeline.steps import Run
from pipeline.tables.prepared import Prepared

METRIC = "ndcg@10"
_REPORT = "metrics.json"


@dataclass(frozen=True)
class Variant:
    """One change to the config.

    Attributes:
        name: As the table shows it.
        section: "retrieval" or "ranking"; the other stage stays as it is.
        changes: Option values by name.
    """

    name: str
    section: str
    changes: dict[str, Any]


def variants(config: Config) -> list[Variant]:
    """The config as it is, then every change of one choice."""
    sampled = {"loss": "in_batch"}
    retrieval: dict[str, dict[str, Any]] = {
        "as configured": {},
        **{
            f"encoder {name}": {"encoder": name}
            for name in ("bow", "cnn", "rnn", "attention")
            if name != config.retrieval.encoder
        },
        "loss full softmax": {"loss": "full"},
        "loss in-batch, logQ, uniform negatives": sampled,
        "loss in-batch, logQ": sampled | {"num_uniform_negatives": 0},
        "loss in-batch, no logQ": sampled
        | {"num_uniform_negatives": 0, "logq": False},
        "loss in-batch, accidental hits kept": sampled
        | {"remove_accidental_hits": False},
        "loss in-batch, 64 hard negatives": sampled
        | {"num_hard_negatives": 64},
        "loss in-batch, logQ, 512 mined negatives": sampled
        | {"num_mined_negatives": 512},
        "no item features": {"item_features": ()},
        "no user features": {"user_features": ()},
        "no item ids": {"item_id": False},
        "user ids": {"user_id": True},
        "history ids": {"history_id": not config.retrieval.history_id},
        "no id dropout": {"id_dropout": 0.0},
        "no averaged weights": {"averaging": 0.0},
    }
    ranking: dict[str, dict[str, Any]] = {
        f"ranking without {group}": {
            "features": tuple(
                name for name in config.ranking.features if name != group
            )
        }
        for group in RANKING_FEATURES
        if group in config.ranking.features
    }
    ranking["ranking without feature cross"] = {"num_cross_layers": 0}
    return [
        Variant(name, "retrieval", changes)
        for name, changes in retrieval.items()
    ] + [Variant(name, "ranking", changes) for name, changes in ranking.items()]


def run(
    config: Config,
    num_seeds: int,
    pattern: str,
    progress: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Trains every variant and writes `ablation.json` as it goes.

    Models that would ship are not trained, only those that validation judges.

    Args:
        config: The starting point.
        num_seeds: Seeds a variant, the config's own and those after it.
        pattern: Only the config as it is and variants whose name contains
            this; "" for all.
        progress: Receives one line at a time.

    Returns:
        One row a variant.
    """
    rows: list[dict[str, Any]] = []
    directory = config.run_directory / "ablation"
    directory.mkdir(parents=True, exist_ok=True)
    prepared = Run(config, progress=progress).prepared()
    for variant in variants(config):
        # A change means nothing without what it is a change of.
        if variant.changes and pattern not in variant.name:
            continue
        progress(f"ablation: {variant.name}")
        section = replace(getattr(config, variant.section), **variant.changes)
        measured = [
            _measure(
                replace(config, seed=seed, **{variant.section: section}),
                prepared,
                directory,
                progress,
            )
            for seed in range(config.seed, config.seed + num_seeds)
        ]
        rows.append(
            {
                "variant": variant.name,
                "retrieval": [values[0] for values in measured],
                "two_stage": [values[1] for values in measured],
            }
        )
        manifest.write_json(directory / "ablation.json", rows)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """Means over the seeds, and the spread where there are several."""
    result = Table(title=f"validation {METRIC}", title_justify="left")
    result.add_column("variant")
    result.add_column("retrieval", justify="right")
    result.add_column("two_stage", justify="right")
    for row in rows:
        result.add_row(
            row["variant"], _spread(row["retrieval"]), _spread(row["two_stage"])
        )
    return result


def _measure(
    config: Config,
    prepared: Prepared,
    directory: Path,
    progress: Callable[[str], None],
) -> tuple[float, float]:
    """The figures of retrieval alone and of both stages, on validation."""
    retrieval = _kept(
        directory,
        "retrieval",
        _inputs(config, prepared, "retrieval"),
        lambda made: train_retrieval.Training(
            config, prepared, made, progress=progress
        ).base(),
    )

    def rank(made: Path) -> None:
        base = train_retrieval.load(config, prepared, retrieval, "base")
        _scorer, report = train_ranking.learn(config, prepared, base)
        manifest.write_json(made / _REPORT, report)

    ranking = _kept(
        directory,
        "ranking",
        _inputs(config, prepared, "retrieval", "index", "ranking"),
        rank,
    )
    report = json.loads((ranking / _REPORT).read_text(encoding="utf-8"))
    # The curve begins with the order that retrieval gives.
    return (
        report["curve"][0][METRIC],
        report["curve"][report["best_epoch"]][METRIC],
    )


def _inputs(
    config: Config, prepared: Prepared, *sections: str
) -> dict[str, Any]:
    module = f"pipeline.train_{sections[-1]}"
    values = {
        name: configuration.section_values(getattr(config, name))
        for name in sections
    }
    return values | {
        "prepared": manifest.file_digest(
            prepared.directory / manifest.MANIFEST
        ),
        "seed": config.seed,
        "code": manifest.code_digest(module),
        "libraries": manifest.library_versions(module),
    }


def _kept(
    directory: Path,
    stage: str,
    inputs: dict[str, Any],
    work: Callable[[Path], None],
) -> Path:
    """What was trained with these inputs, now or earlier.

    Variants that have a model in common share it, and a table that was
    interrupted goes on.
    """
    made = directory / f"{stage}-{manifest.digest(inputs)[:16]}"
    if not manifest.is_current(made, inputs):
        with manifest.stage(made, inputs) as staging:
            work(staging)
    return made


def _spread(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values):.4f}"
