"""Writes the students as bundles, and what a later training may start from.

On disk: `float32/`, `float16/`, `int8/`, each a whole bundle, and
`undistilled/`, the student without a teacher in float32.
The evaluation says which precision is published. `training/` has the weights
of all that was trained for this release, see `pipeline.warm.carried`.
"""

from collections.abc import Mapping
from pathlib import Path

from pipeline.export import bundle
from pipeline.ondevice import bundle as ondevice_bundle
from pipeline.ondevice import distill
from pipeline.ondevice.convert import PRECISIONS, Precision
from pipeline.run.config import Config
from pipeline.tables.prepared import Prepared
from pipeline.warm import carried
from serving import signatures


def run(
    config: Config,
    prepared: Prepared,
    steps: Mapping[str, Path],
    directory: Path,
) -> None:
    """Exports the students.

    Args:
        steps: Directories of the steps before by name.
    """
    distilled, exports = steps["distill"], steps["export"]
    bundle_id = bundle.read_bundle_id(exports / signatures.BUNDLE[0])
    facts = {"run": config.name, "server_bundle_id": bundle_id}
    catalogue = ondevice_bundle.Catalogue.of(
        prepared, distill.num_rows(config.student, prepared)
    )
    written: list[tuple[str, Precision, str]] = [
        *((distill.STUDENT, found, found) for found in PRECISIONS),
        (distill.UNDISTILLED, "float32", distill.UNDISTILLED),
    ]
    for name, precision, folder in written:
        student = distill.load(config, prepared, distilled, name)
        ondevice_bundle.write(
            student, catalogue, directory / folder, precision, facts
        )
    beside = directory / carried.FOLDER
    carried.write(config, prepared, steps, bundle_id, beside)
