import numpy as np
import pytest
import tensorflow as tf

from models import retrieval
from models.config import ConfigError, FeatureSpec, RetrievalConfig
from models.layers.features import FeatureEncoder, select
from models.student import Student
from models.student_config import StudentConfig
from models.towers import CandidateInputs

ENCODERS = ("bow", "cnn", "rnn", "attention")
SPECS = (
    FeatureSpec("genres", "multi_categorical", size=5, width=3),
    FeatureSpec("studio", "categorical", size=4),
    FeatureSpec("year", "numeric"),
    FeatureSpec("title", "text", size=6, width=2),
)
# Rows: padding, unknown, three known items, two never trained on.
FEATURES = {
    "genres": np.array(
        [
            [0, 0, 0],
            [0, 0, 0],
            [2, 3, 0],
            [2, 0, 0],
            [4, 3, 2],
            [2, 3, 0],
            [4, 0, 0],
        ],
        np.int32,
    ),
    "studio": np.array([0, 0, 2, 3, 2, 2, 1], np.int32),
    "year": np.array([0, 0, -1, 0, 1, -1, 2], np.float32),
    "title": np.array(
        [[0, 0], [0, 0], [2, 3], [4, 0], [5, 2], [2, 3], [1, 0]], np.int32
    ),
}
USERS = (
    FeatureSpec("age", "numeric"),
    FeatureSpec("gender", "categorical", size=4),
)
CONTEXT = (FeatureSpec("device", "categorical", size=4),)


def make(**options):
    tf.keras.utils.set_random_seed(0)
    defaults = {"embedding_dim": 8, "history_length": 10, "dropout": 0.0}
    model = retrieval.build(
        RetrievalConfig(**(defaults | options)),
        CandidateInputs(FEATURES, SPECS, 5, np.array([0, 0, 9, 5, 2, 0, 0])),
        USERS,
        CONTEXT,
        num_known_users=4,
    )
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign_add(rng.normal(0, 0.2, weight.shape).astype(np.float32))
    return model


def test_item_vectors_are_the_same_by_index_and_by_features():
    tower = make().candidate_tower
    indices = tf.constant([2, 4, 6])
    features = {name: tf.constant(v)[2:7:2] for name, v in FEATURES.items()}
    np.testing.assert_allclose(
        tower.embed(indices, features), tower(indices), atol=1e-6
    )


def test_padding_is_a_vector_of_zeros():
    assert not make().candidate_tower(tf.constant([0])).numpy().any()


def test_untrained_item_is_answered_from_its_features():
    tower = make().candidate_tower
    known, untrained, other = tower(tf.constant([2, 5, 6])).numpy()
    # Items 2 and 5 share every feature; only 2 has an id.
    assert np.abs(known - untrained).max() > 1e-3
    features = {name: tf.constant(v)[2:3] for name, v in FEATURES.items()}
    unknown = tower.embed(tf.constant([1]), features).numpy()[0]
    np.testing.assert_allclose(untrained, unknown, atol=1e-6)
    assert np.abs(untrained - other).max() > 1e-3


def test_feature_based_tower_has_no_ids():
    model = make(ids=())
    vectors = model.candidate_embeddings()
    # Only the bias tells two items with the same features apart.
    np.testing.assert_allclose(vectors[2, :-1], vectors[5, :-1], atol=1e-6)
    assert not any("ids" in weight.name for weight in model.weights)


def test_id_based_tower_reads_no_features():
    model = make(item_features=())
    vectors = model.candidate_embeddings()
    np.testing.assert_array_equal(vectors[5], vectors[6])
    np.testing.assert_array_equal(vectors[5], vectors[1])


def test_a_feature_that_nobody_has_is_refused():
    with pytest.raises(ConfigError, match="Received: genr. Correct"):
        make(item_features=("genres", "genr"))


def test_values_of_a_feature_are_averaged():
    encoder = make(item_features=("genres",)).candidate_tower.encoder
    values = tf.constant([[2, 3, 0], [0, 0, 0], [4, 4, 2]])
    table = encoder.tables["genres"].numpy()
    expected = [
        (table[2] + table[3]) / 2,
        np.zeros(8),
        (2 * table[4] + table[2]) / 3,
    ]
    np.testing.assert_allclose(encoder({"genres": values}), expected, atol=1e-6)
    # Any leading shape gives the same rows.
    np.testing.assert_allclose(
        encoder({"genres": values[tf.newaxis]})[0], expected, atol=1e-6
    )


