import numpy as np
import pytest

from models.config import FeatureSpec
from pipeline.retrieval import batches
from pipeline.retrieval.batches import Part
from pipeline.tables import past
from pipeline.tables import sequences as sequences_of
from pipeline.tables.ragged import Ragged
from pipeline.tables.schema import TEST, VALIDATION
from tests.support.prepared_stub import make_prepared

ROWS = [[2, 3, 4, 5, 6], [7], [3, 2, 8, 9]]


def make(rows=ROWS, **options):
    parts = options.pop("parts", [0] * sum(map(len, rows)))
    return make_prepared(rows, 10, parts=np.array(parts), **options)


def epoch(
    prepared,
    length=4,
    positions=16,
    seed=0,
    weights=None,
    split=None,
    horizon=1,
    lag=0,
    bounds=None,
    epochs=1,
):
    sequences = prepared.sequences()
    if weights is None:
        weights = np.ones(len(sequences.item_indices), np.float32)
    stops = past.stops(sequences, split or prepared.split)

    def read(rng):
        moments = np.arange(len(weights), dtype=np.int32)
        rows = np.arange(len(sequences.user_ids))
        part = Part(
            sequences, rows, stops, weights, moments, horizon, lag, bounds
        )
        yield batches.drawn(part, rng)

    cut = batches.Cut(length, positions, seed)
    dataset = cut.training(read, prepared)
    # The same draws as the epochs make, so their exact length.
    steps = 0
    for number in range(epochs):
        steps += cut.steps(read, number)
    return dataset.take(steps)


def examples(dataset):
    """Each target with the items its state has read, as plain lists."""
    found = []
    for batch in dataset.as_numpy_iterator():
        for row, state, target in zip(
            batch["row"], batch["state"], batch["target"], strict=True
        ):
            read = batch["history"][row][:state]
            user = int(batch["user_index"][row])
            found.append((user, [int(i) for i in read if i], int(target)))
    return sorted(found)


def test_every_event_is_a_target_that_read_what_came_before():
    assert examples(epoch(make(), length=8)) == [
        (2, [], 2),
        (2, [2], 3),
        (2, [2, 3], 4),
        (2, [2, 3, 4], 5),
        (2, [2, 3, 4, 5], 6),
        (3, [], 7),
        (4, [], 3),
        (4, [3], 2),
        (4, [3, 2], 8),
        (4, [3, 2, 8], 9),
    ]


def test_long_sequences_are_cut_with_overlap_and_each_target_counts_once():
    rows = [list(range(2, 102)), list(range(2, 60))]
    prepared = make_prepared(rows, 110, parts=np.zeros(158))
    for seed in range(5):
        found = examples(epoch(prepared, length=10, seed=seed))
        assert [target for user, _, target in found if user == 2] == rows[0]
        assert [target for user, _, target in found if user == 3] == rows[1]
        for _, read, target in found:
            # An unbroken run up to the item in front of the target.
            assert read == list(range(target - len(read), target))
            assert len(read) >= min(2, target - 2)
            assert len(read) <= 10


def test_cuts_and_order_change_with_the_epoch_and_come_back_with_the_seed():
    rows = [list(range(2, 102)) for _ in range(8)]
    prepared = make_prepared(rows, 110, parts=np.zeros(800))

    def batch_targets(seed, count):
        return [
            batch["target"].tolist()
            for batch in epoch(
                prepared, length=10, seed=seed, epochs=count
            ).as_numpy_iterator()
        ]

    first = batch_targets(3, 1)
    both = batch_targets(3, 2)
    assert both[: len(first)] == first
    second = both[len(first) :]
    assert second != first
    assert sorted(sum(second, []))[:16] == [2] * 8 + [3] * 8
    assert batch_targets(4, 1) != first


def test_events_of_weight_0_are_read_but_never_targets():
    weights = np.array([1, 0, 1, 1, 0, 0, 1, 1, 1, 0], np.float32)
    assert examples(epoch(make(), length=8, weights=weights)) == [
        (2, [], 2),
        (2, [2, 3], 4),
        (2, [2, 3, 4], 5),
        (4, [], 3),
        (4, [3], 2),
        (4, [3, 2], 8),
    ]


def test_events_of_one_timestamp_do_not_read_each_other():
    times = np.array([1, 2, 2, 2, 3, 1, 4, 4, 4, 5])
    prepared = make(timestamps=times)
    assert examples(epoch(prepared, length=8, split="temporal")) == [
        (2, [], 2),
        (2, [2], 3),
        (2, [2], 4),
        (2, [2], 5),
        (2, [2, 3, 4, 5], 6),
        (3, [], 7),
        (4, [], 2),
        (4, [], 3),
        (4, [], 8),
        (4, [3, 2, 8], 9),
    ]


def test_states_pushed_out_of_the_window_are_left_out():
    rows = [list(range(2, 32))]
    times = np.array([1] * 3 + [2] * 24 + [3] * 3)
    prepared = make_prepared(rows, 40, parts=np.zeros(30), timestamps=times)
    for _, read, target in examples(
        epoch(prepared, length=6, split="temporal")
    ):
        assert read == [] if target < 5 else read
        if read:
            assert times[read[-1] - 2] < times[target - 2]
            assert times[read[-1] - 1] == times[target - 2]


def test_a_horizon_draws_states_back():
    rows = [list(range(2, 62))]
    prepared = make_prepared(rows, 70, parts=np.zeros(60))
    gaps = []
    for _, read, target in examples(epoch(prepared, length=10, horizon=4)):
        gaps.append(target - (read[-1] if read else 1))
        assert read == list(
            range(target - gaps[-1] - len(read) + 1, target - gaps[-1] + 1)
        )
    assert len(gaps) == 60
    assert set(gaps) == {1, 2, 3, 4}


