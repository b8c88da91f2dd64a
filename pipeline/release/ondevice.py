"""Places a student beside the server models of its version.

`<serving>/ondevice/<version>/` is the evaluated bundle of the chosen precision
with the version and the measurements in `config.json` and a model card. It is
live when the one pointer names its version, as for the server models.
"""

import json
import shutil
from collections.abc import Set
from pathlib import Path
from typing import Any, TypeAlias

from pipeline.evaluate import evaluation as evaluations
from pipeline.evaluate.evaluation import Evaluation, Student
from pipeline.run import manifest
from serving.ondevice import bundle

NAME = "ondevice"
CARD = "README.md"
# config.json of a bundle.
BundleConfig: TypeAlias = dict[str, Any]


def describe(directory: Path, version: int, evaluation: Evaluation) -> None:
    """Writes version, measurements and model card into a copied bundle."""
    config = _config(directory) | {
        "version": version,
        "quality": evaluations.plain(evaluation.ondevice)["precisions"],
    }
    manifest.write_json(directory / bundle.CONFIG, config)
    (directory / CARD).write_text(card(config, evaluation), encoding="utf-8")


def without(directory: Path, live: Path, items: Set[str]) -> None:
    """Copies a live student, which answers some items no more.

    It cannot learn of new ones: its table is trained.

    Args:
        directory: Where to; must not exist.
        live: The student's bundle.
        items: Ids that are for sale, or whatever makes them answers.
    """
    shutil.copytree(live, directory)
    known = json.loads((directory / bundle.VOCABULARY).read_text("utf-8"))
    gone = [item for item in known["ids"] if item and item not in items]
    manifest.write_json(
        directory / bundle.CONFIG, _config(directory) | {bundle.GONE: gone}
    )


def renumber(directory: Path, version: int) -> None:
    """Makes a copied bundle one of another version."""
    config = _config(directory)
    heading = "# On-device recommender, version {}\n"
    manifest.write_json(
        directory / bundle.CONFIG, config | {"version": version}
    )
    card = directory / CARD
    card.write_text(
        card.read_text("utf-8").replace(
            heading.format(config["version"]), heading.format(version), 1
        ),
        "utf-8",
    )


def bundle_id(directory: Path) -> str | None:
    """The bundle id of a version, None where it has no student."""
    try:
        return str(_config(directory)["bundle_id"])
    except OSError:
        return None


def obstacles(measured: Student, source: Path) -> list[str]:
    """Reasons why the staged bundle is not the one that was evaluated."""
    staged = bundle_id(source / measured.precision)
    if staged == measured.bundle_id:
        return []
    return [
        "The evaluation must be of the staged student. Received: "
        f"{measured.bundle_id}, staged is {staged}. Run evaluate again."
    ]


def card(config: BundleConfig, evaluation: Evaluation) -> str:
    """The model card: what it is, what it takes, how good it is."""
    features = ", ".join(config["item_features"]) or "none"
    history = "also items of" if config["repeat_consumption"] else "nothing of"
    lines = [
        f"# On-device recommender, version {config['version']}",
        "",
        f"Data set `{evaluation.dataset}`, taught by server bundle "
        f"`{config['server_bundle_id']}`.",
        "",
        f"- Model: `{config['encoder']}` encoder over the last "
        f"{config['history_length']} items, table of {config['num_items']:,} "
        f"items x {config['embedding_dim']}, item ids: "
        f"{'yes' if config['item_id'] else 'no'}, item features: {features}.",
        f"- Input `history` int32 [{config['history_length']}]: rows of "
        "`vocabulary.json`, most recent last, 0 pads, 1 is unknown.",
        f"- Outputs `ids` int32 [{config['num_recommendations']}] and "
        f"`scores` float32, best first; {history} the history, 0 where the "
        "catalogue is exhausted.",
        "- Built-in TFLite operations only; it keeps no state and sends "
        "nothing anywhere.",
        "",
        *_measured(evaluation, config["precision"]),
        "",
        "Latency is that of the machine that evaluated, Python call included. "
        "The model knows the log it was trained on: items newer than that "
        "count as unknown, and what is popular there is recommended more.",
        "",
    ]
    return "\n".join(lines)


def _measured(evaluation: Evaluation, chosen: str) -> list[str]:
    """The card's tables: this file beside all models, then its precisions."""
    models, measured = evaluation.models, evaluation.ondevice
    teacher = max(models["two_stage"].ndcg_at_10, 1e-9)
    share = models["student"].ndcg_at_10 / teacher
    return [
        f"## Measured ({evaluation.split} split, {evaluation.part} part, "
        f"{evaluation.queries:,} users, whole catalogue ranked)",
        "",
        "| model | NDCG@10 | recall@10 | 95 % of NDCG@10 |",
        "|---|---|---|---|",
        *(
            f"| {name} | {row.ndcg_at_10:.4f} | {row.recall_at_10:.4f} | "
            "{:.4f} - {:.4f} |".format(*row.ndcg_at_10_interval)
            for name, row in models.items()
        ),
        "",
        f"`student` is this file; it reaches {share:.0%} of the two-stage "
        "teacher.",
        "",
        "| precision | bytes | latency, 1 thread (us) | NDCG@10 | agreement@10 "
        "with float32 | with the teacher |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name}{' (this file)' if name == chosen else ''} | "
            f"{row.bytes:,} | {row.latency_us:.0f} | {row.ndcg_at_10:.4f} | "
            f"{row.agreement_at_10_float32:.3f} | "
            f"{row.agreement_at_10_teacher:.3f} |"
            for name, row in (measured.precisions if measured else {}).items()
        ),
    ]


def _config(directory: Path) -> BundleConfig:
    text = (directory / bundle.CONFIG).read_text(encoding="utf-8")
    return dict(json.loads(text))