def test_ids_are_hidden_in_training_only():
    tower = make(id_dropout=0.5, item_features=()).candidate_tower
    indices = tf.fill([400], 2)
    still = tower(indices).numpy()
    assert (still == still[0]).all()
    rows = tower(indices, training=True).numpy()
    unknown = tower(tf.constant([1])).numpy()[0]
    share = (rows == unknown).all(axis=1).mean()
    assert share == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_padding_never_changes_a_query(encoder):
    tower = make(encoder=encoder).query_tower
    short = tower(tf.constant([[2, 3, 4]])).numpy()
    padded = tower(tf.constant([[0, 0, 0, 0, 0, 2, 3, 4]])).numpy()
    np.testing.assert_allclose(padded, short, atol=1e-5)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_query_of_one_equals_query_of_many(encoder):
    tower = make(encoder=encoder).query_tower
    histories = tf.constant([[0, 2, 3], [4, 4, 2], [0, 0, 0], [1, 6, 5]])
    many = tower(histories).numpy()
    for row in range(4):
        one = tower(histories[row : row + 1]).numpy()
        np.testing.assert_allclose(one[0], many[row], atol=1e-5)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_empty_history_gets_one_answer_whatever_its_length(encoder):
    tower = make(encoder=encoder).query_tower
    answers = [
        tower(tf.zeros([1, length], tf.int32)).numpy() for length in (0, 1, 5)
    ]
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-6)
    np.testing.assert_allclose(answers[2], answers[0], atol=1e-6)
    assert np.abs(answers[0][:, :-1]).max() > 0


@pytest.mark.parametrize("ids", [("item",), ("item", "history")])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_one_pass_gives_the_state_of_each_prefix(encoder, ids):
    model = make(encoder=encoder, ids=ids)
    tower = model.query_tower
    history = tf.constant([[0, 2, 3, 4]])
    states = tower.states(model.candidate_tower(history), history)
    queries = tower.combine(states).numpy()[0]
    prefixes = [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 2], [0, 0, 2, 3]]
    for place, prefix in enumerate(prefixes):
        expected = tower(tf.constant([prefix])).numpy()[0]
        np.testing.assert_allclose(queries[place], expected, atol=1e-5)


def test_vectors_at_hand_give_the_same_query_and_are_what_is_read():
    model = make()
    history = tf.constant([[0, 2, 1, 6], [0, 0, 0, 0]])
    vectors = model.candidate_embeddings()
    expected = model.query_tower(history).numpy()
    found = model.query_tower(history, vectors=vectors).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    other = model.query_tower(history, vectors=vectors[::-1]).numpy()
    assert np.abs(other - expected).max() > 0.1


def test_history_embedding_tells_items_apart_that_are_alike():
    # Rows 2 and 5 have the same features, and without ids nothing else.
    for ids, differ in (((), False), (("history",), True)):
        model = make(ids=ids)
        model.candidate_tower.bias.assign(
            tf.zeros_like(model.candidate_tower.bias)
        )
        one, other = (
            model.query_tower(tf.constant([[item]])).numpy() for item in (2, 5)
        )
        assert (np.abs(one - other).max() > 1e-3) == differ


def test_user_and_context_change_the_query_and_missing_ones_do_not():
    tower = make(ids=("item", "user")).query_tower
    history = tf.constant([[2, 3]])
    nobody = tower(history).numpy()
    blank = {"age": tf.constant([0.0]), "gender": tf.constant([0])}
    for user, features, context in (
        (tf.constant([2]), None, None),
        (None, {"gender": tf.constant([3])}, None),
        (None, {"age": tf.constant([1.5])}, None),
        (None, None, {"device": tf.constant([2])}),
    ):
        asked = tower(history, user, features, context).numpy()
        assert np.abs(asked - nobody).max() > 1e-3
    # A user never trained on is the unknown user.
    np.testing.assert_allclose(
        tower(history, tf.constant([7])), nobody, atol=1e-6
    )
    gender = tower(history, None, {"gender": tf.constant([0])}).numpy()
    np.testing.assert_allclose(gender, nobody, atol=1e-6)
    assert tower(history, None, blank).shape == nobody.shape


def test_score_is_a_dot_product_with_the_bias_inside():
    model = make()
    query = model.query_tower(tf.constant([[2, 3]])).numpy()[0]
    vectors = model.candidate_embeddings()
    bias = model.candidate_tower.bias.numpy()
    expected = vectors[2, :-1] @ query[:-1] + bias[2]
    assert vectors[2] @ query == pytest.approx(expected, rel=1e-5)
    assert vectors.shape[1] == len(query)


def test_select_takes_all_or_the_named_features():
    assert select(SPECS, ("*",)) == SPECS
    assert select(SPECS, ("year",)) == (SPECS[2],)
    assert select(SPECS, ()) == ()


def test_what_training_never_meets_says_nothing():
    """Not the first random draw of a row that no step touches."""
    model = retrieval.build(
        RetrievalConfig(embedding_dim=8, ids=("item", "user", "history")),
        CandidateInputs(FEATURES, SPECS, 5, np.array([0, 0, 9, 5, 2, 0, 0])),
        USERS,
        CONTEXT,
        num_known_users=4,
    )
    student = Student(StudentConfig(num_recommendations=2), 7, FEATURES, SPECS)
    tables = [
        model.candidate_tower.ids,
        model.query_tower.ids,
        model.query_tower.past,
        *model.candidate_tower.encoder.tables.values(),
        *student.trainable_variables[:4],
    ]
    for table in tables:
        rows = table.numpy()
        assert not rows[:2].any() and rows[2:].all()
    encoder = FeatureEncoder(USERS[1:], 8)
    missing, unknown, known = (
        encoder({"gender": tf.constant([value])}) for value in (0, 1, 2)
    )
    np.testing.assert_array_equal(unknown, missing)
    assert np.abs(known - missing).max() > 0.01
