"""Data sets of repeat consumption: what was taken before may be answered.

Planted: users who buy the same few staples in most baskets, and something
else at random, which nobody can foresee.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.config import RankingConfig, RetrievalConfig
from models.layers.index import ExactIndex
from models.query import Query
from models.retrieval import RetrievalModel
from models.signals import ItemTables, Signals
from models.student_config import StudentConfig
from pipeline.evaluate import baselines, ondevice
from pipeline.export import graphs
from pipeline.export.bundle import read_manifest
from pipeline.export.encode import IdLookup
from pipeline.export.filters import FilterInputs
from pipeline.measure import metrics, requests
from pipeline.ondevice import bundle as ondevice_bundle
from pipeline.ondevice import distill, teacher
from pipeline.ondevice.bundle import Catalogue
from pipeline.ranking import train as train_ranking
from pipeline.ranking.cooccurrence import Log
from pipeline.retrieval import train as train_retrieval
from pipeline.run.config import Config
from pipeline.run.data import PrepareConfig, TabularSource
from pipeline.run.release import IndexConfig
from pipeline.steps import Run
from pipeline.tables.prepared import Prepared
from pipeline.tables.ragged import Ragged
from serving import signatures
from serving.ondevice.bundle import OnDevice
from tests.support.data_cases import prepared as prepare_log
from tests.support.data_cases import write_csv
from tests.support.prepared_stub import make_prepared

NUM_USERS, NUM_ITEMS, STAPLES, BASKETS = 120, 60, 3, 9


def planted() -> list[list[list[int]]]:
    """Baskets of items from 0 of each user."""
    random = np.random.default_rng(0)
    log = []
    for _user in range(NUM_USERS):
        staples = random.choice(NUM_ITEMS, STAPLES, replace=False)
        log.append(
            [
                sorted(
                    {
                        *staples[random.random(STAPLES) < 0.8].tolist(),
                        int(random.integers(NUM_ITEMS)),
                    }
                )
                for _basket in range(BASKETS)
            ]
        )
    return log


@pytest.mark.parametrize(
    ("repeated", "ratings"),
    [("keep", [4, 3, 2, 5]), ("first", [4, 3, 1, 5]), ("last", [4, 3, 2, 5])],
)
def test_only_rows_of_one_moment_are_repeats(
    tmp_path: Path, repeated: str, ratings: list[int]
) -> None:
    log = write_csv(
        tmp_path / "log.csv",
        "user_id,item_id,timestamp,rating",
        "u,a,1,4", "u,b,2,3", "u,a,3,1", "u,a,3,2", "u,a,4,5",
    )  # fmt: skip
    source = TabularSource(kind="tabular", path=log, rating="rating")
    found = prepare_log(
        tmp_path / "out", source, repeat_consumption=True, repeated=repeated
    )
    assert found.repeat_consumption
    assert found.sequences().timestamps.tolist() == [1, 2, 3, 4]
    assert found.sequences().ratings.tolist() == ratings
    assert not prepare_log(tmp_path / "plain", source).repeat_consumption


@pytest.fixture(scope="module")
def small() -> tuple[Config, Prepared]:
    """The planted log in memory; a basket has one moment."""
    rows, times, parts = [], [], []
    for baskets in planted():
        rows.append([2 + item for basket in baskets for item in basket])
        for number, basket in enumerate(baskets):
            times += [86_400 * number] * len(basket)
            parts += [max(0, number - BASKETS + 3)] * len(basket)
    prepared = make_prepared(rows, NUM_ITEMS, "temporal", times, parts)
    config = Config(
        name="again",
        seed=3,
        retrieval=RetrievalConfig(
            encoder="bow",
            embedding_dim=16,
            history_length=20,
            batch_positions=256,
            epochs=5,
        ),
        index=IndexConfig(num_candidates=30),
        ranking=RankingConfig(epochs=3),
        student=StudentConfig(embedding_dim=16, history_length=20, epochs=3),
    )
    return config, replace(prepared, repeat_consumption=True)


@pytest.fixture(scope="module")
def base(
    small: tuple[Config, Prepared], tmp_path_factory: pytest.TempPathFactory
) -> RetrievalModel:
    config, prepared = small
    directory = tmp_path_factory.mktemp("again")
    train_retrieval.Training(config, prepared, directory).base()
    return train_retrieval.load(config, prepared, directory, "base")


def off(prepared: Prepared) -> Prepared:
    """The negative control: the same log, were it any other."""
    return replace(prepared, repeat_consumption=False)


@pytest.mark.slow
def test_both_stages_find_staples_where_they_may(
    small: tuple[Config, Prepared], base: RetrievalModel
) -> None:
    config, prepared = small
    found = []
    for given in (prepared, off(prepared)):
        _scorer, report = train_ranking.learn(config, given, base)
        # The curve begins with the order of retrieval.
        curve = [epoch["ndcg@10"] for epoch in report["curve"]]
        found.append((curve[0], curve[report["best_epoch"]]))
    personal = validated(baselines.PERSONAL, prepared)
    popular = validated("popularity", prepared)
    assert personal > 2 * popular
    assert min(found[0]) > 2 * popular
    assert found[0][1] > 0.9 * personal
    assert max(found[1]) < popular


def validated(name: str, prepared: Prepared) -> float:
    """NDCG@10 of a baseline on validation."""
    sequences = prepared.sequences()
    log = Log.of(sequences, sequences.parts < 1, NUM_ITEMS + 2)
    asked = requests.make(prepared, "validation")
    settings = baselines.tune(name, log, asked, 0, "included")
    baseline = next(baselines.fit(name, log, [settings]))
    hits = baselines.find(baseline, asked, 10, 0, "included")
    return float(metrics.ndcg_at_k(hits, asked.num_relevant, 10).mean())


def test_lists_hold_what_was_had_only_where_it_may_be_answered(
    small: tuple[Config, Prepared], base: RetrievalModel
) -> None:
    config, prepared = small
    held = train_retrieval.holdout(config, prepared)
    had = []
    for given in (prepared, off(prepared)):
        signals = train_ranking.signals_of(config, given, base, ~held)
        made = train_ranking.training_lists(config, given, base, signals, held)
        same = made.candidates[:, :, None] == made.inputs.history[:, None]
        had.append((same & (made.candidates[:, :, None] > 0)).any(axis=2))
    assert had[0][:, 0].mean() > 0.5 and had[0][:, 1:].any()
    assert len(had[1]) and not had[1].any()


def test_taken_signals_count_and_date(base: RetrievalModel) -> None:
    history = [[0, 3, 1, 5, 3, 4, 0][:6], [0] * 6]
    tables = ItemTables(
        np.zeros(NUM_ITEMS + 3, np.int32),
        np.zeros(0, np.int32),
        np.zeros((0, 1), np.float32),
        np.zeros((NUM_ITEMS + 2, 1), np.float32),
        num_tables=1,
    )
    made = Signals(RankingConfig(features=()), base, tables, repeats=True)
    _, found = made(
        Query(tf.constant(history), tf.ones([2], tf.int32), {}, {}),
        tf.constant([[3, 4, 5, 6, 1, 0]] * 2),
    )
    # Ages: 3 stands 1 and 4 steps back, 4 at the end, 5 two steps back.
    ages: list[list[int]] = [[1, 4], [0], [2], [], [], []]
    expected = [
        [np.log1p(sum(decay**age for age in own)) for decay in (1, 0.98, 0.9)]
        + [5 - np.log1p(min(own)) if own else 0.0]
        for own in ages
    ]
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    assert not found[1].numpy().any()
    assert made.num_taken == 4
    plain = Signals(RankingConfig(features=()), base, tables)
    assert plain.num_taken == 0


def test_servers_answer_the_history_but_nothing_excluded(
    small: tuple[Config, Prepared], base: RetrievalModel
) -> None:
    config, prepared = small
    embeddings = base.candidate_embeddings()
    staples = [f"i{item}" for item in (7, 20, 41)]
    answers = []
    for given in (prepared, off(prepared)):
        items = IdLookup(list(given.items.ids[2:]))
        inputs = graphs.QueryInputs(given, items, 20, False)
        made = graphs.Retrieval(
            *(inputs, given, base, ExactIndex(embeddings, 30)),
            FilterInputs({}),
        ).functions()
        asked = {
            "user_id": tf.constant([""]),
            "history": tf.constant([[*staples, *staples]]),
        }
        for more, name in (
            ({}, signatures.SERVING_DEFAULT),
            ({"excluded_ids": [staples[:2]]}, signatures.WITH_EXCLUSIONS),
        ):
            given_too = {key: tf.constant(value) for key, value in more.items()}
            ids = made[name](**asked, **given_too)["candidate_ids"][0].numpy()
            found = {item.decode() for item in ids}
            assert len(found) == 30
            answers.append(found & set(staples))
    assert answers == [set(staples), {staples[2]}, set(), set()]


@pytest.mark.slow
def test_the_student_answers_the_history_but_nothing_excluded(
    small: tuple[Config, Prepared], tmp_path: Path
) -> None:
    config, prepared = small
    options = config.student
    staples = [f"i{item}" for item in (7, 20, 41)]
    history = [*staples, *staples]
    quality = []
    for given in (prepared, off(prepared)):
        found = teacher.moments(config, given, np.random.default_rng(0))
        student = distill.make(options, given)
        shape = len(found), 1
        none = np.zeros(shape, np.float32), np.zeros(shape, np.int32)
        distill.fit(student, found, none, 0, 0.0)
        # Trained on validation too; the share of what can be found counts.
        quality.append(distill.validate(student, given, 0)["ndcg@10"])
        folder = tmp_path / str(given.repeat_consumption)
        ids = [str(item) for item in given.items.ids]
        ondevice_bundle.write(student, Catalogue(ids, ids), folder, "int8")
        bundle = OnDevice(folder)
        assert bundle.config["repeat_consumption"] == given.repeat_consumption
        assert bundle.replay()
        again = {item for item, _ in bundle.recommend(history)} & set(staples)
        assert bool(again) == given.repeat_consumption
        answer = {item for item, _ in bundle.recommend(history, staples)}
        assert answer and not answer & set(staples)
        asked = Ragged.of([[9, 22, 43] * 2])
        _, items = ondevice.answer(bundle, asked)
        assert {ids[item] for item in items[0]} & set(staples) == again
    assert quality[0] > 2 * quality[1]


def test_a_bundle_from_before_the_choice_hides_the_history(
    small: tuple[Config, Prepared], tmp_path: Path
) -> None:
    config, prepared = small
    student = distill.make(config.student, off(prepared))
    ids = [str(item) for item in prepared.items.ids]
    ondevice_bundle.write(
        student, Catalogue(ids, ids), tmp_path / "old", "float32"
    )
    path = tmp_path / "old" / "config.json"
    described = json.loads(path.read_text())
    del described["repeat_consumption"]
    path.write_text(json.dumps(described))
    answer = OnDevice(tmp_path / "old").recommend(ids[2:40])
    assert answer and not {item for item, _score in answer} & set(ids[2:40])


def test_personal_frequency_weighs_what_is_recent() -> None:
    baseline = baselines.Baseline(
        baselines.PERSONAL, {"decay": 0.5}, np.zeros(6, np.float32)
    )
    histories = Ragged.of([[2, 3, 2, 5], []])
    expected = [[0, 0, 0.125 + 0.5, 0.25, 0, 1], [0] * 6]
    np.testing.assert_allclose(baseline.score(histories), expected)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("again")
    rows = [
        f"u{user},i{item},{10**9 + 86_400 * number + 60 * user}"
        for user, baskets in enumerate(planted())
        for number, basket in enumerate(baskets)
        for item in basket
    ]
    path = write_csv(folder / "log.csv", "user_id,item_id,timestamp", *rows)
    made = Run(
        Config(
            name="again",
            seed=3,
            artifacts=str(folder / "artifacts"),
            source=TabularSource(kind="tabular", path=path),
            prepare=PrepareConfig(repeat_consumption=True),
            retrieval=RetrievalConfig(
                encoder="attention",
                embedding_dim=16,
                history_length=20,
                batch_positions=256,
                epochs=4,
            ),
            index=IndexConfig(num_candidates=30),
            ranking=RankingConfig(epochs=3),
            student=StudentConfig(
                embedding_dim=16,
                history_length=20,
                epochs=4,
            ),
        )
    )
    made.evaluate()
    return made


@pytest.fixture(scope="module")
def evaluation(run: Run) -> dict[str, Any]:
    return json.loads(run.evaluation.read_text())


@pytest.mark.slow
def test_staples_are_found_by_all_that_may_answer_them(
    evaluation: dict[str, Any],
) -> None:
    rows = {
        row["model"]: row["ndcg@10"]
        for row in evaluation["rows"]
        if row["slice"] == "all"
    }
    # By chance a list of 10 holds a sixth of the targets.
    assert rows["popularity"] < 0.25
    for model in ("two_stage", "retrieval", "student", baselines.PERSONAL):
        assert rows[model] > 2 * rows["popularity"], model
    # The baseline is the rule by which the log was made; a hundred users teach
    # most of it.
    assert rows["two_stage"] > 0.7 * rows[baselines.PERSONAL]
    assert evaluation["label"].startswith("honest")


@pytest.mark.slow
def test_evaluation_counts_what_users_had_before(
    run: Run, evaluation: dict[str, Any]
) -> None:
    sequences = run.prepared().sequences()
    asked, having, targets = 0, 0, 0
    for user in range(NUM_USERS):
        own = slice(*sequences.offsets[user : user + 2])
        items, parts = sequences.item_indices[own], sequences.parts[own]
        wanted = set(items[parts == 2])
        times = sequences.timestamps[own]
        assert not wanted or times[parts < 2].max() < times[parts == 2].min()
        there = wanted & set(items[parts < 2])
        asked += bool(wanted)
        having += bool(there)
        targets += len(there)
    assert evaluation["queries"] == asked
    assert evaluation["again"] == {
        "queries": having,
        "targets": targets,
        "count_as": "targets",
    }


@pytest.mark.slow
def test_what_ships_says_that_it_answers_the_history(run: Run) -> None:
    for name in signatures.BUNDLE:
        assert read_manifest(run.export() / name)["repeat_consumption"] is True
    fused = tf.saved_model.load(str(run.export() / signatures.RECOMMENDER))
    asked = {
        "user_id": tf.constant([""]),
        "history": tf.constant([["i7", "i20", "i7", "i20"]]),
    }
    answers = []
    for excluded in ("", "i7"):
        ids = fused.signatures[signatures.SERVING_DEFAULT](
            excluded_ids=tf.constant([[excluded]]), **asked
        )["item_ids"]
        answers.append({b"i7", b"i20"} & set(ids[0].numpy()[:10]))
    assert answers == [{b"i7", b"i20"}, {b"i20"}]
