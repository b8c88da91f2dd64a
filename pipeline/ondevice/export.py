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
from serving import signatures


def run(
    config: Config,
    prepared: Prepared,
    distilled: Path,
    exports: Path,
    directory: Path,
) -> None:
    """Exports the students."""
    facts = {
        "run": config.name,
        "server_bundle_id": bundle.read_bundle_id(
            exports / signatures.BUNDLE[0]
        ),
    }
    catalogue = ondevice_bundle.Catalogue.of(
        prepared, distill.num_rows(config.student, prepared)
    )
    written: list[tuple[str, Precision, str]] = [
        (distill.STUDENT, precision, precision) for precision in PRECISIONS
    ]
    if (distilled / f"{distill.UNDISTILLED}.npz").exists():
        written.append((distill.UNDISTILLED, "float32", distill.UNDISTILLED))
    for name, precision, folder in written:
        student = distill.load(config, prepared, distilled, name)
        ondevice_bundle.write(
            student, catalogue, directory / folder, precision, facts
        )
