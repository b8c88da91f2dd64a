"""A log in a few counts."""

import numpy as np

from pipeline.tables import profile, sequences
from pipeline.tables.profile import Profile
from tests.support.prepared_stub import make_prepared

DAY = 86_400
START = 20_000 * DAY


def made(monkeypatch, timestamps):
    """Two users with three interactions each, item 2 taken twice."""
    prepared = make_prepared([[2, 3, 4], [2, 5, 1]], 4, timestamps=timestamps)
    monkeypatch.setattr(
        sequences, "iterate", lambda _: iter([prepared.sequences()])
    )
    return prepared


def test_items_days_and_hours_are_counted(monkeypatch, tmp_path):
    first = START + np.array([0, 3_600, DAY])
    prepared = made(monkeypatch, np.concatenate([first, first + 3_600]))
    found = profile.of(prepared)
    assert (found.first, found.last) == (START, START + DAY + 3_600)
    # The unknown item counts, but has no name.
    assert found.interactions == 6
    assert found.items == {"i0": 2, "i1": 1, "i2": 1, "i3": 1}
    # Each user has one day with two interactions and one with one.
    assert found.activity[:3] == (2, 2, 0)
    assert found.hours[:4] == (2, 3, 1, 0)
    found.write(tmp_path)
    assert Profile.read(tmp_path) == found
    assert Profile.read(tmp_path / "elsewhere") is None


def test_only_chosen_interactions_count(monkeypatch):
    prepared = made(monkeypatch, START + np.arange(6) * DAY)
    found = profile.of(prepared, lambda block: block.parts == 2)
    assert found.items == {"i2": 1} and found.interactions == 2


def test_positions_are_no_times(monkeypatch):
    found = profile.of(made(monkeypatch, np.arange(6)))
    assert (found.activity, found.hours) == ((), ())
