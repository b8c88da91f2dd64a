import numpy as np
import pytest
import tensorflow as tf

from models import retrieval
from models.config import ConfigError, RetrievalConfig
from models.towers import CandidateInputs

COUNTS = np.array([0, 0, 8, 4, 2, 1, 1])
BATCH = {
    "history": tf.constant([[0, 2, 3], [4, 5, 2]]),
    "user_index": tf.constant([2, 3]),
    "user_features": {},
    "row": tf.constant([0, 0, 1, 1]),
    "state": tf.constant([0, 3, 1, 2]),
    "target": tf.constant([2, 4, 5, 6]),
    "weight": tf.constant([1.0, 2.0, 1.0, 0.0]),
    "context": {},
}


def make(trends=None, popularity=None, **options):
    tf.keras.utils.set_random_seed(0)
    defaults = {
        "embedding_dim": 4,
        "history_length": 5,
        "dropout": 0.0,
        "id_dropout": 0.0,
    }
    config = RetrievalConfig(**(defaults | options))
    inputs = CandidateInputs({}, (), 6, COUNTS, popularity)
    return retrieval.build(config, inputs, (), (), 4, trends)


def scores(model):
    """Each target's query against all items, from the towers themselves."""
    histories = [[0, 0, 0], [0, 2, 3], [0, 0, 4], [0, 4, 5]]
    queries = model.query_tower(tf.constant(histories)).numpy()
    return queries @ model.candidate_embeddings().T


def weighted_mean(losses):
    return (losses[0] + 2 * losses[1] + losses[2]) / 4


def test_full_loss_sets_each_target_against_the_catalogue():
    model = make(loss="full")
    logits = scores(model)[:, 2:].astype(np.float64)
    log_norm = np.log(np.exp(logits).sum(axis=1))
    expected = log_norm - logits[np.arange(4), [0, 2, 3, 4]]
    assert model.compute_loss(BATCH).numpy() == pytest.approx(
        weighted_mean(expected), rel=1e-4
    )


@pytest.fixture
def no_uniform(monkeypatch):
    monkeypatch.setattr(retrieval, "NUM_UNIFORM", 0)


@pytest.mark.usefixtures("no_uniform")
def test_in_batch_loss_sets_each_target_against_the_others():
    model = make(loss="in_batch")
    targets = [2, 4, 5, 6]
    logits = scores(model)[:, targets].astype(np.float64)
    logits -= np.log(COUNTS[targets] / 16)
    log_norm = np.log(np.exp(logits).sum(axis=1))
    expected = log_norm - np.diag(logits)
    assert model.compute_loss(BATCH).numpy() == pytest.approx(
        weighted_mean(expected), rel=1e-4
    )


@pytest.mark.usefixtures("no_uniform")
@pytest.mark.parametrize("loss", ["full", "in_batch"])
def test_targets_meet_the_popularity_of_their_moment(loss):
    rng = np.random.default_rng(0)
    tables = rng.normal(size=[3, 7, 2]).astype(np.float32)
    model = make(
        loss=loss,
        trends=tables,
        popularity=tables[2],
    )
    model.query_tower.trends.bias.assign([0.3, -0.8])
    assert model.candidate_embeddings().shape[1] == 7
    # The towers score with the popularity of now, moment 2.
    now = scores(model).astype(np.float64)
    trend = tables @ [0.3, -0.8]
    moments = [0, 2, 1, 1]
    then = now - trend[2] + trend[moments]
    targets = [2, 4, 5, 6]
    columns = slice(2, None) if loss == "full" else targets
    if loss == "in_batch":
        then[:, targets] -= np.log(COUNTS[targets] / 16)
    log_norm = np.log(np.exp(then[:, columns]).sum(axis=1))
    expected = log_norm - then[np.arange(4), targets]
    batch = BATCH | {"moment": tf.constant(moments)}
    assert model.compute_loss(batch).numpy() == pytest.approx(
        weighted_mean(expected), rel=1e-4
    )


def test_uniform_negatives_join_the_batch(monkeypatch):
    # Item 3 stands nowhere in the batch.
    batch = BATCH | {"history": tf.constant([[0, 2, 4], [4, 5, 2]])}
    moved = []
    for count in (0, 50):
        monkeypatch.setattr(retrieval, "NUM_UNIFORM", count)
        model = make(loss="in_batch")
        with tf.GradientTape() as tape:
            loss = model.compute_loss(batch)
        found = tape.gradient(loss, model.candidate_tower.ids)
        moved.append(np.abs(tf.convert_to_tensor(found)[3]).sum())
    assert moved[0] == 0 < moved[1]


@pytest.mark.parametrize("loss", ["full", "in_batch"])
def test_a_step_lowers_the_loss(loss):
    model = make(loss=loss)
    model.compile(optimizer=tf.keras.optimizers.Adam(0.05))
    dataset = tf.data.Dataset.from_tensors(BATCH).repeat(20)
    history = model.fit(dataset, epochs=2, verbose=0).history["loss"]
    assert history[1] < history[0]


def test_weights_survive_saving(tmp_path):
    model = make()
    model.save_weights(str(tmp_path / "weights.h5"))
    other = make()
    for weight in other.trainable_weights:
        weight.assign(tf.zeros_like(weight))
    other.load_weights(str(tmp_path / "weights.h5"))
    history = tf.constant([[2, 3, 4]])
    np.testing.assert_array_equal(
        other.query_tower(history), model.query_tower(history)
    )
    np.testing.assert_array_equal(
        other.candidate_embeddings(), model.candidate_embeddings()
    )


def test_every_broken_option_is_named():
    with pytest.raises(ConfigError) as caught:
        RetrievalConfig(
            history_length=0, dropout=1.0, learning_rate=0.0, embedding_dim=7
        )
    assert len(caught.value.problems) == 4
    assert "`history_length` must be at least 1. Received: 0." in str(
        caught.value
    )


def test_feature_based_items_need_features():
    with pytest.raises(ConfigError, match="`item_features` must name"):
        RetrievalConfig(ids=(), item_features=())
