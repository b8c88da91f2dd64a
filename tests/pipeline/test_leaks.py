"""What happens at or after the cut changes nothing that is made before it."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from models.config import RankingConfig, RetrievalConfig
from models.student_config import StudentConfig
from pipeline.measure import requests
from pipeline.ondevice import distill, teacher
from pipeline.ranking import lists
from pipeline.ranking import train as train_ranking
from pipeline.retrieval import train as train_retrieval
from pipeline.run.config import Config
from pipeline.run.data import TabularSource
from pipeline.run.release import IndexConfig
from pipeline.tables.schema import TEST, VALIDATION
from tests.support.data_cases import prepared as prepare
from tests.support.data_cases import write_csv
from tests.support.prepared_stub import make_prepared

NUM_ITEMS = 30
SPLITS = ["temporal", "leave_last_out", "random"]


def log(split, garbage, last=VALIDATION):
    """A log; with garbage every event of the parts after `last` is another."""
    random = np.random.default_rng(0)
    sizes = random.integers(4, 12, 50)
    rows = [(random.permutation(20)[:size] + 2).tolist() for size in sizes]
    total = sizes.sum()
    times = np.concatenate([np.sort(random.integers(0, 900, n)) for n in sizes])
    parts = {
        "temporal": np.digitize(times, [600, 800]),
        "leave_last_out": np.concatenate(
            [[0] * (size - 2) + [1, 2] for size in sizes]
        ),
        "random": random.choice(3, total, p=[0.6, 0.2, 0.2]),
    }[split]
    ratings = random.integers(1, 6, total).astype(np.float32)
    flat = np.concatenate(rows)
    if garbage:
        other = np.random.default_rng(1)
        late = parts > last
        flat[late] = other.integers(1, NUM_ITEMS + 2, late.sum())
        ratings[late] = other.integers(6, 99, late.sum())
    rows = [row.tolist() for row in np.split(flat, np.cumsum(sizes)[:-1])]
    return make_prepared(rows, NUM_ITEMS, split, times, parts, ratings)


def make_config():
    return Config(
        name="small",
        seed=3,
        retrieval=RetrievalConfig(
            encoder="bow",
            embedding_dim=8,
            history_length=6,
            epochs=1,
            batch_positions=64,
            refit=True,
        ),
        index=IndexConfig(num_candidates=20),
        ranking=RankingConfig(epochs=1),
        student=StudentConfig(
            embedding_dim=8,
            history_length=6,
            num_recommendations=5,
            epochs=1,
        ),
    )


def made(prepared, directory):
    """All weights and tables of a run on the prepared tables."""
    config = make_config()
    places = [directory / name for name in ("one", "two", "three")]
    for place in places:
        place.mkdir(parents=True)
    one, two, three = places
    train_retrieval.Training(config, prepared, one).run()
    train_ranking.run(config, prepared, one, two)
    distill.run(config, prepared, two, three, lambda line: None)
    found = {}
    for which in ("base", "final"):
        model = train_retrieval.load(config, prepared, one, which)
        found[which] = model.get_weights()
    ranking = train_ranking.load(config, prepared, two)
    found["ranking"] = [value.numpy() for value in ranking.variables]
    found["student"] = distill.load(config, prepared, three).get_weights()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
def test_the_test_part_changes_no_model(split, tmp_path):
    first = made(log(split, garbage=False), tmp_path / "first")
    second = made(log(split, garbage=True), tmp_path / "second")
    for name, weights in first.items():
        assert len(weights) == len(second[name])
        for one, two in zip(weights, second[name], strict=True):
            np.testing.assert_array_equal(one, two, err_msg=name)


@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("split", SPLITS)
def test_no_history_holds_a_later_part(split, refit, monkeypatch):
    """Lists, the teacher's moments and queries, without their models."""
    config = make_config()
    config = replace(config, retrieval=replace(config.retrieval, refit=refit))
    last = VALIDATION if refit else 0
    found = [
        teacher.moments(
            config,
            log(split, garbage, last),
            np.random.default_rng(0),
        )
        for garbage in (False, True)
    ]
    assert (
        found[0].histories.items.tolist() == found[1].histories.items.tolist()
    )
    one, two = (asked.relevant.items.tolist() for asked in found)
    assert one == two
    rolling = [
        requests.make(log(split, garbage), "validation", "rolling")
        for garbage in (False, True)
    ]
    one, two = (asked.histories.items.tolist() for asked in rolling)
    assert one == two
    every = np.arange(2, 22, dtype=np.int32)
    told = []

    def retrieve(_model, _inputs, hidden, _k):
        told.append(hidden.items.tolist())
        return None, np.tile(every, (len(hidden), 1))

    monkeypatch.setattr(lists, "retrieve", retrieve)
    monkeypatch.setattr(lists, "describe", lambda *_: None)
    tables = [log(split, garbage, last=0) for garbage in (False, True)]
    for found in tables:
        train_ranking.training_lists(
            config, found, None, None, train_retrieval.holdout(config, found)
        )
    one, two = told
    assert one == two and len(one) > 20


