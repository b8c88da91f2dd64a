"""How long single requests take in each stage."""

from __future__ import annotations

import numpy as np

from pipeline.report.document import Figure, Section, Table
from pipeline.report.found import Run
from pipeline.report.plots import bars

_QUANTILES = (50, 90, 95, 99)


def latency(run: Run) -> Section:
    """The exported models, one request at a time."""
    if run.details is None or not run.details.latency_us:
        return Section("Latency")
    taken = {
        name: np.array(found) / 1e3
        for name, found in run.details.latency_us.items()
    }
    table = Table(
        "Milliseconds of single requests",
        ("model", "requests", *(f"p{q}" for q in _QUANTILES), "slowest"),
        [
            (
                name,
                f"{len(found):,}",
                *(f"{value:.2f}" for value in np.percentile(found, _QUANTILES)),
                f"{found.max():.2f}",
            )
            for name, found in taken.items()
        ],
    )
    middle = {name: float(np.median(found)) for name, found in taken.items()}
    words = ", ".join(f"{name} {value:.2f}" for name, value in middle.items())
    return Section(
        "Latency",
        "The exported models in one process, as the evaluation asked them: one "
        "query at a time, without network, batching or the decoding of "
        "requests. They ran in turn on the machine that evaluated, with "
        "whatever else it was doing; make bench-serving measures a server "
        "under load. recommender is both stages in one call.",
        [
            Figure(
                "Latency of a request",
                f"Half of the requests take less than, in ms: {words}.",
                bars.histogram(taken, "ms, logarithmic"),
            ),
            table,
        ],
    )
