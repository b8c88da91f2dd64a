"""Writes the students as bundles, one a precision, for the evaluation.

On disk: `float32/`, `float16/`, `int8/`, each a whole bundle, and
`undistilled/`, the student without a teacher in float32, if one was trained.
The evaluation says which precision is published.
"""

from pathlib import Path

from pipeline.export import bundle
from pipeline.ondevice import bundle as ondevice_bundle
from pipeline.ondevice import distill
from pipeline.ondevice.convert import PRECISIONS, Precision
from pipeline.run.config import Config
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import TRAIN
from serving import signatures


def run(
    config: Config,
    prepared: Prepared,
    distilled: Path,
    exports: Path,
    directory: Path,
) -> None:
    """Exports the students.

    Args:
        config: The run's options.
        prepared: The prepared tables.
        distilled: Directory of the distill step.
        exports: Directory of the export step, whose bundle id is noted.
        directory: Where to write.
    """
    items = prepared.items
    facts = {
        "run": config.name,
        "server_bundle_id": bundle.read_bundle_id(
            exports / signatures.BUNDLE[0]
        ),
    }

    def write(student: str, precision: Precision, name: str) -> None:
        ondevice_bundle.write(
            distill.load(config, prepared, distilled, student),
            [str(value) for value in items.ids],
            [str(value) for value in items.titles],
            directory / name,
            precision,
            items.counts[TRAIN].tolist(),
            words(prepared),
            facts,
        )

    for precision in PRECISIONS:
        write(distill.STUDENT, precision, precision)
    if (distilled / f"{distill.UNDISTILLED}.npz").exists():
        write(distill.UNDISTILLED, "float32", distill.UNDISTILLED)


def words(prepared: Prepared) -> dict[str, list[list[str]]]:
    """Each item's words of its categorical columns."""
    return {
        name: column.words(prepared.items.features[name])
        for name, column in prepared.columns("items").items()
        if column.spec.kind in ("categorical", "multi_categorical")
    }
