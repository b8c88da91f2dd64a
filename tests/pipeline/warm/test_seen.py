"""Nothing is asked that the weights a training starts from have learned."""

import numpy as np
import pytest

from models.config import RetrievalConfig
from pipeline.retrieval import feed, targets
from pipeline.warm.seen import Seen
from tests.support.prepared_stub import make_prepared

ROWS = [[2, 3, 4, 5, 6, 7, 8], [9, 8, 7, 6, 5], [3, 9, 4]]


def temporal(num_events):
    """The first events of a log, split by time as shares of it."""
    rng = np.random.default_rng(0)
    items = rng.integers(2, 10, num_events)
    cuts = np.searchsorted(
        [0.8, 0.9], np.arange(num_events) / num_events, "right"
    )
    users = np.arange(num_events) % 3
    order = np.argsort(users, kind="stable")
    return make_prepared(
        [items[users == user].tolist() for user in range(3)],
        10,
        split="temporal",
        parts=cuts[order],
        timestamps=np.arange(num_events)[order],
    )


def blocks(prepared, which, refit=True):
    options = RetrievalConfig(refit=refit)
    source = feed.Memory(prepared.sequences())
    made = targets.rule(options, prepared.split, which, 0, source)
    return list(targets.blocks(source, made))


def known(then, now, was, is_, refits=(True, True)):
    seen = Seen.of(then, blocks(then, was, refits[0]))
    return seen.known(now, blocks(now, is_, refits[1]))


@pytest.mark.parametrize("which", ["base", "final"])
@pytest.mark.parametrize("refit", [True, False])
def test_a_log_that_grew_keeps_everything_unseen(which, refit, tmp_path):
    logs = (
        (temporal(100), temporal(110)),
        (
            make_prepared([row[:-1] for row in ROWS], 10),
            make_prepared([*ROWS, [2, 3, 4]], 10),
        ),
    )
    for then, now in logs:
        assert not known(then, now, which, which, (refit, refit))
        assert not known(then, then, which, which, (refit, refit))
        # What is written is what is read.
        seen = Seen.of(then, blocks(then, which))
        seen.write(tmp_path / "seen.parquet")
        again = Seen.read(tmp_path / "seen.parquet")
        for one, two in zip(
            vars(seen).values(), vars(again).values(), strict=True
        ):
            assert one.tolist() == two.tolist()


def test_what_ships_has_seen_what_validation_asks():
    """The negative control: `final` knows what is kept from `base`."""
    then, now = temporal(100), temporal(110)
    # Held out of 88 train events are the last nine, and 90 were learned.
    assert known(then, now, "final", "base") == 90 - 79
    then = make_prepared([row[:-1] for row in ROWS], 10)
    assert known(then, make_prepared(ROWS, 10), "final", "base")


def test_a_log_that_lost_its_end_is_told():
    assert known(temporal(110), temporal(100), "final", "final")
    whole = make_prepared(ROWS, 10)
    cut = make_prepared([ROWS[0][:-1], *ROWS[1:]], 10)
    # One user's last interaction went: the one before is asked for now.
    assert known(whole, cut, "final", "final") == 1


def test_an_option_that_asks_for_more_is_told():
    assert known(temporal(100), temporal(101), "final", "final", (True, False))
    assert not known(
        temporal(100), temporal(100), "final", "final", (False, True)
    )


@pytest.mark.parametrize("which", ["base", "final"])
def test_what_a_log_has_gained_is_told_from_what_was_learned(which):
    then, now = temporal(100), temporal(110)
    has = Seen.of(then, blocks(then, which)).among(now)
    [(_, _, was)], [(row, events, _)] = blocks(then, which), blocks(now, which)
    learned = then.sequences().timestamps[was]
    assert (has(row, events) == np.isin(events.timestamps, learned)).all()


def test_each_user_has_gained_their_own():
    then = make_prepared([[2, 3, 4, 5], [9, 8, 7, 6, 5]], 10)
    now = make_prepared([[2, 3, 4, 5, 6], [9, 8, 7, 6, 5, 4], [3, 9, 4]], 10)
    seen = Seen.of(then, blocks(then, "final"))
    [(row, events, _)] = blocks(now, "final")
    has = seen.among(now)(row, events)
    # All but the test part was learned.
    counts = [int(of.sum()) for of in np.split(has, events.offsets[1:-1])]
    assert counts == [3, 4, 0]
    assert has[:5].tolist() == [True, True, True, False, False]
