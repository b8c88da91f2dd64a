import json
import shutil
from dataclasses import dataclass

import numpy as np
import pytest

from models.config import RetrievalConfig
from pipeline.measure import requests
from pipeline.retrieval import feed, targets, validation
from pipeline.retrieval import train as train_retrieval
from pipeline.run import auto
from pipeline.tables.schema import TEST, TRAIN, VALIDATION
from pipeline.warm.carried import Carried, Facts
from tests.support.prepared_stub import make_prepared

NUM_ITEMS = 40


@dataclass(frozen=True)
class Config:
    retrieval: RetrievalConfig
    seed: int = 7
    name: str = "walks"


def make_config(**options):
    defaults = {
        "encoder": "attention",
        "embedding_dim": 16,
        "history_length": 12,
        "dropout": 0.1,
        "batch_positions": 512,
        "learning_rate": 0.02,
        "epochs": 12,
    }
    return Config(RetrievalConfig(**(defaults | options)))


def make_walks(num_users=250, length=12, seed=0):
    """Users who walk around a ring of items, forwards or backwards.

    Which way shows only in the order of the history: as a set it is the same.
    """
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, NUM_ITEMS, num_users)
    ways = rng.choice([-1, 1], num_users)
    walks = starts[:, None] + ways[:, None] * np.arange(length)
    return (walks % NUM_ITEMS + 2).tolist()


def trained(prepared, directory, **options):
    config = make_config(**options)
    train_retrieval.Training(config, prepared, directory).run()
    return config, json.loads((directory / "metrics.json").read_text())


def figures(config, prepared, directory, part="test"):
    model = train_retrieval.load(config, prepared, directory)
    return measured_by(model, prepared, part, config.retrieval.history_length)


def measured_by(model, prepared, part="validation", length=12):
    asked = requests.make(prepared, part)
    return validation.measure(prepared, asked, length, model)


@pytest.fixture(scope="module")
def walks():
    return make_prepared(make_walks(), NUM_ITEMS)


@pytest.fixture(scope="module")
def learned(walks, tmp_path_factory):
    """What is trained where the encoder is left open.

    With two heads `bow` weighs the past in two ways, and sees an order.
    """
    directory = tmp_path_factory.mktemp("learned")
    return (*trained(walks, directory, encoder="auto", num_heads=1), directory)


def test_attention_finds_the_planted_order(walks, learned):
    config, metrics, directory = learned
    assert metrics["final"]["encoder"] == "attention"
    assert figures(config, walks, directory)["ndcg@10"] > 0.9


def test_bow_cannot_find_the_planted_order(learned):
    # Both ends of the walk look alike: a coin flip between two items.
    curve = learned[1]["base-bow"]["curve"]
    assert 0.5 < max(epoch["ndcg@10"] for epoch in curve) < 0.85


def make_clusters(num_users=250, length=8, seed=0):
    """Users who like one of four groups of items, in any order."""
    rng = np.random.default_rng(seed)
    size = NUM_ITEMS // 4
    return [
        (rng.permutation(size)[:length] + size * group + 2).tolist()
        for group in rng.integers(0, 4, num_users)
    ]


@pytest.mark.slow
def test_the_encoder_that_validates_better_is_kept(walks, learned, tmp_path):
    clusters = make_prepared(make_clusters(), NUM_ITEMS)
    unordered = make_config(encoder="auto", epochs=1, batch_positions=128)
    train_retrieval.Training(unordered, clusters, tmp_path).base()
    for best, prepared, config, directory, which in (
        ("attention", walks, learned[0], learned[2], ("base", "final")),
        ("bow", clusters, unordered, tmp_path, ("base",)),
    ):
        metrics = json.loads((directory / "metrics.json").read_text())
        reached = {
            name: max(epoch["ndcg@100"] for epoch in metrics[name]["curve"])
            for name in ("base-bow", "base-attention")
        }
        assert max(reached, key=reached.__getitem__) == f"base-{best}"
        assert metrics["base"] == metrics[f"base-{best}"]
        for name in which:
            assert metrics[name]["encoder"] == best
            model = train_retrieval.load(config, prepared, directory, name)
            assert model.config.encoder == best


def test_encoders_are_tried_on_small_logs_only():
    open_, chosen = RetrievalConfig(), RetrievalConfig(encoder="rnn")
    assert auto.encoders(open_, 1000) == ["bow", "attention"]
    assert auto.encoders(open_, 1_000_000) == ["attention"]
    assert auto.encoders(chosen, 1000) == ["rnn"]


