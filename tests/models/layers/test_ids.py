import numpy as np
import pytest
import tensorflow as tf

from models import retrieval
from models.config import ConfigError, RetrievalConfig
from models.layers import ids
from models.towers import CandidateInputs

COUNT, ROWS = 400, 64


def make(**options):
    tf.keras.utils.set_random_seed(0)
    config = RetrievalConfig(
        **{
            "encoder": "bow",
            "num_heads": 1,
            "embedding_dim": 8,
            "history_length": 4,
            "dropout": 0.0,
            "id_dropout": 0.0,
            "ids": ("item", "user", "history"),
            "max_id_rows": ROWS,
        }
        | options
    )
    counts = np.concatenate([[0, 0], np.ones(COUNT - 2)])
    inputs = CandidateInputs({}, (), COUNT, counts)
    return retrieval.build(config, inputs, (), (), COUNT)


@pytest.mark.parametrize("hashes", [1, 2])
def test_ids_share_rows_and_can_be_told_apart(hashes, monkeypatch):
    monkeypatch.setattr(ids, "_HASHES", ids._HASHES[:hashes])
    model = make()
    assert model.candidate_tower.ids.shape == [ROWS, 8]
    assert model.query_tower.ids.shape == [ROWS, 8]
    assert model.query_tower.past.shape == [ROWS, 8]
    vectors = model.candidate_embeddings()[:, :8]
    frequent = model.candidate_tower.ids.numpy()[2 : ROWS // 2]
    np.testing.assert_allclose(vectors[2 : ROWS // 2], frequent, rtol=1e-5)
    distinct = len(np.unique(vectors[ROWS // 2 :].round(5), axis=0))
    if hashes == 1:
        # All that one hash has room for; the control of the next line.
        assert distinct <= ROWS // 2
    else:
        assert distinct > 0.6 * (COUNT - ROWS // 2)
    lengths = np.linalg.norm(vectors, axis=1)
    assert lengths[ROWS // 2 :].mean() == pytest.approx(
        lengths[2 : ROWS // 2].mean(), rel=0.2
    )


def test_hashes_spread_evenly():
    table = tf.one_hot(tf.range(1024), 1024)
    config = RetrievalConfig(max_id_rows=1024)
    indices = tf.range(512, 50_000)
    used = np.zeros(1024)
    for start in range(0, len(indices), 4096):
        part = indices[start : start + 4096]
        used += ids.embed(table, part, 50_000, config).numpy().sum(axis=0)
    assert not used[:512].any()
    assert used[512:].min() > 0.6 * used[512:].mean()
    assert used[512:].max() < 1.5 * used[512:].mean()


def test_few_ids_keep_rows_of_their_own():
    model = make(max_id_rows=COUNT)
    plain = make(max_id_rows="all")
    for one, other in zip(model.weights, plain.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(
        model.candidate_embeddings(), plain.candidate_embeddings()
    )


@pytest.mark.slow
def test_hashed_ids_are_learned_saved_and_exported(tmp_path):
    """Pairs of hashed items: after one comes the other."""
    model = make(loss="full")
    model.compile(optimizer=tf.keras.optimizers.Adam(0.05))
    first = np.arange(200, 300, dtype=np.int32)
    batch = {
        "history": first[:, None],
        "user_index": np.full(100, 399, np.int32),
        "user_features": {},
        "row": np.arange(100, dtype=np.int32),
        "state": np.ones(100, np.int32),
        "target": first + 100,
        "weight": np.ones(100, np.float32),
        "context": {},
    }
    dataset = tf.data.Dataset.from_tensors(batch).repeat(60)
    losses = model.fit(dataset, epochs=2, verbose=0).history["loss"]
    assert losses[1] < 0.7 * losses[0]
    model.save_weights(str(tmp_path / "weights.h5"))
    other = make(loss="full")
    other.load_weights(str(tmp_path / "weights.h5"))
    ask = tf.function(
        lambda history: (
            other.query_tower(history)
            @ tf.transpose(other.candidate_tower(tf.range(COUNT)))
        ),
        input_signature=[tf.TensorSpec([None, None], tf.int32)],
    )
    module = tf.Module()
    module.towers, module.ask = [other.query_tower], ask
    tf.saved_model.save(module, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    history = first[:, None]
    scores = loaded.ask(history).numpy()
    np.testing.assert_allclose(
        scores,
        model.query_tower(history).numpy() @ model.candidate_embeddings().T,
        atol=1e-4,
    )
    assert (scores[:, 2:].argmax(axis=1) + 2 == first + 100).mean() > 0.5


def test_memory_is_told_before_training():
    config = RetrievalConfig(
        embedding_dim=50, max_id_rows=10_000, ids=("item", "user")
    )
    assert list(ids.describe(config, 1_000_000, 5_000)) == [
        "items: 1,000,000 ids, 995,000 of them hashed, in 10,000 rows of 50: "
        "2.0 MB, 10.0 MB in training",
        "users: 5,000 ids, 0 of them hashed, in 5,000 rows of 50: "
        "1.0 MB, 5.0 MB in training",
    ]


def test_tables_without_room_are_refused():
    with pytest.raises(ConfigError, match="`max_id_rows` must be at least 16"):
        RetrievalConfig(max_id_rows=8)
