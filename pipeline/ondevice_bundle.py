"""A trained student to the folder a device loads.

Writes `model.tflite`, `vocabulary.json`, `golden.json` and, with the digests
of these, `config.json`. The folder is staged beside its target and renamed.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from models import student as students
from models.config import check
from models.student import Student
from pipeline import manifest
from serving import ondevice

Precision = Literal["float32", "float16", "int8"]


def convert(student: Student, precision: Precision = "int8") -> bytes:
    """The student as a .tflite file of built-in operations.

    Args:
        student: Called at least once, so that its layers are built.
        precision: Of the item table; scores are float32 always.
    """
    table = student.table().numpy()
    scale = np.ones(table.shape[1], np.float32)
    if precision == "int8":
        table, scale = students.quantise(table)
    length = student.config.history_length

    @tf.function(
        input_signature=[tf.TensorSpec([length], tf.int32, name="history")]
    )
    def serve(history: tf.Tensor) -> dict[str, tf.Tensor]:
        return students.recommend(student, table, scale, history)

    module = tf.Module()
    module.student, module.serve = student, serve
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [serve.get_concrete_function()], module
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision == "float16":
        # TFLite gathers no float16 rows: the converter stores the table so
        # and widens it when the model is loaded.
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    return bytes(converter.convert())


def write(
    student: Student,
    ids: Sequence[str],
    titles: Sequence[str],
    directory: Path,
    precision: Precision = "int8",
) -> str:
    """Writes the bundle and replays it; returns the bundle id.

    Args:
        student: The trained student.
        ids: Item ids of its rows, the first two empty.
        titles: Likewise.
        directory: Where the bundle will stand; must not exist.
        precision: Of the item table.
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
        {"ids": list(ids), "titles": list(titles)},
    )
    _seal(staging, student, precision, (ondevice.MODEL, ondevice.VOCABULARY))
    bundle = ondevice.OnDevice(staging)
    cases = []
    for history in _golden(student):
        best, scores = bundle.run(history)
        cases.append(
            {
                "history": history,
                "ids": best.tolist(),
                "scores": [float(score) for score in scores],
            }
        )
    manifest.write_json(staging / ondevice.GOLDEN, {"cases": cases})
    bundle_id = _seal(
        staging,
        student,
        precision,
        (ondevice.MODEL, ondevice.VOCABULARY, ondevice.GOLDEN),
    )
    manifest.replace(staging, directory)
    return bundle_id


def _seal(
    directory: Path, student: Student, precision: str, names: tuple[str, ...]
) -> str:
    files = {name: manifest.file_digest(directory / name) for name in names}
    bundle_id = manifest.digest(files)[:16]
    config: dict[str, Any] = {
        "bundle_id": bundle_id,
        "precision": precision,
        "encoder": student.config.encoder,
        "history_length": student.config.history_length,
        "num_recommendations": student.config.num_recommendations,
        "padding": "left",
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
