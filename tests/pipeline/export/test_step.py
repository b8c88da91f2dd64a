"""Exported models keep the contract and answer as the trained objects do."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from models.config import FIRST_ITEM
from models.layers import index as search
from models.query import Query
from pipeline.ranking import train as train_ranking
from pipeline.retrieval import train as train_retrieval
from pipeline.steps import Run
from serving import signatures
from tests.support.exported import inputs_of, retriever

DTYPES = {"string": tf.string, "float32": tf.float32, "int64": tf.int64}
K = 30

# Runs in a process of its own where the project cannot be imported. What is
# asked, a triple each: model, signature, inputs; answers lie beside the inputs.
STRANGER = """
import sys
for name in ("models", "pipeline", "serving"):
    sys.modules[name] = None
import numpy as np, tensorflow as tf
for model, signature, source in zip(*[iter(sys.argv[1:])] * 3):
    loaded = tf.saved_model.load(model)
    inputs = dict(np.load(source, allow_pickle=True))
    outputs = loaded.signatures[signature](
        **{key: tf.constant(value.tolist() if value.dtype == object else value)
           for key, value in inputs.items()})
    np.savez(source + ".answer.npz",
             **{key: value.numpy() for key, value in outputs.items()})
"""


@pytest.mark.parametrize("name", signatures.BUNDLE)
def test_signatures_are_those_of_the_contract(
    loaded: dict[str, Any], name: str
) -> None:
    contract = signatures.SIGNATURES[name]
    assert set(loaded[name].signatures) == set(contract)
    for key, expected in contract.items():
        function = loaded[name].signatures[key]
        _, inputs = function.structured_input_signature
        features = set(inputs) - set(expected.inputs)
        prefixes = {feature.split("_")[0] for feature in features}
        assert ("allowed" in prefixes) == expected.takes_filters
        prefixes.discard("allowed")
        permitted = {
            "query": {"user", "context"},
            "candidate": {"item"},
            "": set(),
        }
        assert prefixes <= permitted[expected.takes_features]
        outputs = function.structured_outputs
        assert set(expected.outputs) <= set(outputs)
        assert set(outputs) - set(expected.outputs) <= {"predicted_rating"}
        for side, tensors in (
            (inputs, expected.inputs),
            (outputs, expected.outputs),
        ):
            for tensor, spec in tensors.items():
                assert side[tensor].dtype == DTYPES[spec.dtype]
                assert side[tensor].shape.rank == len(spec.shape)
                assert side[tensor].shape[0] is None


@pytest.fixture(scope="module")
def answers(
    exports: Path, items: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, np.ndarray]]:
    """What a stranger gets of each model, in one process: it takes seconds."""
    folder = tmp_path_factory.mktemp("stranger")
    asked = {
        "retrieval": (
            "serving_default",
            inputs_of([[b"", items[4], items[9]], [items[3], b"nobody", b""]]),
        ),
        "ranking": (
            "score",
            inputs_of(
                [[items[4], items[9]]],
                candidate_ids=[[items[0], b"", items[20], b"nobody"]],
            ),
        ),
    }
    arguments = []
    for name, (signature, query) in asked.items():
        source = folder / f"{name}.npz"
        np.savez(source, **{key: value.numpy() for key, value in query.items()})
        arguments += [str(exports / name), signature, str(source)]
    subprocess.run(
        [sys.executable, "-c", STRANGER, *arguments],
        check=True,
        timeout=120,
        cwd=folder,
    )
    return {
        name: dict(
            np.load(folder / f"{name}.npz.answer.npz", allow_pickle=True)
        )
        for name in asked
    }


def test_retrieval_answers_a_stranger_as_the_towers_do(
    tiny_run: Run,
    items: list[bytes],
    answers: dict[str, dict[str, np.ndarray]],
) -> None:
    answer = answers["retrieval"]
    model = train_retrieval.load(
        tiny_run.config, tiny_run.prepared(), tiny_run.train_retrieval()
    )
    queries = model.query_tower(
        np.array([[6, 11], [5, 1]], np.int32),
        np.array([1, 1], np.int32),
        {
            "age": np.zeros(2, np.float32),
            "region": np.zeros(2, np.int32),
        },
        {},
    ).numpy()
    scores = queries @ model.candidate_embeddings().T
    scores[:, :2] = -np.inf
    scores[0, [6, 11]] = scores[1, 5] = -np.inf
    for row in range(2):
        order = np.argsort(-scores[row], kind="stable")[:K]
        expected = [items[i - FIRST_ITEM] for i in order]
        assert list(answer["candidate_ids"][row]) == expected
        np.testing.assert_allclose(
            answer["scores"][row], scores[row][order], rtol=1e-4, atol=1e-5
        )


def test_ranking_answers_a_stranger_as_the_model_does(
    tiny_run: Run, answers: dict[str, dict[str, np.ndarray]]
) -> None:
    answer = answers["ranking"]
    model = train_ranking.load(
        tiny_run.config, tiny_run.prepared(), tiny_run.train_ranking()
    )
    expected = model(
        Query(
            np.array([[6, 11]], np.int32),
            np.array([1], np.int32),
            {
                "age": np.zeros(1, np.float32),
                "region": np.zeros(1, np.int32),
            },
            {},
        ),
        np.array([[2, 0, 22, 1]], np.int32),
    )
    there = [0, 2, 3]
    for name in expected:
        np.testing.assert_allclose(
            answer[name][0, there],
            expected[name].numpy()[0, there],
            rtol=1e-3,
            atol=1e-4,
        )
    assert answer["scores"][0, 1] == search.MASKED_SCORE


def test_ranking_orders_and_puts_padding_last(
    loaded: dict[str, Any], items: list[bytes]
) -> None:
    inputs = inputs_of(
        [[items[4], items[9]]], candidate_ids=[[b"", *items[:8], b"nobody"]]
    )
    ranked = loaded["ranking"].signatures["serving_default"](**inputs)
    ids = list(ranked["candidate_ids"][0].numpy())
    assert ids[-1] == b""
    assert sorted(ids) == sorted([b"", *items[:8], b"nobody"])
    scores = ranked["scores"][0].numpy()
    assert np.all(np.diff(scores) <= 0)
    given = loaded["ranking"].signatures["score"](**inputs)["scores"][0]
    by_id = dict(zip([b"", *items[:8], b"nobody"], given.numpy(), strict=True))
    np.testing.assert_allclose([by_id[i] for i in ids], scores, rtol=1e-5)


@pytest.mark.parametrize("name", ["retrieval", "retrieval_exact"])
def test_seen_and_excluded_items_never_come_back(
    loaded: dict[str, Any], items: list[bytes], name: str
) -> None:
    history = items[:40]
    first = retriever(loaded, name)(**inputs_of([history]))
    found = list(first["candidate_ids"][0].numpy())
    assert len(set(found)) == K
    assert not set(found) & set(history)
    inputs = inputs_of([history], excluded_ids=[found[:20] + [b"nobody"]])
    second = loaded[name].signatures["with_exclusions"](**inputs)
    again = list(second["candidate_ids"][0].numpy())
    assert not set(again) & (set(history) | set(found[:20]))
    assert len(set(again)) == K


def test_a_list_is_padded_once_the_catalogue_is_used_up(
    loaded: dict[str, Any], items: list[bytes]
) -> None:
    answer = retriever(loaded)(**inputs_of([items[5:]]))
    found = list(answer["candidate_ids"][0].numpy())
    assert sorted(found[:5]) == sorted(items[:5])
    assert found[5:] == [b""] * (K - 5)


def test_padding_on_either_side_and_batching_change_nothing(
    loaded: dict[str, Any], items: list[bytes]
) -> None:
    long = items[:30]
    rows = [
        [*long[:2], *[b""] * 28],
        [*[b""] * 28, *long[:2]],
        [b"", long[0], b"", long[1], *[b""] * 26],
        long,
    ]
    together = retriever(loaded)(**inputs_of(rows))["scores"].numpy()
    np.testing.assert_allclose(together[0], together[1], rtol=1e-4)
    np.testing.assert_allclose(together[0], together[2], rtol=1e-4)
    alone = retriever(loaded)(**inputs_of([long[:2]]))["scores"].numpy()
    np.testing.assert_allclose(together[0], alone[0], rtol=1e-4, atol=1e-5)
    last = retriever(loaded)(**inputs_of([long]))["scores"].numpy()
    np.testing.assert_allclose(together[3], last[0], rtol=1e-4, atol=1e-5)
    assert not np.allclose(together[0], together[3])


def test_nothing_known_is_answered_too(loaded: dict[str, Any]) -> None:
    for history in ([[]], [[b""]], [[b"nobody", "ünïcode\0".encode()]]):
        answer = retriever(loaded)(**inputs_of(history))
        assert len(set(answer["candidate_ids"][0].numpy())) == K
        assert np.all(np.isfinite(answer["scores"]))


def test_the_fused_model_answers_as_two_calls_do(
    loaded: dict[str, Any], items: list[bytes]
) -> None:
    query = inputs_of([[items[4], items[9]], [b"", b""]])
    excluded = tf.constant([[items[0]], [b""]])
    fused = loaded["recommender"].signatures["serving_default"](
        excluded_ids=excluded, **query
    )
    retrieved = loaded["retrieval"].signatures["with_exclusions"](
        excluded_ids=excluded, **query
    )
    ranked = retriever(loaded, "ranking")(
        candidate_ids=retrieved["candidate_ids"], **query
    )
    np.testing.assert_array_equal(fused["item_ids"], ranked["candidate_ids"])
    np.testing.assert_allclose(
        fused["scores"], ranked["scores"], rtol=1e-4, atol=1e-5
    )


def test_a_described_item_gets_the_embedding_that_is_indexed(
    tiny_run: Run, loaded: dict[str, Any], items: list[bytes]
) -> None:
    prepared = tiny_run.prepared()
    embeddings = np.load(tiny_run.index() / "embeddings.npy")
    row = 7
    genres = prepared.vocabularies["items.genres"]
    described = {
        "item_id": tf.constant([items[row - 2], b"unseen", b"unseen"]),
        "item_title": tf.constant([prepared.items.titles[row]] * 2 + [""]),
        "item_genres": tf.constant(
            [
                [
                    genres[i - 2] if i >= 2 else ""
                    for i in prepared.items.features["genres"][row]
                ]
            ]
            * 2
            + [[genres[-1], ""]]
        ),
        "item_year": tf.constant(
            [
                prepared.items.features["year"][row] * spec.std + spec.mean
                for spec in prepared.items.specs
                if spec.name == "year"
            ]
            * 3,
            tf.float32,
        ),
    }
    answer = loaded["retrieval"].signatures["candidate_embedding"](**described)
    found = answer["embedding"].numpy()
    np.testing.assert_allclose(found[0], embeddings[row], rtol=1e-3, atol=1e-4)
    # Unseen items differ by their features alone.
    assert not np.allclose(found[1], found[2], atol=1e-3)


def test_diversity_changes_the_order_and_none_of_it_does_not(
    loaded: dict[str, Any], items: list[bytes]
) -> None:
    model = loaded["recommender"].signatures
    inputs = inputs_of([[b"", *items[:3]]], excluded_ids=[[b""]])
    plain = model["serving_default"](**inputs)
    ids = plain["item_ids"].numpy()[0].tolist()
    score = dict(zip(ids, plain["scores"].numpy()[0], strict=True))
    lists = []
    for diversity in (0.0, 0.5, 1.0):
        answer = model["with_diversity"](
            diversity=tf.constant([diversity]), **inputs
        )
        lists.append(answer["item_ids"].numpy()[0].tolist())
        assert sorted(lists[-1]) == sorted(ids)
        np.testing.assert_allclose(
            answer["scores"].numpy()[0],
            [score[item] for item in lists[-1]],
            rtol=1e-4,
            atol=1e-4,
        )
    assert lists[0] == ids
    # The most relevant stays in front; what follows differs from it more.
    assert lists[1][0] == ids[0]
    assert lists[2] != ids


def test_similar_items_are_in_the_order_of_the_cosine(
    loaded: dict[str, Any], items: list[bytes]
) -> None:
    model = loaded["retrieval"].signatures
    answer = model["similar_items"](item_id=tf.constant(items[:5]))
    scores = answer["scores"].numpy()
    assert (np.diff(scores, axis=1) <= 1e-6).all()
    assert scores.max() <= 1.0 + 1e-5


def test_similar_items_leave_the_item_itself_out(
    loaded: dict[str, Any], items: list[bytes]
) -> None:
    function = loaded["retrieval"].signatures["similar_items"]
    answer = function(item_id=tf.constant(items[:5]))["candidate_ids"].numpy()
    for item, similar in zip(items, answer, strict=False):
        assert item not in similar
        assert len(set(similar)) == K


@pytest.mark.parametrize("name", signatures.BUNDLE)
def test_warm_up_requests_run_and_cover_every_signature(
    exports: Path, loaded: dict[str, Any], name: str
) -> None:
    path = exports / name / signatures.EXTRA_ASSETS / signatures.WARMUP_REQUESTS
    used = set()
    for record in tf.data.TFRecordDataset(str(path)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        used.add(request.model_spec.signature_name)
        function = loaded[name].signatures[request.model_spec.signature_name]
        function(
            **{
                key: tf.io.parse_tensor(value.SerializeToString(), value.dtype)
                for key, value in request.inputs.items()
            }
        )
    assert used == set(signatures.SIGNATURES[name])