def test_shuffled_targets_fall_to_chance(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        [*row[:-2], *rng.permutation(np.arange(2, NUM_ITEMS + 2))[:2].tolist()]
        for row in make_walks()
    ]
    prepared = make_prepared(rows, NUM_ITEMS)
    config = make_config(epochs=3)
    train_retrieval.Training(config, prepared, tmp_path).base()
    # Ten of the 28 to 30 items that are not hidden as seen, discounted.
    chance = (1 / np.log2(np.arange(2, 12))).sum() / 29
    model = train_retrieval.load(config, prepared, tmp_path, "base")
    found = measured_by(model, prepared, "test")["ndcg@10"]
    assert found < chance * 1.3


def test_metrics_tell_what_each_model_trained_on(walks, learned):
    config, metrics, _ = learned
    sequences = walks.sequences()
    held = train_retrieval.holdout(config, walks)
    train = sequences.parts == TRAIN
    assert held.sum() == 250
    assert metrics["base"]["targets"] == train.sum() - held.sum()
    assert metrics["final"]["targets"] == (sequences.parts != TEST).sum()
    assert len(metrics["final"]["curve"]) == metrics["base"]["best_epoch"]
    best = max(row["ndcg@10"] for row in metrics["base"]["curve"])
    index = metrics["base"]["best_epoch"] - 1
    assert metrics["base"]["curve"][index]["ndcg@10"] == best


def test_base_is_loaded_with_the_weights_that_were_validated(walks, learned):
    config, metrics, directory = learned
    model = train_retrieval.load(config, walks, directory, "base")
    found = measured_by(model, walks)["ndcg@10"]
    best = metrics["base"]["curve"][metrics["base"]["best_epoch"] - 1]
    assert found == pytest.approx(best["ndcg@10"], abs=1e-4)


def test_the_same_seed_gives_the_same_model(walks, learned, tmp_path):
    config, metrics, directory = learned
    # Also where no other encoder was tried before.
    again = make_config(num_heads=1)
    train_retrieval.Training(again, walks, tmp_path).base()
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["base"]["best_epoch"] == metrics["base"]["best_epoch"]
    first = train_retrieval.load(config, walks, directory, "base")
    second = train_retrieval.load(again, walks, tmp_path, "base")
    np.testing.assert_allclose(
        first.candidate_embeddings(), second.candidate_embeddings(), atol=1e-4
    )


def test_held_out_events_are_the_last_of_each_user():
    prepared = make_prepared([[2, 3, 4, 5, 6], [2, 3, 4], [5, 6, 7, 8]], 10)
    config = make_config(ranking_holdout=0.4)
    held = train_retrieval.holdout(config, prepared)
    # Train events: 3, 1 and 2; users with fewer than 3 keep all of them.
    assert np.flatnonzero(held).tolist() == [1, 2]


def test_held_out_events_are_the_latest_of_a_temporal_split():
    prepared = make_prepared(
        [[2, 3, 4, 5], [6, 7, 8, 9]],
        10,
        split="temporal",
        parts=np.array([0, 0, 0, 2, 0, 0, 1, 1]),
        timestamps=np.array([0, 10, 30, 99, 20, 30, 50, 60]),
    )
    config = make_config(ranking_holdout=0.3)
    held = train_retrieval.holdout(config, prepared)
    # Both events at 30, or one could be read to predict the other.
    assert np.flatnonzero(held).tolist() == [2, 5]


@pytest.mark.parametrize("which", ["base", "final"])
@pytest.mark.parametrize("split", ["temporal", "leave_last_out", "random"])
def test_test_part_and_unknown_items_are_never_targets(which, split):
    prepared = make_prepared(
        [[2, 3, 4, 5, 1], [6, 1, 8, 9]],
        10,
        split=split,
        parts=np.array([0, 0, 0, 1, 2, 0, 0, 1, 2]),
    )
    sequences = prepared.sequences()
    memory = feed.Memory(sequences)
    rule = targets.rule(make_config().retrieval, split, which, 0, memory)
    weights = rule.weights(feed.Chunk(sequences))
    assert not weights[sequences.parts == TEST].any()
    assert not weights[sequences.item_indices == 1].any()
    assert weights[sequences.parts == VALIDATION].any() == (which == "final")


