"""The ranking model: signals against slow counts, and its contracts."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from models import ranking, retrieval, signals
from models.config import (
    ConfigError,
    FeatureSpec,
    RankingConfig,
    RetrievalConfig,
)
from models.query import Query
from models.ranking import RankingModel, Scorer, Specs
from models.rating import RatingHead
from models.signals import ItemTables, Signals
from models.towers import CandidateInputs

NUM_ROWS = 14
GENRES = FeatureSpec("genres", "multi_categorical", size=5, width=2)
YEAR = FeatureSpec("year", "numeric")


@pytest.fixture(scope="module")
def features():
    random = np.random.default_rng(0)
    return {
        "genres": random.integers(0, 5, (NUM_ROWS, 2)).astype(np.int32),
        "year": random.normal(size=NUM_ROWS).astype(np.float32),
    }


@pytest.fixture(scope="module")
def towers(features):
    tf.keras.utils.set_random_seed(0)
    return retrieval.build(
        RetrievalConfig(embedding_dim=8, history_length=6),
        CandidateInputs(
            features,
            (GENRES, YEAR),
            NUM_ROWS - 2,
            np.ones(NUM_ROWS, np.float32),
        ),
        (),
        (),
        4,
    )


@pytest.fixture(scope="module")
def tables():
    random = np.random.default_rng(1)
    counts = np.r_[0, 0, random.integers(1, 5, NUM_ROWS - 2)]
    neighbours = [2 + random.permutation(12)[:count] for count in counts]
    weights = random.random((counts.sum(), 2)).astype(np.float32)
    popularity = random.normal(size=(NUM_ROWS, 3)).astype(np.float32)
    return ItemTables(
        np.r_[0, counts.cumsum()].astype(np.int32),
        np.concatenate(neighbours).astype(np.int32),
        weights,
        popularity,
        3,
    )


def request(history, candidates):
    history = np.array(history, np.int32)
    return (
        Query(tf.constant(history), tf.ones([len(history)], tf.int32), {}, {}),
        tf.constant(np.array(candidates, np.int32)),
    )


HISTORIES = [[0, 0, 4, 9, 5], [0, 0, 0, 0, 0], [2, 3, 1, 13, 7]]
CANDIDATES = [[6, 2, 6, 0], [3, 12, 1, 13], [5, 8, 9, 10]]


def slow_cooccurrence(tables, history, candidate):
    """Sum over the history, by table and decay; the last table is empty."""
    sums = np.zeros((tables.num_tables, len(signals.DECAYS)))
    if candidate < 2:
        return sums.ravel()
    for age, item in enumerate(reversed(history)):
        for place in range(*tables.offsets[item : item + 2]):
            if tables.neighbours[place] == candidate:
                for number, decay in enumerate(signals.DECAYS):
                    weight = tables.weights[place]
                    sums[:2, number] += weight * decay**age
    return sums.ravel()


def test_cooccurrence_equals_slow_sums(towers, tables):
    config = RankingConfig(features=("cooccurrence",))
    _, found = Signals(config, towers, tables)(*request(HISTORIES, CANDIDATES))
    for row, history in enumerate(HISTORIES):
        for column, candidate in enumerate(CANDIDATES[row]):
            np.testing.assert_allclose(
                found[row, column],
                slow_cooccurrence(tables, history, candidate),
                rtol=1e-5,
                atol=1e-6,
            )


def test_cooccurrence_reads_only_the_recent_history(
    towers, tables, monkeypatch
):
    monkeypatch.setattr(signals, "_LENGTH", 1)
    config = RankingConfig(features=("cooccurrence",))
    _, found = Signals(config, towers, tables)(*request(HISTORIES, CANDIDATES))
    expected = slow_cooccurrence(tables, HISTORIES[0][-1:], 2)
    np.testing.assert_allclose(found[0, 1], expected, rtol=1e-5, atol=1e-6)


def test_items_beyond_the_tables_have_no_neighbours(towers, tables):
    config = RankingConfig(features=("cooccurrence",))
    short = replace(tables, offsets=tables.offsets[:9])
    blank = replace(
        tables, offsets=np.minimum(tables.offsets, tables.offsets[8])
    )
    asked = request(HISTORIES, CANDIDATES)
    _, found = Signals(config, towers, short)(*asked)
    _, expected = Signals(config, towers, blank)(*asked)
    np.testing.assert_array_equal(found, expected)
    assert found.numpy().any()


def test_attention_compares_what_items_are_and_not_how_popular(
    features, tables
):
    found = []
    for seed in (0, 1):
        tf.keras.utils.set_random_seed(0)
        popularity = np.random.default_rng(seed).normal(size=(NUM_ROWS, 3))
        towers = retrieval.build(
            RetrievalConfig(embedding_dim=8, history_length=6),
            CandidateInputs(
                features,
                (GENRES, YEAR),
                NUM_ROWS - 2,
                np.ones(NUM_ROWS),
                5 * popularity.astype(np.float32),
            ),
            (),
            (),
            4,
        )
        made = Signals(RankingConfig(features=("attention",)), towers, tables)
        found.append(made(*request(HISTORIES, CANDIDATES))[1].numpy())
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    assert found[0][0].any()


def test_score_signal_is_the_dot_product_of_the_towers(towers, tables):
    made = Signals(RankingConfig(), towers, tables)
    scores, _ = made(*request(HISTORIES, CANDIDATES))
    queries = towers.query_tower(
        tf.constant(HISTORIES), tf.ones([3], tf.int32), {}, {}
    ).numpy()
    vectors = towers.candidate_embeddings()
    expected = np.einsum("bd,bcd->bc", queries, vectors[np.array(CANDIDATES)])
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


def make_scorer(config, features, num_signals):
    scorer = Scorer(config, num_signals, features, Specs((GENRES, YEAR)))
    return scorer


@pytest.fixture(scope="module")
def model(towers, tables, features):
    """A ranking model whose corrections are not zero."""
    made = Signals(RankingConfig(), towers, tables)
    _, values = made(*request(HISTORIES, CANDIDATES))
    scorer = make_scorer(RankingConfig(), features, values.shape[-1])
    whole = RankingModel(made, scorer, RatingHead(4, 10, 3.0, 1.0, 5.0, 4))
    whole(*request(HISTORIES, CANDIDATES))
    random = np.random.default_rng(2)
    last = scorer.last.kernel
    last.assign(random.normal(size=last.shape))
    return whole


@pytest.mark.parametrize(
    "groups",
    [
        ("retrieval",),
        ("cooccurrence", "popularity"),
        ("attention", "items", "query"),
        (),
    ],
)
def test_untrained_scorer_keeps_the_retrieval_scores(
    towers, tables, features, groups
):
    config = RankingConfig(features=groups)
    made = Signals(config, towers, tables)
    inputs = request(HISTORIES, CANDIDATES)
    scores, values = made(*inputs)
    scorer = make_scorer(config, features, values.shape[-1])
    outputs = RankingModel(made, scorer)(*inputs)
    np.testing.assert_allclose(outputs["scores"], scores, rtol=1e-6)


def test_batch_of_one_equals_batch_of_many(model):
    together = model(*request(HISTORIES, CANDIDATES))
    for row in range(3):
        alone = model(*request([HISTORIES[row]], [CANDIDATES[row]]))
        for name, values in alone.items():
            np.testing.assert_allclose(
                values[0], together[name][row], rtol=1e-4, atol=1e-5
            )


def test_padding_of_the_history_changes_nothing(model):
    short = model(*request([[4, 9, 5]], [[6, 2, 7, 3]]))
    long = model(*request([[0, 0, 0, 4, 9, 5]], [[6, 2, 7, 3]]))
    for name, values in short.items():
        np.testing.assert_allclose(values, long[name], rtol=1e-4, atol=1e-5)


def test_order_of_the_candidates_changes_nothing(model):
    given = model(*request([[4, 9, 5]], [[6, 2, 7, 3]]))
    turned = model(*request([[4, 9, 5]], [[3, 7, 2, 6]]))
    np.testing.assert_allclose(
        given["scores"], turned["scores"][:, ::-1], rtol=1e-4, atol=1e-5
    )


def test_padded_candidates_do_not_change_the_others(model):
    given = model(*request([[4, 9, 5]], [[6, 2, 7]]))
    padded = model(*request([[4, 9, 5]], [[6, 2, 7, 0, 0]]))
    np.testing.assert_allclose(
        given["scores"], padded["scores"][:, :3], rtol=1e-4, atol=1e-5
    )


def test_empty_history_and_unknown_ids_are_answered(model):
    outputs = model(
        Query(tf.zeros([1, 1], tf.int32), tf.constant([99]), {}, {}),
        tf.constant([[1, 13, 2]]),
    )
    assert np.isfinite(outputs["scores"]).all()
    rated = outputs["predicted_rating"].numpy()
    assert ((rated >= 1) & (rated <= 5)).all()


def test_every_variable_is_found_for_the_export(model):
    names = {variable.ref() for variable in model.variables}
    needed = [
        model.signals.offsets,
        model.signals.neighbours,
        model.signals.neighbour_weights,
        model.signals.popularity,
        model.scorer.mean,
        *model.scorer.table.values(),
        *model.signals.query_tower.variables,
        *model.rating.variables,
    ]
    assert all(variable.ref() in names for variable in needed)


def test_saved_weights_give_the_same_scores(model, towers, features, tmp_path):
    inputs = request(HISTORIES, CANDIDATES)
    path = str(tmp_path / "scorer.h5")
    model.scorer.save_weights(path)
    fresh = make_scorer(RankingConfig(), features, model.scorer.mean.shape[0])
    whole = RankingModel(model.signals, fresh, model.rating)
    before = whole(*inputs)["scores"].numpy()
    fresh.load_weights(path)
    after = whole(*inputs)["scores"].numpy()
    np.testing.assert_array_equal(after, model(*inputs)["scores"])
    assert np.abs(before - after).max() > 1e-3


def test_listwise_loss_is_the_cross_entropy_of_the_first():
    # exp: 2, 1, 4 of which the third is padding: -log(2 / 3).
    scores = tf.math.log(tf.constant([[2.0, 1.0, 4.0]]))
    loss = ranking.listwise_loss(scores, tf.constant([[5, 6, 0]]))
    np.testing.assert_allclose(loss, [np.log(3 / 2)], rtol=1e-6)


def test_rating_is_the_sum_of_its_parts():
    head = RatingHead(4, 6, 3.0, 1.0, 5.0, 2)
    history, user, items = [[2, 3]], [2], [[4]]
    head(*map(tf.constant, (history, user, items)))
    head.user_bias.assign([0, 0, 0.5, 0])
    head.item_bias.assign([0, 0, 0, 0, -0.25, 0])
    head.users.assign(np.full((4, 2), 0.5))
    head.items.assign(np.full((6, 2), 0.2))
    head.implicit.assign(np.full((6, 2), 0.1))
    # Past: (0.1 + 0.1) / sqrt(2) in both factors.
    factors = 2 * 0.2 * (0.5 + 0.2 / np.sqrt(2))
    found = head(*map(tf.constant, (history, user, items)))
    np.testing.assert_allclose(found, [[3.25 + factors]], rtol=1e-5)


def test_config_lists_every_mistake():
    with pytest.raises(ConfigError) as error:
        RankingConfig(features=("retrieval", "magic"), epochs=0)
    message = str(error.value)
    for name in ("`features`", "magic", "`epochs`"):
        assert name in message
