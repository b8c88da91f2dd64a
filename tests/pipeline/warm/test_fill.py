"""Weights follow the ids that they stand for, wherever those stand now."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from models.config import FIRST_ITEM, UNKNOWN, FeatureSpec, RetrievalConfig
from models.student_config import StudentConfig
from pipeline.ondevice import distill
from pipeline.retrieval import task
from pipeline.run import weights
from pipeline.tables import columns
from pipeline.warm import fill
from pipeline.warm.carried import Carried, Facts
from tests.support.prepared_stub import make_prepared, make_table

GENRES = {"i0": "a", "i1": "b", "i2": "c", "i3": "a", "i4": "c", "i9": "b"}
YEARS = {"i0": 1.0, "i1": 5.0, "i2": 9.0, "i3": 2.0, "i4": 4.0, "i9": 7.0}


@dataclass(frozen=True)
class Config:
    retrieval: RetrievalConfig
    name: str = "test"
    seed: int = 1


def config_of(**options):
    defaults = {
        "encoder": "attention",
        "embedding_dim": 8,
        "history_length": 4,
        "ids": ("item", "user", "history"),
    }
    return Config(RetrievalConfig(**(defaults | options)))


def catalogue(ids, genres, mean, std):
    """Prepared tables of items in an order, encoded as `prepare` would."""
    specs = (
        FeatureSpec("genre", "categorical", FIRST_ITEM + len(genres)),
        FeatureSpec("year", "numeric", mean=mean, std=std),
    )
    encoded = {
        "genre": columns.make(specs[0], genres).encode(
            pa.array([GENRES[item] for item in ids])
        ),
        "year": columns.make(specs[1], ()).encode(
            pa.array([YEARS[item] for item in ids])
        ),
    }
    features = {
        name: np.concatenate([np.zeros(2, values.dtype), values])
        for name, values in encoded.items()
    }
    table = make_table("i", len(ids), len(ids) + 2, None, specs, features)
    table = replace(table, ids=np.array(["", "", *ids], object))
    rows = [[2, 3, 4, 5, 6], [3, 4, 5, 6, 2]]
    made = make_prepared(rows, len(ids), items=table)
    return replace(made, vocabularies={"items.genre": genres})


def built(config, prepared, seed):
    """A model whose weights are all drawn, biases too."""
    count = len(prepared.items.ids)
    counts = np.r_[0.0, 0.0, np.arange(1.0, count - 1)]
    model = task.build(config, prepared, counts, np.zeros([count, 0]))
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    return model


THEN = catalogue(["i0", "i1", "i2", "i3", "i4"], ["a", "b", "c"], 4.0, 2.0)
# One is gone, one is new, all others stand elsewhere.
NOW = catalogue(["i3", "i9", "i0", "i4", "i2"], ["c", "a", "b"], 5.0, 3.0)


def carried(config, model, directory, facts=None, untrained=""):
    weights.save(model, directory / "base.npz")
    facts = facts or Facts.of(config, THEN, "attention", 3, "b1")
    counts = [float(item != untrained) for item in facts.vocabularies["items"]]
    np.savez(directory / "base-targets.npz", counts=[0.0, 0.0, *counts])
    return Carried(4, Path(directory), facts)


def vectors(model, prepared):
    found = model.candidate_embeddings()
    return dict(zip(prepared.items.ids, found, strict=True))


def query(model, prepared, history):
    index = {item: row for row, item in enumerate(prepared.items.ids)}
    rows = np.array([[index[item] for item in history]], np.int32)
    # The second of the users, who are the same in both.
    return model.query_tower(rows, np.array([FIRST_ITEM + 1])).numpy()[0]


def test_known_items_score_as_before_wherever_they_stand(tmp_path):
    config = config_of()
    old, new = built(config, THEN, 0), built(config, NOW, 1)
    found = fill.fill(new, carried(config, old, tmp_path), "base", NOW)
    assert (found.mapped, found.new, found.gone) == (4, 1, 1)
    assert not found.cold and found.fits
    before, after = vectors(old, THEN), vectors(new, NOW)
    for history in (["i0", "i2"], ["i4", "i3", "i0"]):
        then, now = query(old, THEN, history), query(new, NOW, history)
        np.testing.assert_allclose(now, then, atol=1e-4)
        for item in ("i0", "i2", "i3", "i4"):
            assert after[item] @ now == pytest.approx(
                before[item] @ then, abs=1e-3
            )


def test_the_wrong_order_of_items_is_seen(tmp_path):
    """The negative control: the same weights, rows taken as they stand."""
    config = config_of()
    old, new = built(config, THEN, 0), built(config, NOW, 1)
    wrong = Facts.of(config, THEN, "attention", 3, "b1")
    ids = {"items": NOW.items.ids[FIRST_ITEM:].tolist()}
    wrong = replace(wrong, vocabularies={**wrong.vocabularies, **ids})
    fill.fill(new, carried(config, old, tmp_path, wrong), "base", NOW)
    before, after = vectors(old, THEN), vectors(new, NOW)
    assert np.abs(after["i0"] - before["i0"]).max() > 0.1


@pytest.mark.parametrize("item", ["i9", "i2"])
def test_a_new_item_begins_as_its_features_say(tmp_path, item):
    """As does one whose row has only learned that nobody takes it."""
    config = config_of()
    old, new = built(config, THEN, 0), built(config, NOW, 1)
    start = carried(config, old, tmp_path, untrained=item)
    found = fill.fill(new, start, "base", NOW)
    assert found.new == (1 if item == "i9" else 2) and found.gone == 1
    described = {
        name: THEN.columns("items")[name].encode(pa.array([value]))
        for name, value in (("genre", GENRES[item]), ("year", YEARS[item]))
    }
    expected = old.candidate_tower.embed(
        np.array([UNKNOWN]), tf.nest.map_structure(tf.constant, described)
    )
    np.testing.assert_allclose(vectors(new, NOW)[item], expected[0], atol=1e-4)


def test_rows_that_ids_share_begin_anew(tmp_path):
    ids = [f"i{row}" for row in range(60)]
    then, now = (
        make_prepared([[2, 3, 4], [4, 5, 6]], len(ids)) for _ in range(2)
    )
    order = np.random.default_rng(0).permutation(len(ids))
    shuffled = np.array(["", "", *np.array(ids)[order]], object)
    now = replace(now, items=replace(now.items, ids=shuffled))
    config = config_of(ids=("item",), encoder="bow")
    hashed = config_of(ids=("item",), encoder="bow", max_id_rows=16)
    for before, after in ((config, hashed), (hashed, config), (hashed, hashed)):
        old, new = built(before, then, 0), built(after, now, 1)
        facts = Facts.of(before, then, "bow", 3, "b1")
        start = carried(before, old, tmp_path, facts)
        fill.fill(new, start, "base", now)
        # The first half of the rows are for one id each.
        own = range(2, 8) if after is hashed else range(2, 62)
        was, found = vectors(old, then), new.candidate_embeddings()
        for row in own:
            np.testing.assert_allclose(
                found[row], was[shuffled[row]], atol=1e-5
            )
        if after is hashed:
            apart = [
                np.abs(found[r] - was[shuffled[r]]).max() for r in (30, 50)
            ]
            assert min(apart) > 0.01


def test_what_has_no_place_is_named_and_left(tmp_path):
    old = built(config_of(history_length=4), THEN, 0)
    longer = config_of(history_length=6)
    new = built(longer, NOW, 1)
    was = [w.numpy() for w in new.trainable_weights if "distance" in w.name]
    start = carried(config_of(), old, tmp_path)
    found = fill.fill(new, start, "base", NOW)
    assert len(found.cold) == 2 and not found.fits
    assert all(path.endswith("distance_bias") for path in found.cold)
    now = [w.numpy() for w in new.trainable_weights if "distance" in w.name]
    for one, two in zip(was, now, strict=True):
        np.testing.assert_array_equal(one, two)


def student_of(prepared, seed, **options):
    """A student whose weights are all drawn, biases too."""
    defaults = {
        "embedding_dim": 8,
        "history_length": 4,
        "num_recommendations": 2,
        "item_features": ("*",),
    }
    made = distill.make(StudentConfig(**(defaults | options)), prepared)
    rng = np.random.default_rng(seed)
    for weight in made.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    return made


def student_scores(student, prepared, history):
    """Of every item by id."""
    index = {item: row for row, item in enumerate(prepared.items.ids)}
    rows = np.array([[index.get(item, UNKNOWN) for item in history]], np.int32)
    scores = student(rows).numpy()[0]
    return dict(zip(prepared.items.ids, scores, strict=True))


def carried_student(student, directory):
    weights.save(student, directory / "student.npz")
    facts = Facts.of(config_of(), THEN, "attention", 3, "b1")
    np.savez(directory / "final-targets.npz", counts=[0.0, 0.0, *[1.0] * 5])
    return Carried(4, Path(directory), facts)


@pytest.mark.parametrize("encoder", ["bow", "attention"])
def test_a_student_answers_as_before_wherever_items_stand(tmp_path, encoder):
    old = student_of(THEN, 0, encoder=encoder)
    new = student_of(NOW, 1, encoder=encoder)
    start = carried_student(old, tmp_path)
    drawn = weights.paths(new)["ids"].numpy()
    found = fill.fill(new, start, "student", NOW)
    assert (found.mapped, found.new, found.gone) == (4, 1, 1)
    assert not found.cold and found.fits
    for history in (["i0", "i2"], ["i4", "i3", "i0"]):
        then = student_scores(old, THEN, history)
        now = student_scores(new, NOW, history)
        for item in ("i0", "i2", "i3", "i4"):
            assert now[item] == pytest.approx(then[item], abs=1e-3)
    # As it was drawn, with the genre it has.
    genre = THEN.columns("items")["genre"].encode(pa.array([GENRES["i9"]]))
    row = list(NOW.items.ids).index("i9")
    genres = weights.paths(old)["genre_table"].numpy()
    expected = drawn[row] + genres[int(genre[0])]
    np.testing.assert_allclose(new.table()[row], expected, atol=1e-5)


def test_a_student_of_other_layers_is_left_as_it_was(tmp_path):
    start = carried_student(student_of(THEN, 0), tmp_path)
    for options in (
        {"history_length": 6},
        {"encoder": "rnn"},
        # Which lacks a layer.
        {"encoder": "bow"},
        {"item_id": False},
        {"embedding_dim": 4},
    ):
        new = student_of(NOW, 1, **options)
        was = new.get_weights()
        assert not fill.fill(new, start, "student", NOW).fits
        for one, two in zip(was, new.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)
