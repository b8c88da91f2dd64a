"""Training lists are honest, and training on them helps."""

from dataclasses import replace

import numpy as np
import pytest

from models.config import RankingConfig, RetrievalConfig
from models.signals import Signals
from pipeline.measure import requests
from pipeline.ranking import cooccurrence, item_tables, lists, rating
from pipeline.ranking import train as train_ranking
from pipeline.ranking.cooccurrence import Log
from pipeline.retrieval import train as train_retrieval
from pipeline.run.config import Config
from pipeline.run.release import IndexConfig
from pipeline.tables.ragged import Ragged
from tests.support.prepared_stub import make_prepared

NUM_ITEMS = 40


def compose(size, num_retrieved=20, seed=0, target=7):
    retrieved = np.arange(2, 2 + num_retrieved, dtype=np.int32)[None]
    return lists.compose(
        retrieved,
        np.array([target], np.int32),
        Ragged.of([[12]]),
        size,
        np.random.default_rng(seed),
    )


def test_target_stands_first_and_once():
    items, _ = compose(size=21)
    assert items[0, 0] == 7
    found = items[items > 0]
    # All that was retrieved, but for what was seen.
    assert len(found) == len(set(found.tolist())) == 19


def test_best_are_kept_and_the_rest_is_drawn():
    lists_ = [compose(11, seed=seed, target=15)[0][0] for seed in range(30)]
    for items in lists_:
        np.testing.assert_array_equal(items[1:6], [2, 3, 4, 5, 6])
    assert len({tuple(items[6:]) for items in lists_}) > 20


def test_seen_items_are_no_candidates():
    drawn = [compose(15, seed=seed)[0] for seed in range(50)]
    assert not any((items == 12).any() for items in drawn)


def test_drawn_candidates_stand_for_what_they_were_drawn_from():
    """The expected weighted count is that of all that was retrieved."""
    total = 0.0
    for seed in range(2_000):
        items, offsets = compose(15, seed=seed, target=3)
        total += np.exp(offsets[0])[items[0] > 0].sum()
    # But for the one that was seen.
    assert total / 2_000 == pytest.approx(19, rel=0.02)


def test_target_that_was_retrieved_is_weighed_by_its_place():
    _, best = compose(11, target=3)
    _, drawn = compose(11, target=15)
    assert best[0, 0] == 0.0
    assert drawn[0, 0] == pytest.approx(np.log(15 / 5))


@pytest.mark.parametrize("rows_at_once", [5, 100])
def test_joined_tables_keep_every_weight(rows_at_once, monkeypatch):
    monkeypatch.setattr(item_tables, "_ROWS_AT_ONCE", rows_at_once)
    random = np.random.default_rng(0)
    histories = Ragged.of(
        [(random.permutation(10)[:5] + 2).tolist() for _ in range(40)]
    )
    tables = [
        cooccurrence.window_markov(histories, 12, window=5, backward=0.0),
        cooccurrence.keep_largest(cooccurrence.item_knn(histories, 12), 3),
    ]
    offsets, neighbours, weights = item_tables.join(tables)
    rows = np.repeat(np.arange(12), np.diff(offsets))
    for number, table in enumerate(tables):
        dense = np.zeros((12, 12))
        dense[rows, neighbours] = weights[:, number]
        np.testing.assert_allclose(dense, table.toarray(), rtol=1e-6)


def test_popularity_columns_tell_rising_from_falling():
    histories = Ragged.of([[2] * 10 + [3] * 10, [3] * 10 + [2] * 10][:1])
    log = Log(histories, np.arange(20), 5, 4)
    columns = item_tables.popularity(log)
    assert columns[2, 0] == columns[3, 0]
    assert (columns[3, 1:4] > columns[2, 1:4]).all()
    assert columns[4, 0] < columns[2, 0]
    assert np.isfinite(columns).all()


