import numpy as np

from pipeline.retrieval import popularity

NUM_ROWS = 7


def make(weights=None, timestamps=None, items=None, blocks=1):
    items = np.array([2, 3, 2, 4, 3, 5] if items is None else items, np.int32)
    if timestamps is None:
        timestamps = np.arange(len(items)) * 10
    if weights is None:
        weights = np.ones(len(items), np.float32)
    timestamps = np.asarray(timestamps)

    def read():
        # In blocks, as a file gives them.
        for rows in np.array_split(np.arange(len(items)), blocks):
            yield items[rows], timestamps[rows], weights[rows]

    return popularity.make(read, NUM_ROWS)


def slow(items, timestamps, moment, duration):
    """Counts of what came before `moment`, one event after the other."""
    columns = []
    for half_life in popularity.HALF_LIVES:
        counts = np.zeros(NUM_ROWS)
        for item, time in zip(items, timestamps, strict=True):
            if time < moment:
                age = (moment - time) / (half_life * duration)
                counts[item] += 0.5**age
        mean = counts.sum() / (NUM_ROWS - 2)
        share = counts / mean if mean else np.ones(NUM_ROWS)
        columns.append(np.log(share + 0.05))
    return np.stack(columns, axis=1)


def test_tables_count_what_came_before_their_moment():
    items, times = [2, 3, 2, 4, 3, 5], [0, 10, 20, 30, 40, 50]
    found = make()
    for time in times:
        np.testing.assert_allclose(
            found.tables[popularity.moments(found.bounds, time)],
            slow(items, times, time, 50),
            atol=1e-4,
        )
    np.testing.assert_allclose(found.now, slow(items, times, 51, 50), atol=1e-4)


def test_later_events_never_change_an_earlier_table():
    before = make(items=[2, 3, 2, 4, 3, 5])
    after = make(items=[2, 3, 2, 4, 5, 5])
    moment = popularity.moments(before.bounds, 40)
    np.testing.assert_array_equal(
        before.tables[: moment + 1], after.tables[: moment + 1]
    )
    assert np.abs(before.now - after.now).max() > 0.1


def test_events_without_weight_are_not_counted_but_may_ask():
    weights = np.array([1, 1, 1, 1, 0, 0], np.float32)
    found = make(weights)
    assert found.now[5].tolist() == found.now[6].tolist()
    # Asked after the end, they read the last table there is.
    assert popularity.moments(found.bounds, 50) == len(found.tables) - 1


def test_many_events_share_a_bounded_number_of_moments():
    rng = np.random.default_rng(0)
    items, times = (
        rng.integers(2, NUM_ROWS, 1000),
        rng.integers(0, 10_000, 1000),
    )
    found = make(items=items, timestamps=times)
    assert len(found.tables) == 64
    assert np.bincount(popularity.moments(found.bounds, times)).min() >= 10
    # The same whether the events come at once or in blocks.
    blocks = make(items=items, timestamps=times, blocks=7)
    np.testing.assert_array_equal(blocks.bounds, found.bounds)
    np.testing.assert_allclose(blocks.tables, found.tables, atol=1e-6)
    np.testing.assert_allclose(blocks.now, found.now, atol=1e-6)


def test_nothing_to_count_is_no_popularity():
    found = make(np.zeros(6, np.float32))
    assert not found.now.any()
    assert not popularity.moments(found.bounds, np.arange(6)).any()
