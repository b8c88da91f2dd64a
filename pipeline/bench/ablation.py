"""What each choice is worth, measured on the validation part.

Every variant changes the config in one place, trains both stages with one to
three seeds and keeps the validation figures of its training. The test part
is not touched: the defaults are chosen from this table.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from models.config import RANKING_FEATURES
from pipeline.ranking import train as train_ranking
from pipeline.retrieval import train as train_retrieval
from pipeline.run import manifest
from pipeline.run.config import Config
from pipeline.tables.prepared import Prepared

METRIC = "ndcg@10"
_REPORT = "metrics.json"
# Option values by name.
Changes: TypeAlias = dict[str, object]
Progress: TypeAlias = Callable[[str], None]


@dataclass(frozen=True)
class Variant:
    """One change to the config.

    Attributes:
        name: As the table shows it.
        section: "retrieval" or "ranking"; the other stage stays as it is.
        changes: To that section.
    """

    name: str
    section: str
    changes: Changes

    def of(self, config: Config) -> Config:
        """The config with this change."""
        section = replace(getattr(config, self.section), **self.changes)
        changed: Changes = {self.section: section}
        return replace(config, **changed)  # type: ignore[arg-type]


def variants(config: Config) -> list[Variant]:
    """The config as it is, then every change of one choice."""
    ids = config.retrieval.ids
    retrieval: dict[str, Changes] = {
        "as configured": {},
        **{
            f"encoder {name}": {"encoder": name}
            for name in ("bow", "cnn", "rnn", "attention")
            if name != config.retrieval.encoder
        },
        "loss full softmax": {"loss": "full"},
        "loss in-batch, logQ, uniform negatives": {"loss": "in_batch"},
        "loss in-batch, logQ, 512 mined negatives": {"loss": "mined"},
        "no item features": {"item_features": ()},
        "no item ids": {"ids": tuple(sorted({*ids} - {"item"}))},
        "user ids": {"ids": tuple(sorted({*ids, "user"}))},
        "history ids": {"ids": tuple(sorted({*ids} ^ {"history"}))},
        "no id dropout": {"id_dropout": 0.0},
    }
    features = config.ranking.features
    ranking: dict[str, Changes] = {
        f"ranking without {group}": {
            "features": tuple(name for name in features if name != group)
        }
        for group in RANKING_FEATURES
        if group in features
    }
    return [
        Variant(name, section, changes)
        for section, found in (("retrieval", retrieval), ("ranking", ranking))
        for name, changes in found.items()
    ]


def run(
    config: Config,
    prepared: Prepared,
    num_seeds: int,
    pattern: str,
    progress: Progress,
) -> list[list[str]]:
    """Trains every variant and writes `ablation.json` as it goes.

    Models that would ship are not trained, only those that validation judges.

    Args:
        num_seeds: Seeds a variant, the config's own and those after it.
        pattern: Only the config as it is and variants whose name contains
            this; "" for all.

    Returns:
        The table, a row a variant: means over the seeds, and the spread where
        there are several.
    """
    found: dict[str, list[tuple[float, ...]]] = {}
    directory = config.run_directory / "ablation"
    directory.mkdir(parents=True, exist_ok=True)
    for variant in variants(config):
        # A change means nothing without what it is a change of.
        if variant.changes and pattern not in variant.name:
            continue
        progress(f"ablation: {variant.name}")
        changed = variant.of(config)
        measured = [
            _measure(replace(changed, seed=seed), prepared, directory, progress)
            for seed in range(config.seed, config.seed + num_seeds)
        ]
        found[variant.name] = list(zip(*measured, strict=True))
        manifest.write_json(
            directory / "ablation.json",
            [
                {"variant": name, "retrieval": first, "two_stage": both}
                for name, (first, both) in found.items()
            ],
        )
    return [
        ["variant", "retrieval", "two_stage"],
        *([name, *map(_spread, columns)] for name, columns in found.items()),
    ]


def _measure(
    config: Config, prepared: Prepared, directory: Path, progress: Progress
) -> tuple[float, float]:
    """The figures of retrieval alone and of both stages, on validation."""
    prepared_by = manifest.file_digest(prepared.directory / manifest.MANIFEST)

    def kept(stage: str, work: Callable[[Path], None], *others: str) -> Path:
        """What was trained with these options, now or earlier.

        Variants that have a model in common share it, and a table that was
        interrupted goes on.
        """
        module = f"pipeline.{stage}.train"
        inputs = manifest.inputs_of(config, module, stage, *others)
        inputs |= {"prepared": prepared_by}
        made = directory / f"{stage}-{manifest.digest(inputs)[:16]}"
        if not manifest.is_current(made, inputs):
            with manifest.stage(made, inputs) as staging:
                work(staging)
        return made

    def retrieve(made: Path) -> None:
        train_retrieval.Training(
            config, prepared, made, progress=progress
        ).base()

    retrieval = kept("retrieval", retrieve)

    def rank(made: Path) -> None:
        base = train_retrieval.load(config, prepared, retrieval, "base")
        _scorer, report = train_ranking.learn(config, prepared, base, progress)
        manifest.write_json(made / _REPORT, report)

    ranking = kept("ranking", rank, "retrieval", "index")
    report = json.loads((ranking / _REPORT).read_text(encoding="utf-8"))
    # The curve begins with the order that retrieval gives.
    first, best = (report["curve"][at] for at in (0, report["best_epoch"]))
    return first[METRIC], best[METRIC]


def _spread(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values):.4f}"