def test_a_lag_asks_before_the_target_for_the_next_few():
    # Two visits, of 6 and 20 items, an hour apart; items follow the clock.
    rows = [list(range(2, 28))]
    times = [*range(6), *range(3600, 3620)]
    prepared = make_prepared(
        rows, 30, parts=np.zeros(26), timestamps=times, split="temporal"
    )
    dataset = epoch(prepared, length=30, horizon=8, lag=300)
    found = examples(dataset)
    # Nearly all were asked for before their visit began.
    starts = {2: 0, 8: 6}
    for _, read, target in found:
        begin = 8 if target >= 8 else 2
        assert len(read) <= target - 2
        assert target - 2 - len(read) < 8
        assert len(read) >= starts[begin]
    fresh = [read for _, read, target in found if len(read) not in (0, 6)]
    assert len(fresh) <= 5
    assert {target for _, _, target in found} >= set(range(2, 14))
    assert len([target for _, _, target in found if target >= 16]) <= 5


@pytest.mark.slow
def test_a_lag_meets_the_popularity_of_the_request_not_of_the_target():
    rows = [[2, 3], [4, 5]]
    times = [0, 1000, 500, 2000]
    prepared = make_prepared(
        rows, 8, parts=np.zeros(4), timestamps=times, split="temporal"
    )
    bounds = np.arange(0, 2100, 100)
    moments = {item: set() for item in range(2, 6)}
    for seed in range(40):
        for batch in epoch(
            prepared, seed=seed, horizon=9, lag=400, bounds=bounds
        ).as_numpy_iterator():
            for target, moment in zip(
                batch["target"], batch["moment"], strict=True
            ):
                moments[target].add(int(moment))
    assert moments[5] <= {16, 17, 18, 19, 20} and len(moments[5]) >= 3
    assert moments[3] <= {6, 7, 8, 9, 10} and len(moments[3]) >= 3
    assert moments[2] == {0}


def test_an_order_that_is_drawn_takes_weights_along():
    sequences = make().sequences()
    count = len(sequences.item_indices)
    part = Part(
        sequences,
        np.arange(len(sequences.user_ids)),
        past.stops(sequences, "random"),
        np.arange(count, dtype=np.float32),
        np.arange(count, dtype=np.int32),
        is_unordered=True,
    )
    found = batches.drawn(part, np.random.default_rng(1))
    assert found.sequences.item_indices.tolist() != (
        sequences.item_indices.tolist()
    )
    for one in (found.weights.astype(int), found.moments):
        np.testing.assert_array_equal(
            sequences.item_indices[one], found.sequences.item_indices
        )


def test_a_batch_has_about_the_positions_asked_for():
    rows = [list(range(2, 10)) for _ in range(64)]
    prepared = make_prepared(rows, 12, parts=np.zeros(512))
    for batch in epoch(prepared, length=8, positions=64).as_numpy_iterator():
        assert batch["history"].size <= 64
        assert batch["history"].dtype == np.int32


def test_user_and_context_features_travel_with_their_events():
    prepared = make()
    sequences = prepared.sequences()
    sequences.context["device"] = sequences.item_indices + 100
    object.__setattr__(
        prepared, "context_specs", (FeatureSpec("device", "categorical", 9),)
    )
    prepared.users.features["age"] = np.arange(5, dtype=np.float32)
    for batch in epoch(prepared, length=8).as_numpy_iterator():
        np.testing.assert_array_equal(
            batch["context"]["device"], batch["target"] + 100
        )
        np.testing.assert_array_equal(
            batch["user_features"]["age"], batch["user_index"]
        )


def test_histories_keep_the_last_items_and_pad_on_the_left():
    sequences = make().sequences()
    starts = sequences.offsets[np.array([0, 1, 2, 2])]
    found = Ragged.between(
        sequences.item_indices, starts, np.array([4, 5, 10, 6])
    ).last(3)
    assert found.tolist() == [[3, 4, 5], [0, 0, 0], [2, 8, 9], [0, 0, 0]]
    assert found.dtype == np.int32


def test_part_stops_end_the_history_in_front_of_a_part():
    parts = [0, 0, 1, 2, 2, 2, 0, 0, 0, 1]
    sequences = make(parts=parts).sequences()
    assert past.part_stops(sequences, VALIDATION).tolist() == [2, 5, 9]
    assert past.part_stops(sequences, TEST).tolist() == [3, 5, 10]


def test_keep_and_reorder_move_all_columns_of_an_event():
    ratings = np.arange(10, dtype=np.float32)
    sequences = make(ratings=ratings).sequences()
    kept = sequences_of.keep(sequences, sequences.item_indices % 2 == 0)
    assert kept.offsets.tolist() == [0, 3, 3, 5]
    assert kept.item_indices.tolist() == [2, 4, 6, 2, 8]
    assert kept.ratings.tolist() == [0, 2, 4, 7, 8]
    assert past.users_of(kept).tolist() == [0, 0, 0, 2, 2]
    turned = sequences_of.reorder(kept, np.array([2, 1, 0, 4, 3]))
    assert turned.item_indices.tolist() == [6, 4, 2, 8, 2]
    assert turned.ratings.tolist() == [4, 2, 0, 8, 7]


@pytest.mark.parametrize("split", ["leave_last_out", "temporal", "random"])
def test_nothing_to_train_on_is_an_empty_epoch(split):
    prepared = make()
    weights = np.zeros(10, np.float32)
    assert not examples(epoch(prepared, weights=weights, split=split))
