"""What of a run is asked without a server: its items, baselines and student.

Enters: the directory of a run, what is published of it. Leaves: a catalogue,
vectors, baselines fitted as they were evaluated, the on-device model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pipeline.evaluate import baselines
from pipeline.evaluate.baselines import Baseline
from pipeline.evaluate.evaluation import FILE as EVALUATION
from pipeline.evaluate.evaluation import Evaluation
from pipeline.explore.catalogue import Catalogue
from pipeline.explore.evidence import Evidence
from pipeline.explore.values import ItemValues
from pipeline.export import bundle
from pipeline.ranking.cooccurrence import Log
from pipeline.retrieval.report import EMBEDDINGS
from pipeline.run.config import Config
from pipeline.tables import prepared as stored
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import PARTS, DataError
from serving.errors import ServingError
from serving.ondevice import bundle as ondevice
from serving.ondevice.bundle import OnDevice

# Nothing to look at.
_NOT_SHOWN = ("random",)


@dataclass(frozen=True)
class Tables:
    """What the steps of an evaluated run left.

    Attributes:
        vectors: Candidate embeddings, `[N, D]`.
    """

    prepared: Prepared
    measured: Evaluation
    vectors: np.ndarray

    @classmethod
    def read(cls, config: Config) -> Tables:
        """Reads a run's directory.

        Raises:
            DataError: If the run is not evaluated.
        """
        directory = config.run_directory
        if not (directory / EVALUATION).exists():
            raise DataError(
                "The explorer needs an evaluated run. Received: no "
                f"{EVALUATION} in {directory}. Run `make retrain` with the "
                "same config first."
            )
        embeddings = np.load(directory / "index" / EMBEDDINGS)
        return cls(
            stored.load(directory / "prepare"),
            Evaluation.read(directory / EVALUATION),
            # Behind the vectors may stand columns that are no part of them.
            embeddings[:, : config.retrieval.embedding_dim],
        )

    @property
    def catalogue(self) -> Catalogue:
        """The items and users."""
        return Catalogue(self.prepared, self.measured.part)


@dataclass(frozen=True)
class Offline:
    """A run, ready to be asked.

    Attributes:
        config: Of the run.
        part: That is evaluated: models may know what comes before it.
        bundle_id: That was evaluated.
        published: The bundle that is live, "" where none is.
        repeats: Whether items of a history may be recommended.
        values: What the items can be filtered by.
        vectors: Candidate embeddings, `[N, D]`.
        baselines: In the order of the evaluation.
        student: The published on-device model, None where there is none.
        left_out: Who cannot be asked, with the reason.
    """

    config: Config
    part: str
    bundle_id: str
    published: str
    repeats: bool
    catalogue: Catalogue
    values: ItemValues = field(repr=False)
    vectors: np.ndarray = field(repr=False)
    evidence: Evidence
    baselines: tuple[Baseline, ...]
    student: OnDevice | None
    left_out: Mapping[str, str]

    @classmethod
    def of(cls, config: Config, tables: Tables) -> Offline:
        """Fits the baselines of a run and loads what is published of it."""
        prepared, measured = tables.prepared, tables.measured
        sequences, part = prepared.sequences(), measured.part
        known = sequences.parts < PARTS.index(part)
        log = Log.of(sequences, known, len(prepared.items.ids))
        chosen = {
            name: settings
            for name, settings in measured.baselines.items()
            if name not in _NOT_SHOWN
        }
        left_out = dict(measured.left_out)
        student = None
        try:
            student = OnDevice(ondevice.live(config.serving_directory))
        except ServingError as error:
            left_out["student"] = str(error)
        return cls(
            config,
            part,
            measured.bundle_id,
            bundle.live_bundle(config.serving_directory) or "",
            prepared.repeat_consumption,
            tables.catalogue,
            ItemValues(prepared.item_values(), len(prepared.items.ids)),
            tables.vectors,
            Evidence(tables.vectors, log),
            tuple(baselines.refit(prepared, part, chosen)),
            student,
            left_out,
        )
