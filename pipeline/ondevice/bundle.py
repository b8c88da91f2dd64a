"""A trained student to the folder a device loads.

Writes `model.tflite`, `vocabulary.json`, `golden.json` and, with the digests
of these, `config.json`. The folder is staged beside its target and renamed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.config import check
from models.student import Student
from pipeline.ondevice.convert import Precision, convert
from pipeline.run import manifest
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import TRAIN
from serving.ondevice import bundle as ondevice
from serving.releases import files

Words = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Catalogue:
    """What a device knows of each row of the student, the first two empty.

    Attributes:
        ids: Item ids.
        titles: To be shown.
        counts: Train interactions; empty leaves them out.
        features: Words of each row by categorical column.
    """

    ids: Sequence[str]
    titles: Sequence[str]
    counts: Sequence[int] = ()
    features: Mapping[str, Words] = field(default_factory=dict)

    @classmethod
    def of(cls, prepared: Prepared, num_rows: int) -> "Catalogue":
        """The first rows of prepared tables, those of a student."""
        items = prepared.items
        words = {
            name: column.words(items.features[name][:num_rows])
            for name, column in prepared.columns("items").items()
            if column.spec.kind in ("categorical", "multi_categorical")
        }
        return cls(
            [str(value) for value in items.ids[:num_rows]],
            [str(value) for value in items.titles[:num_rows]],
            items.counts[TRAIN, :num_rows].tolist(),
            words,
        )

    def check(self, student: Student) -> None:
        """Refuses lists of another length than the student's table.

        Raises:
            ConfigError: If there are any.
        """
        sizes = [len(self.ids), len(self.titles)]
        sizes += [len(self.counts)] * bool(self.counts)
        check(
            (
                set(sizes) == {student.num_rows},
                f"`ids`, `titles` and `counts` must have {student.num_rows} "
                f"rows. Received: {', '.join(map(str, sizes))}.",
            )
        )


def write(
    student: Student,
    catalogue: Catalogue,
    directory: Path,
    precision: Precision = "int8",
    facts: Mapping[str, object] | None = None,
) -> str:
    """Writes the bundle and replays it; returns the bundle id.

    Args:
        directory: Where the bundle will stand; must not exist.
        precision: Of the item table.
        facts: Added to `config.json`.
    """
    catalogue.check(student)
    check(
        (
            not directory.exists(),
            f"A bundle must not overwrite another. Received: {directory}. "
            "Choose the next version.",
        ),
    )
    with files.staged(directory) as staging:
        staging.mkdir()
        (staging / ondevice.MODEL).write_bytes(convert(student, precision))
        manifest.write_json(
            staging / ondevice.VOCABULARY,
            {
                "ids": list(catalogue.ids),
                "titles": list(catalogue.titles),
                "counts": [int(count) for count in catalogue.counts],
                "features": dict(catalogue.features),
            },
        )
        described = _describe(student, precision) | dict(facts or {})
        # Without cases yet: whole enough for the model to be asked for them.
        _seal(staging, described, [], 0.0)
        bundle = ondevice.OnDevice(staging)
        answers = [
            (history, *bundle.run(history)) for history in _golden(student)
        ]
        cases = [
            {
                "history": history,
                "ids": best.tolist(),
                "scores": scores.tolist(),
            }
            for history, best, scores in answers
        ]
        # int8 products round differently on other processors.
        share = 0.02 if precision == "int8" else 1e-4
        largest = [np.abs(s[best > 0]).max(initial=0) for _, best, s in answers]
        tolerance = share * max(1e-3, float(max(largest)))
        return _seal(staging, described, cases, tolerance)


def _describe(student: Student, precision: Precision) -> dict[str, object]:
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
    described: dict[str, object],
    cases: list[dict[str, object]],
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
    digests = {
        name: manifest.file_digest(directory / name)
        for name in (ondevice.MODEL, ondevice.VOCABULARY, ondevice.GOLDEN)
    }
    bundle_id = manifest.digest(digests)[:16]
    config: dict[str, object] = {
        "bundle_id": bundle_id,
        **described,
        "model_bytes": (directory / ondevice.MODEL).stat().st_size,
        "files": digests,
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
