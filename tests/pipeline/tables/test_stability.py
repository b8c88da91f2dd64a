"""The population stability index of planted changes."""

from dataclasses import replace

import pytest

from pipeline.tables import stability
from pipeline.tables.profile import Profile

ITEMS = "items by popularity"
LOG = Profile(
    0,
    9,
    100,
    {f"i{place}": 10 for place in range(10)},
    (50, 25, 10, 0, 0, 0, 0, 0),
    (10,) * 10 + (0,) * 14,
)


def indices(before: Profile, after: Profile) -> dict[str, float]:
    return {item.name: item.psi for item in stability.compare(before, after)}


def test_what_is_the_same_has_not_drifted() -> None:
    assert set(indices(LOG, LOG).values()) == {0.0}
    # Twice as much of the same is no change.
    twice = replace(
        LOG, interactions=200, items={name: 20 for name in LOG.items}
    )
    assert max(indices(LOG, twice).values()) == pytest.approx(0)


def test_the_index_against_arithmetic() -> None:
    # Half of the first item's share goes to the second.
    items = LOG.items | {"i0": 5, "i1": 15}
    found = indices(LOG, replace(LOG, items=items))
    # -0.05 ln(0.5) + 0.05 ln(1.5)
    expected = 0.05 * 0.6931472 + 0.05 * 0.4054651
    assert found[ITEMS] == pytest.approx(expected)


def test_new_items_and_other_hours_are_much_change() -> None:
    new = replace(
        LOG,
        items={f"n{place}": 10 for place in range(10)},
        hours=LOG.hours[::-1],
    )
    found = {item.name: item.says for item in stability.compare(LOG, new)}
    assert found == {
        ITEMS: "much change",
        "interactions of a user on a day": "little change",
        "hour of the day (UTC)": "much change",
    }


def test_days_without_hours_and_positions_are_not_compared() -> None:
    days = replace(LOG, hours=(100,) + (0,) * 23, activity=())
    assert list(indices(days, days)) == [ITEMS]
