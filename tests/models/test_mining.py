import numpy as np
import tensorflow as tf

from models import mining, retrieval
from models.config import RetrievalConfig
from models.towers import CandidateInputs


def make(rows=40, seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, 6)).astype(np.float32)
    shares = rng.random(rows)
    shares[:2] = 0
    return mining.Mined(shares / shares.sum()), vectors, shares / shares.sum()


def test_neighbours_are_the_nearest_and_never_the_item_itself():
    mined, vectors, _ = make()
    mined.refresh(vectors, 0)
    near = mined.near.numpy()
    for item in range(2, 40):
        scores = vectors @ vectors[item]
        scores[[0, 1, item]] = -np.inf
        best = np.argsort(-scores)[: near.shape[1]]
        assert set(near[item]) == set(best)


def test_draws_come_as_often_as_their_chance_says():
    mined, vectors, shares = make()
    mined.refresh(vectors, 0)
    rng = np.random.default_rng(1)
    targets = rng.choice(40, 4000, p=shares).astype(np.int32)
    tf.keras.utils.set_random_seed(2)
    found = mined.draw(tf.constant(targets), 40_000).numpy()
    seen = np.bincount(found, minlength=40) / len(found)
    chance = mined.chance.numpy()
    np.testing.assert_allclose(chance.sum(), 1.0, rtol=1e-5)
    np.testing.assert_allclose(seen, chance, atol=0.01)


def test_neighbours_follow_the_vectors():
    mined, vectors, _ = make(rows=80)
    mined.refresh(vectors, 0)
    before = mined.near.numpy().copy()
    mined.refresh(-(vectors[:, ::-1].copy() ** 3), 0)
    assert (before != mined.near.numpy()).any()


def test_what_is_searched_comes_from_the_seed_and_the_epoch(monkeypatch):
    monkeypatch.setattr(mining, "_SEARCHED", 35)
    model = retrieval.build(
        RetrievalConfig(embedding_dim=4, loss="mined"),
        CandidateInputs({}, (), 60, np.arange(60.0)),
        (),
        (),
        2,
    )
    asked = {}
    monkeypatch.setattr(
        model, "_mined", mining.Mined(np.arange(60) / (59 * 30))
    )
    for seed in ((1, 0), (2, 0), (1, 1), (1, 0)):
        model.mine(seed)
        found = model._mined.near.numpy()
        assert np.array_equal(asked.setdefault(seed, found), found)
    assert not np.array_equal(asked[1, 0], asked[2, 0])
    assert not np.array_equal(asked[1, 0], asked[1, 1])


def test_a_large_catalogue_is_searched_in_part(monkeypatch):
    monkeypatch.setattr(mining, "_SEARCHED", 35)
    mined, vectors, _ = make(rows=60)
    mined.refresh(vectors, 0)
    first = set(mined.near.numpy()[2:].ravel())
    assert len(first) <= 35
    mined.refresh(vectors, 1)
    assert set(mined.near.numpy()[2:].ravel()) != first
