"""What has changed: since the train part, and since the live version."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from pipeline.report.document import Block, Figure, Notes, Section, Table
from pipeline.report.found import Run
from pipeline.report.plots import bars
from pipeline.tables import profile, sequences
from pipeline.tables.prepared import Prepared
from pipeline.tables.profile import Profile
from pipeline.tables.schema import FIRST_MOMENT, TEST, TRAIN, iso
from pipeline.tables.sequences import Sequences
from pipeline.tables.stability import LITTLE, MUCH, compare

_LATEST_SHARE = 0.1
_NUM_BINS = 10_000


def drift(run: Run) -> Section:
    """The newest interactions against those before, new data against live."""
    if run.prepared is None:
        return Section("Drift")
    blocks = [*_within(run.prepared), *_since_live(run)]
    return Section(
        "Drift",
        "The population stability index (PSI) compares two "
        f"distributions: below {LITTLE} little has changed, above {MUCH} much "
        "(a rule of thumb: Lewis 1994, Siddiqi 2006). Items stand in groups "
        "that held a tenth of the earlier interactions each, the most popular "
        "first. Much change means that "
        "figures of this test part may not hold next month, and that it is "
        "time to retrain more often.",
        blocks,
    )


def _within(prepared: Prepared) -> Iterator[Block]:
    """The newest interactions against those before them."""
    if prepared.split == "temporal":
        words = "the test part against the train part"
        before, after = (
            profile.of(prepared, functools.partial(_in_part, code))
            for code in (TRAIN, TEST)
        )
    elif prepared.summary["first"] >= FIRST_MOMENT:
        # Other splits have parts that lie at the same time.
        moment = _late_moment(prepared)
        words = f"interactions from {iso(moment)} on against those before"
        before, after = (
            profile.of(prepared, functools.partial(_by_time, moment, is_late))
            for is_late in (False, True)
        )
    else:
        return
    if before.interactions and after.interactions:
        yield from _shown(words, before, after, ("before", "latest"))


def _in_part(code: int, block: Sequences) -> np.ndarray:
    return block.parts == code


def _by_time(moment: int, is_late: bool, block: Sequences) -> np.ndarray:
    return (block.timestamps >= moment) == is_late


def _late_moment(prepared: Prepared) -> int:
    """When the latest tenth of the interactions begins, about."""
    ends = prepared.summary["first"], prepared.summary["last"] + 1
    counts = np.zeros(_NUM_BINS, np.int64)
    for block in sequences.iterate(prepared.directory):
        counts += np.histogram(block.timestamps, _NUM_BINS, ends)[0]
    shares = counts.cumsum() / max(int(counts.sum()), 1)
    place = int(np.searchsorted(shares, 1 - _LATEST_SHARE))
    return int(np.linspace(*ends, _NUM_BINS + 1)[place])


def _since_live(run: Run) -> Iterator[Block]:
    """The data of this run against those of the live version."""
    before = run.live_profile
    if run.prepared is None or run.evaluation is None or before is None:
        return
    after = profile.of(run.prepared)
    version = run.evaluation.live.version
    yield Notes(
        [
            f"Version {version} was made from {before.interactions:,} "
            f"interactions up to {iso(before.last)}, this run from "
            f"{after.interactions:,} up to {iso(after.last)}."
        ]
    )
    words = f"the data of this run against those of version {version}"
    yield from _shown(words, before, after, ("live version", "this run"))


def _shown(
    words: str, before: Profile, after: Profile, names: tuple[str, str]
) -> Iterator[Block]:
    """A table of the indices and a picture of each distribution."""
    found = list(compare(before, after))
    yield Table(
        f"{words[0].upper()}{words[1:]}",
        ("distribution", "which says", "PSI"),
        [(item.name, item.says, f"{item.psi:.3f}") for item in found],
        num_texts=2,
    )
    for item in found:
        yield Figure(
            f"{item.name[0].upper()}{item.name[1:]}",
            f"PSI {item.psi:.3f}, {item.says}: {words}.",
            bars.paired(
                item.bins,
                {
                    names[0]: item.before.tolist(),
                    names[1]: item.after.tolist(),
                },
                (item.name, "share"),
            ),
        )