def written(directory, garbage):
    """Prepared tables of a file whose rows from second 700 on may be junk."""
    random = np.random.default_rng(0)
    directory.mkdir()
    lines = []
    for time in range(1000):
        user, item = random.integers(0, 30), random.integers(0, 20)
        stars, device = 1 + item % 5, "ab"[user % 2]
        if garbage and time >= 800:
            user, item = f"late{time % 7}", f"junk{time % 11}"
            stars, device = 99, "zzz"
        lines.append(f"{user},{item},{time},{stars},{device},{time % 9}")
    items = [f"{item},{item % 3},{item * 2.5}" for item in range(25)]
    users = [f"{user},t{user % 4}" for user in range(30)]
    users += [f"late{user},junk" for user in range(7)]
    return prepare(
        directory / "out",
        TabularSource(
            kind="tabular",
            path=write_csv(
                directory / "log.csv",
                "user_id,item_id,timestamp,rating,device,mood",
                *lines,
            ),
            items_path=write_csv(
                directory / "items.csv", "item_id,kind,price", *items
            ),
            users_path=write_csv(
                directory / "users.csv", "user_id,town", *users
            ),
            rating="rating",
            item_features={"kind": "categorical", "price": "numeric"},
            user_features={"town": "categorical"},
            context_features={"device": "categorical", "mood": "numeric"},
        ),
        split="temporal",
        validation_share=0.1,
        test_share=0.2,
    )


def test_the_test_part_changes_nothing_that_is_prepared(tmp_path):
    first = written(tmp_path / "first", garbage=False)
    second = written(tmp_path / "second", garbage=True)
    tables = [
        json.loads((found.directory / "tables.json").read_text())
        for found in (first, second)
    ]
    assert tables[0] == tables[1]
    assert first.vocabularies == second.vocabularies
    for name in first.vocabularies:
        file = f"vocabulary/{name}.parquet"
        assert pq.read_table(first.directory / file).equals(
            pq.read_table(second.directory / file)
        )
    for name in ("items", "users"):
        one, two = getattr(first, name), getattr(second, name)
        known = one.num_known
        assert known == two.num_known
        assert one.ids[:known].tolist() == two.ids[:known].tolist()
        np.testing.assert_array_equal(
            one.first_seen[:known], two.first_seen[:known]
        )
        np.testing.assert_array_equal(
            one.counts[:TEST, :known], two.counts[:TEST, :known]
        )
        for feature, values in one.features.items():
            np.testing.assert_array_equal(
                values[:known], two.features[feature][:known]
            )
    held = [found.sequences() for found in (first, second)]
    for name in ("item_indices", "timestamps", "parts", "ratings"):
        one, two = (getattr(found, name)[found.parts < TEST] for found in held)
        np.testing.assert_array_equal(one, two)
    assert (held[0].parts == TEST).sum() == (held[1].parts == TEST).sum() > 100
