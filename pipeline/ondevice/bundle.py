"""A trained student to the folder a device loads.

Writes `model.tflite`, `vocabulary.json`, `golden.json` and, with the digests
of these, `config.json`. The folder is staged beside its target and renamed.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.config import check
from models.student import Student
from pipeline.ondevice.convert import Precision, convert
from pipeline.run import manifest
from serving.ondevice import bundle as ondevice


def write(
    student: Student,
    ids: Sequence[str],
    titles: Sequence[str],
    directory: Path,
    precision: Precision = "int8",
    counts: Sequence[int] = (),
    features: Mapping[str, Sequence[Sequence[str]]] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> str:
    """Writes the bundle and replays it; returns the bundle id.

    Args:
        student: The trained student.
        ids: Item ids of its rows, the first two empty.
        titles: Likewise.
        directory: Where the bundle will stand; must not exist.
        precision: Of the item table.
        counts: Train interactions of each row; empty leaves them out.
        features: Words of each row by item column.
        facts: Added to `config.json`.
    """
    check(
        (
            len(ids) == len(titles) == student.num_rows,
            f"`ids` and `titles` must have {student.num_rows} rows. "
            f"Received: {len(ids)} and {len(titles)}.",
        ),
        (
            not directory.exists(),
            f"A bundle must not overwrite another. Received: {directory}. "
            "Choose the next version.",
        ),
    )
    staging = directory.with_name(f".staging-{directory.name}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    (staging / ondevice.MODEL).write_bytes(convert(student, precision))
    manifest.write_json(
        staging / ondevice.VOCABULARY,
        {
            "ids": list(ids),
            "titles": list(titles),
            "counts": [int(count) for count in counts],
            "features": dict(features or {}),
        },
    )
    described = _describe(student, precision) | dict(facts or {})
    # Without cases yet: whole enough for the model to be asked for them.
    _seal(staging, described, [], 0.0)
    bundle = ondevice.OnDevice(staging)
    cases: list[dict[str, Any]] = []
    for history in _golden(student):
        best, scores = bundle.run(history)
        cases.append(
            {
                "history": history,
                "ids": best.tolist(),
                "scores": [float(score) for score in scores],
            }
        )
    # int8 products round differently on other processors.
    share = 0.02 if precision == "int8" else 1e-4
    largest = max(
        (
            abs(score)
            for case in cases
            for item, score in zip(case["ids"], case["scores"], strict=True)
            if item
        ),
        default=0.0,
    )
    tolerance = share * max(largest, 1e-3)
    bundle_id = _seal(staging, described, cases, tolerance)
    manifest.replace(staging, directory)
    return bundle_id


def _describe(student: Student, precision: Precision) -> dict[str, Any]:
    options = student.config
    return {
        "precision": precision,
        "encoder": options.encoder,
        "embedding_dim": options.embedding_dim,
        "history_length": options.history_length,
        "num_recommendations": options.num_recommendations,
        "num_items": student.num_rows - 2,
        "item_id": options.item_id,
        "item_features": list(options.item_features),
        "repeat_consumption": student.repeats,
        "padding": "left",
    }


def _seal(
    directory: Path,
    described: dict[str, Any],
    cases: list[dict[str, Any]],
    tolerance: float,
) -> str:
    """Writes `golden.json` and `config.json`; returns the bundle id."""
    manifest.write_json(
        directory / ondevice.GOLDEN,
        {
            # Cases are in rows, which mean nothing with other ids.
            "vocabulary": manifest.file_digest(directory / ondevice.VOCABULARY),
            "tolerance": tolerance,
            "cases": cases,
        },
    )
    files = {
        name: manifest.file_digest(directory / name)
        for name in (ondevice.MODEL, ondevice.VOCABULARY, ondevice.GOLDEN)
    }
    bundle_id = manifest.digest(files)[:16]
    config: dict[str, Any] = {
        "bundle_id": bundle_id,
        **described,
        "model_bytes": (directory / ondevice.MODEL).stat().st_size,
        "files": files,
    }
    manifest.write_json(directory / ondevice.CONFIG, config)
    return bundle_id


def _golden(student: Student) -> list[list[int]]:
    """Every filling from empty to full, an unknown item and duplicates."""
    length, rows = student.config.history_length, student.num_rows
    random = np.random.default_rng(0)
    cases = [
        [0] * (length - filled) + random.integers(2, rows, filled).tolist()
        for filled in range(length + 1)
    ]
    return [*cases, [1] * length, [2] * length]