@pytest.fixture(scope="module")
def run():
    """Users who walk a chain of items, after 60 % of the items went by."""
    random = np.random.default_rng(0)
    rows = []
    for _ in range(300):
        start = random.integers(0, NUM_ITEMS)
        steps = np.cumsum(random.integers(1, 3, 10))
        rows.append((2 + (start + steps) % NUM_ITEMS).tolist())
    ratings = np.array(
        [3.0 + (item % 2) - (item % 3 == 0) for row in rows for item in row]
    )
    prepared = make_prepared(rows, NUM_ITEMS, ratings=ratings)
    config = Config(
        name="small",
        seed=3,
        retrieval=RetrievalConfig(
            encoder="bow", embedding_dim=8, history_length=10, epochs=1
        ),
        index=IndexConfig(num_candidates=30),
        ranking=RankingConfig(epochs=12),
    )
    return config, prepared


@pytest.fixture(scope="module")
def base(run, tmp_path_factory):
    config, prepared = run
    directory = tmp_path_factory.mktemp("retrieval")
    train_retrieval.Training(config, prepared, directory).run()
    return directory


def test_lists_are_made_at_events_the_tables_did_not_count(run, base):
    config, prepared = run
    sequences = prepared.sequences()
    held = train_retrieval.holdout(config, prepared)
    assert held.any() and (sequences.parts[held] == 0).all()
    log = Log.of(sequences, (sequences.parts == 0) & ~held, NUM_ITEMS + 2)
    assert len(log.timestamps) == (sequences.parts == 0).sum() - held.sum()
    model = train_retrieval.load(config, prepared, base, "base")
    tables = item_tables.build(log)
    made = train_ranking.training_lists(
        config,
        prepared,
        model,
        Signals(config.ranking, model, tables),
        held,
    )
    asked = made.inputs
    users = asked.user_index - 2
    for row in range(len(made)):
        start, stop = sequences.offsets[users[row] : users[row] + 2]
        events = np.arange(start, stop)
        target = made.candidates[row, 0]
        place = events[sequences.item_indices[start:stop] == target]
        assert held[place].all()
        # The history ends in front of the target.
        history = asked.history[row][asked.history[row] > 0]
        np.testing.assert_array_equal(
            history, sequences.item_indices[start : place[0]][-len(history) :]
        )
        assert not np.isin(made.candidates[row, 1:], history).any()


def test_trained_ranking_beats_retrieval_and_reloads(run, base, tmp_path):
    config, prepared = run
    lines: list[str] = []
    report = train_ranking.run(config, prepared, base, tmp_path, lines.append)
    epochs = [line for line in lines if line.startswith("  epoch ")]
    assert len(epochs) == len(report["curve"]) - 1
    assert all("examples/s, at most" in line for line in epochs)
    curve = [figures["ndcg@10"] for figures in report["curve"]]
    assert curve[report["best_epoch"]] > curve[0] + 0.05
    assert report["rating"]["validation_rmse"][-1] < 0.7
    model = train_ranking.load(config, prepared, tmp_path)
    again = train_ranking.load(config, prepared, tmp_path)
    asked = requests.make(prepared, "test", num_users=20)
    inputs = asked.inputs(prepared, 10)
    candidates = np.tile(np.arange(2, NUM_ITEMS + 2, dtype=np.int32), (20, 1))
    outputs = model(inputs, candidates)
    assert set(outputs) == {"scores", "predicted_rating"}
    for name, values in again(inputs, candidates).items():
        np.testing.assert_array_equal(values, outputs[name])


def test_without_held_out_events_retrieval_order_is_kept(run, base, tmp_path):
    config, prepared = run
    made = replace(
        config,
        retrieval=replace(config.retrieval, ranking_holdout=0.0),
    )
    report = train_ranking.run(made, prepared, base, tmp_path)
    assert report["lists"] == 0 and report["best_epoch"] == 0
    train_ranking.load(made, prepared, tmp_path)


def test_log_without_ratings_has_no_rating_head(run, tmp_path):
    config, _ = run
    prepared = make_prepared([[2, 3, 4]] * 5, 8)
    assert rating.run(config, prepared, tmp_path) == {}
    assert rating.load(config, prepared, tmp_path) is None
