"""Places a student beside the server models of its version.

`<serving>/ondevice/<version>/` is the evaluated bundle of the chosen precision
with the version and the measurements in `config.json` and a model card. It is
live when the one pointer names its version, as for the server models.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from pipeline.run import manifest
from serving.ondevice import bundle
from serving.releases import files

NAME = "ondevice"
CARD = "README.md"


def place(source: Path, evaluation: dict[str, Any], version: Path) -> None:
    """Copies one bundle to its version directory, complete or not at all.

    Args:
        source: Directory of the ondevice-export step.
        evaluation: evaluation.json, of exactly these bundles.
        version: `<serving>/ondevice/<version>`.
    """
    measured = evaluation["ondevice"]
    precision = measured["precision"]
    with files.staged(version) as staging:
        shutil.copytree(source / precision, staging)
        path = staging / bundle.CONFIG
        config = json.loads(path.read_text(encoding="utf-8"))
        config |= {
            "version": int(version.name),
            "quality": measured["precisions"],
        }
        manifest.write_json(path, config)
        (staging / CARD).write_text(card(config, evaluation), encoding="utf-8")


def bundle_id(directory: Path) -> str | None:
    """The bundle id of a version, None where it has no student."""
    try:
        text = (directory / bundle.CONFIG).read_text(encoding="utf-8")
    except OSError:
        return None
    return json.loads(text)["bundle_id"]


def obstacles(evaluation: dict[str, Any], source: Path) -> list[str]:
    """Reasons why the staged bundle is not the one that was evaluated."""
    measured = evaluation.get("ondevice")
    if not measured:
        return []
    staged = bundle_id(source / measured["precision"])
    if staged == measured["bundle_id"]:
        return []
    return [
        "The evaluation must be of the staged student. Received: "
        f"{measured['bundle_id']}, staged is {staged}. Run evaluate again."
    ]


def card(config: dict[str, Any], evaluation: dict[str, Any]) -> str:
    """The model card: what it is, what it takes, how good it is."""
    rows = {
        row["model"]: row for row in evaluation["rows"] if row["slice"] == "all"
    }
    student, teacher = rows["student"], rows["two_stage"]
    share = student["ndcg@10"] / max(teacher["ndcg@10"], 1e-9)
    features = ", ".join(config["item_features"]) or "none"
    history = "also items of" if config["repeat_consumption"] else "nothing of"
    lines = [
        f"# On-device recommender, version {config['version']}",
        "",
        f"Data set `{evaluation['dataset']}`, taught by server bundle "
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
        f"## Measured ({evaluation['split']} split, {evaluation['part']} part, "
        f"{evaluation['queries']:,} users, whole catalogue ranked)",
        "",
        "| model | NDCG@10 | recall@10 | 95 % of NDCG@10 |",
        "|---|---|---|---|",
    ]
    for name, row in rows.items():
        low, high = row["ndcg@10_interval"]
        lines.append(
            f"| {name} | {row['ndcg@10']:.4f} | {row['recall@10']:.4f} | "
            f"{low:.4f} - {high:.4f} |"
        )
    lines += [
        "",
        f"`student` is this file; it reaches {share:.0%} of the two-stage "
        "teacher.",
        "",
        "| precision | bytes | latency, 1 thread (us) | NDCG@10 | agreement@10 "
        "with float32 | with the teacher |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in evaluation["ondevice"]["precisions"].items():
        mark = " (this file)" if name == config["precision"] else ""
        lines.append(
            f"| {name}{mark} | {row['bytes']:,} | {row['latency_us']:.0f} | "
            f"{row['ndcg@10']:.4f} | {row['agreement@10_float32']:.3f} | "
            f"{row['agreement@10_teacher']:.3f} |"
        )
    lines += [
        "",
        "Latency is that of the machine that evaluated, Python call included. "
        "The model knows the log it was trained on: items newer than that "
        "count as unknown, and what is popular there is recommended more.",
        "",
    ]
    return "\n".join(lines)
