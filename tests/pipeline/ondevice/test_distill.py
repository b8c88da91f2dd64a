"""The student learns what its teacher knows and the log does not show."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from models import student as student_model
from models.config import ConfigError
from models.student import Student
from models.student_config import StudentConfig
from pipeline.measure.requests import Requests
from pipeline.measure.search import Answer
from pipeline.ondevice import bundle, distill
from pipeline.run import auto, weights
from pipeline.tables.ragged import Ragged
from tests.support.prepared_stub import make_prepared

ROWS, LENGTH = 42, 4
OPTIONS = StudentConfig(
    encoder="bow",
    embedding_dim=16,
    history_length=LENGTH,
    num_recommendations=5,
    epochs=60,
)


def planted(seed: int = 0) -> tuple[Requests, Answer, np.ndarray]:
    """Histories whose next item is noise; the teacher knows the rule.

    After item i comes i + 1, in a circle of 40.
    """
    random = np.random.default_rng(seed)
    histories = random.integers(2, ROWS, (600, LENGTH)).astype(np.int32)
    right = (histories[:, -1] - 1) % 40 + 2
    noise = random.integers(2, ROWS, 600).astype(np.int32)
    candidates = np.stack([noise, right], axis=1).astype(np.int32)
    scores = np.tile(np.float32([0.0, 6.0]), [600, 1])
    rows = np.arange(600)
    ragged = Ragged(np.arange(601) * LENGTH, histories.ravel())
    return (
        Requests(rows, rows, ragged, {}, Ragged(np.arange(601), noise), rows),
        (scores, candidates),
        right,
    )


def hit_rate(mix: float) -> float:
    found, opinions, right = planted()
    tf.keras.utils.set_random_seed(1)
    student = distill.make(OPTIONS, make_prepared([[2, 3, 4]], ROWS - 2))
    distill.fit(student, found, opinions, seed=1, mix=mix)
    scores = student(found.histories.last(LENGTH)).numpy()
    scores[:, :2] = -np.inf
    best = np.argsort(-scores, axis=1)[:, :5]
    return float((best == right[:, None]).any(axis=1).mean())


@pytest.mark.slow
def test_a_rule_only_the_teacher_knows_is_learned() -> None:
    assert hit_rate(mix=1.0) > 0.6
    # Without the teacher there is nothing to learn: a fifth of 25 by chance.
    assert hit_rate(mix=0.0) < 0.35


def test_every_epoch_says_how_fast_it_is_and_how_long_the_rest_takes() -> None:
    found, opinions, _ = planted()
    options = dataclasses.replace(OPTIONS, epochs=2)
    student = distill.make(options, make_prepared([[2, 3, 4]], ROWS - 2))
    lines: list[str] = []
    distill.fit(student, found, opinions, 1, 0.5, lines.append)
    assert [line.split(":")[0] for line in lines] == [
        "  epoch 1 of 2",
        "  epoch 2 of 2",
    ]
    assert "examples/s, at most 0 s left" in lines[-1]


@pytest.mark.slow
def test_a_large_catalogue_is_learned_from_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distill, "FULL_SOFTMAX_BELOW", 0)
    monkeypatch.setattr(distill, "NUM_UNIFORM", 64)
    assert hit_rate(mix=1.0) > 0.6


def test_the_sampled_loss_estimates_that_of_the_catalogue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distill, "NUM_UNIFORM", 200_000)
    monkeypatch.setattr(student_model, "DROPOUT", 0.0)
    student = Student(OPTIONS, ROWS)
    student(np.zeros([1, LENGTH], np.int32))
    random = np.random.default_rng(5)
    student.set_weights(
        [random.normal(0, 0.2, w.shape) for w in student.get_weights()]
    )
    # Nothing seen: only the full loss hides what was.
    history = tf.zeros([3, LENGTH], tf.int32)
    target = tf.constant([5, 6, 7])
    candidates = tf.constant([[5, 9, 0], [8, 9, 10], [11, 7, 12]])
    scores = tf.constant(random.normal(size=[3, 3]), tf.float32)
    batch = distill.Examples(history, target, scores, candidates)
    full, sampled = (
        distill.loss_of(student, 0.7, batch, is_small).numpy()
        for is_small in (True, False)
    )
    # Candidates are counted exactly and again, rarely, among the drawn.
    np.testing.assert_allclose(sampled, full, atol=0.15)


@pytest.mark.parametrize(
    ("histories", "size"), [(1, 64), (30_000, 128), (10**6, 512)]
)
def test_few_histories_are_taken_in_small_steps(histories, size) -> None:
    assert auto.student_batch(histories).value == size


@pytest.mark.parametrize("encoder", ["bow", "cnn", "rnn", "attention"])
def test_padding_beyond_the_longest_history_changes_nothing(encoder) -> None:
    # Training leaves it away.
    options = dataclasses.replace(OPTIONS, encoder=encoder, history_length=9)
    student = Student(options, ROWS)
    student(np.zeros([1, 9], np.int32))
    random = np.random.default_rng(5)
    student.set_weights(
        [random.normal(0, 0.3, w.shape) for w in student.get_weights()]
    )
    short = np.array([[0, 2, 3, 4], [5, 2, 9, 4]], np.int32)
    wide = np.pad(short, [(0, 0), (5, 0)])
    np.testing.assert_allclose(student(short), student(wide), atol=1e-5)


def test_weights_come_back(tmp_path) -> None:
    prepared = make_prepared([[2, 3, 4]], ROWS - 2)
    student = distill.make(OPTIONS, prepared)
    weights.save(student, tmp_path / "student.npz")
    config = type("Config", (), {"student": OPTIONS})()
    again = distill.load(config, prepared, tmp_path)
    history = np.array([[0, 2, 3, 4]], np.int32)
    np.testing.assert_array_equal(student(history), again(history))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"item_id": False}, "`item_features` must name a column"),
        ({"epochs": 0}, "`epochs` must be at least 1"),
    ],
)
def test_bad_options_are_refused(options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        StudentConfig(**options)


@pytest.mark.parametrize(("num_items", "answered"), [(40, 5), (4, 3), (2, 1)])
def test_a_small_catalogue_answers_with_fewer_items(
    num_items: int, answered: int
) -> None:
    student = distill.make(OPTIONS, make_prepared([[2, 3, 2]], num_items))
    assert student.config.num_recommendations == answered


def test_the_student_of_a_large_catalogue_knows_the_most_wanted() -> None:
    prepared = make_prepared([[2, 3, 30, 4, 21]] * 8, ROWS - 2)
    options = dataclasses.replace(OPTIONS, max_items=20, epochs=2)
    found, (scores, candidates), _ = planted()
    assert found.histories.items.max() > 21
    kept = found.take(np.flatnonzero(found.relevant.items < 22))
    student = distill.make(options, prepared)
    assert student.num_rows == distill.num_rows(options, prepared) == 22
    losses = distill.fit(student, kept, (scores, candidates), seed=1, mix=0.5)
    assert np.isfinite(losses).all()
    figures = distill.validate(student, prepared, seed=1)
    assert 0.0 <= figures["ndcg@10"] <= 1.0
    catalogue = bundle.Catalogue.of(prepared, student.num_rows)
    catalogue.check(student)
    every = dataclasses.replace(options, max_items="all")
    assert distill.num_rows(every, prepared) == ROWS


def test_items_beyond_the_student_are_unknown_ones() -> None:
    history = np.array([[0, 2, 21, 22, 41]], np.int32)
    np.testing.assert_array_equal(
        distill.known(history, 22), [[0, 2, 21, 1, 1]]
    )