@pytest.mark.parametrize(
    ("targets", "positions"),
    [(0, 128), (30_000, 128), (45_000, 256), (90_000, 512), (10**8, 4096)],
)
def test_steps_grow_with_the_data(targets, positions):
    config = RetrievalConfig()
    assert auto.batch_positions(config, targets).value == positions
    config = RetrievalConfig(batch_positions=99)
    assert auto.batch_positions(config, targets).value == 99


def test_temporal_states_learn_as_far_as_validation_asks():
    rows = [[2, 3, 4, 5, 6, 7], [2, 3, 4, 5], [8, 9]]
    parts = np.array([0, 1, 1, 1, 1, 2, 0, 0, 1, 1, 0, 1])
    times = [0, 10, 11, 12, 60, 90, 1, 2, 30, 31, 3, 50]
    for split, expected in (
        ("temporal", targets.Reach(2, 50)),
        ("leave_last_out", targets.Reach(1)),
    ):
        prepared = make_prepared(
            rows, 10, split=split, parts=parts, timestamps=times
        )
        source = feed.Memory(prepared.sequences())
        assert expected == targets.reach(split, source)


class Scores:
    """A model in which every query gives the same score to an item."""

    def __init__(self, values):
        self.values = np.array(values, np.float32)

    def candidate_embeddings(self):
        return self.values[:, None]

    def query_embeddings(self, query):
        return np.ones([len(query.history), 1], np.float32).view(Array)


class Array(np.ndarray):
    def numpy(self):
        return np.asarray(self)


def measured(rows, num_items, scores):
    prepared = make_prepared(rows, num_items)
    return measured_by(Scores(scores), prepared, length=4)


def test_hidden_items_never_fill_a_short_list():
    # Four items, all of them in the history: nothing is left to recommend.
    found = measured([[2, 3, 4, 5, 2, 3]] * 3, 4, np.arange(6))
    assert found["recall@100"] == found["ndcg@10"] == 0.0
    # One is left, and it is the target.
    found = measured([[2, 3, 4, 5, 3]] * 3, 4, np.arange(6))
    assert found["recall@100"] == 1.0


def test_a_model_that_scores_all_alike_finds_at_random():
    rows = [[2, 3, 4, 5 + place, 4] for place in range(200)]
    found = measured(rows, 203, np.zeros(205))
    assert found["recall@10"] < 0.2
    # Popular items stand first among the indices.
    popular = measured([[9, 10, 3, 4]] * 5, 203, np.zeros(205))
    assert popular["ndcg@10"] == 0.0


def test_validation_agrees_with_a_slow_reference(walks, learned):
    config, _, directory = learned
    model = train_retrieval.load(config, walks, directory)
    vectors = model.candidate_embeddings()
    total = 0.0
    rows = make_walks()[:20]
    for number, row in enumerate(rows):
        history = np.array([row[:-1]], np.int32)
        query = model.query_tower(history, np.array([number + 2])).numpy()[0]
        scores = vectors @ query
        scores[[0, 1, *row[:-1]]] = -np.inf
        rank = (scores > scores[row[-1]]).sum()
        total += 1 / np.log2(rank + 2) if rank < 10 else 0.0
    asked = requests.make(walks, "test").take(np.arange(20))
    found = validation.measure(walks, asked, 12, model)["ndcg@10"]
    assert found == pytest.approx(total / 20, abs=1e-4)


def test_what_ships_takes_all_epochs_of_a_start(walks, learned, tmp_path):
    """Though what is validated was best before: it has more to learn."""
    config, told, directory = learned
    then = tmp_path / "then"
    then.mkdir()
    for which in ("base", "final"):
        for name in ("weights.npz", "seen.parquet", "targets.npz"):
            to = name.replace("weights", which).replace("seen", which)
            to = to.replace("targets", f"{which}-targets")
            shutil.copy(directory / which / name, then / to)
    facts = Facts.of(config, walks, told["base"]["encoder"], 8, "b1")
    training = train_retrieval.Training(config, walks, tmp_path)
    training.run(Carried(1, then, facts))
    made = json.loads((tmp_path / "metrics.json").read_text())
    assert made["base"]["start"]["version"] == 1
    assert made["base"]["best_epoch"] < 4
    assert len(made["final"]["curve"]) == 4
