"""The client's answers: both clients, all methods, against arithmetic."""

import math
import subprocess
import sys

import numpy as np
import pytest

from serving.client import InvalidRequest, Query, ServingError
from tests.support.fake_server import FakeServer


def test_retrieve_gives_the_best_first(client):
    answer = client.retrieve(Query(history=["i19", "i3"]), k=3)

    assert answer.item_ids == ("i18", "i17", "i16")
    assert answer.scores == (18.0, 17.0, 16.0)
    assert answer.version == 1
    assert answer.latency_ms > 0


def test_retrieve_leaves_out_what_is_excluded(client):
    answer = client.retrieve(Query(history=["i19"], excluded_ids=["i18"]), 2)

    assert answer.item_ids == ("i17", "i16")


def test_a_batch_is_one_call_and_keeps_its_order(client, server):
    answers = client.recommend(
        [Query(history=["i19"]), Query(), Query(history=["i18", "i17"])], k=2
    )

    assert [answer.item_ids for answer in answers] == [
        ("i11", "i12"),
        ("i12", "i13"),
        ("i10", "i11"),
    ]
    assert server.calls["Predict", "retrieval"] == 1
    assert server.calls["Predict", "ranking"] == 1


def test_no_queries_need_no_call(client, server):
    assert client.recommend([]) == []
    assert not server.calls


def test_rank_orders_the_candidates_and_drops_padding(client):
    answers = client.rank(
        [Query(), Query()], [["i3", "i1", "i2"], ["i5"]], version=1
    )

    assert answers[0].item_ids == ("i1", "i2", "i3")
    assert answers[0].scores == (-1.0, -2.0, -3.0)
    assert answers[1].item_ids == ("i5",)


def test_rank_in_order_gives_scores_and_ratings(client):
    answer = client.rank(Query(), ["i4", "i2"], in_order=True)

    assert answer.item_ids == ("i4", "i2")
    assert answer.scores == (-4.0, -2.0)
    assert answer.predicted_ratings == (-1.0, -0.5)


def test_recommend_is_retrieval_then_ranking(client, server):
    answer = client.recommend(Query("u1", ["i19"]), k=4)

    # Retrieval's eight best, which ranking turns round.
    assert answer.item_ids == ("i11", "i12", "i13", "i14")
    assert answer.scores == (-11.0, -12.0, -13.0, -14.0)
    assert answer.degraded == ""
    assert answer.version == 1
    assert answer.retrieval_ms > 0
    assert answer.ranking_ms > 0
    assert answer.latency_ms == answer.retrieval_ms + answer.ranking_ms
    assert not answer.fused
    assert [model for model, _, _ in server.requests] == [
        "retrieval",
        "ranking",
    ]


def test_similar_items(client):
    assert client.similar_items("i19", k=2).item_ids == ("i18", "i17")
    assert [
        answer.item_ids for answer in client.similar_items(["i19", "x"], k=1)
    ] == [("i18",), ("i19",)]


def test_status_lists_versions_and_skips_models_not_there(client, server):
    server.versions["ranking"] = [1, 2]

    assert [(row.model, row.version, row.state) for row in client.status()] == [
        ("retrieval", 1, "AVAILABLE"),
        ("ranking", 2, "AVAILABLE"),
        ("ranking", 1, "AVAILABLE"),
    ]


def test_missing_features_go_out_as_missing(client, server):
    client.retrieve(
        [
            Query("u1", ["i1", "i2"], {"age": 30, "tags": ["a", "b"]}),
            Query(features={"hour": 7, "country": "se", "tags": "c"}),
        ]
    )

    _, _, inputs = server.requests[-1]
    assert inputs["user_id"].tolist() == [b"u1", b""]
    assert inputs["history"].tolist() == [[b"i1", b"i2"], [b"", b""]]
    assert inputs["tags"].tolist() == [[b"a", b"b"], [b"c", b""]]
    assert inputs["country"].tolist() == [b"", b"se"]
    assert inputs["hour"].tolist() == [0, 7]
    assert inputs["age"][0] == 30 and math.isnan(inputs["age"][1])
    assert inputs["age"].dtype == np.float32
    assert inputs["hour"].dtype == np.int64


def test_an_empty_history_still_has_a_column(client, server):
    client.retrieve(Query())

    assert server.requests[-1][2]["history"].tolist() == [[b""]]


def test_ids_of_any_bytes_come_back_as_they_went(client, server):
    odd = "\udcff\x00ü–"

    client.retrieve(Query(user_id=odd))

    assert server.requests[-1][2]["user_id"].tolist() == [
        b"\xff\x00" + "ü–".encode()
    ]


def test_signatures_are_asked_for_once(client, server):
    for _ in range(3):
        client.recommend(Query())

    # Once more whether there are labels.
    assert server.calls["GetModelMetadata", "retrieval"] == 2
    assert server.calls["GetModelMetadata", "ranking"] == 1


def test_a_new_version_with_other_features_is_learned(client, server):
    takes = server.signatures["retrieval"]
    client.retrieve(Query(features={"age": 1}))
    server.versions["retrieval"] = [2]
    takes["serving_default"] = {
        key: value
        for key, value in takes["serving_default"].items()
        if key != "age"
    }

    answer = client.retrieve(Query())

    assert answer.version == 2
    assert "age" not in server.requests[-1][2]

    # And one that takes more: the application may already send it.
    server.versions["retrieval"] = [3]
    takes["serving_default"] |= {"mood": takes["serving_default"]["country"]}

    client.retrieve(Query(features={"mood": "calm"}))

    assert server.requests[-1][2]["mood"].tolist() == [b"calm"]


def test_one_fused_call_where_recommender_is_deployed(make):
    with FakeServer(["retrieval", "ranking", "recommender"]) as server:
        with make(server.target) as client:
            answer = client.recommend(Query(history=["i19"]), k=2)

            assert answer.fused
            assert answer.item_ids == ("i18", "i17")
            assert answer.ranking_ms == 0
            assert server.calls["Predict", "retrieval"] == 0

            # More than the fused model was exported for takes two calls.
            assert not client.recommend(Query(), k=9).fused

        with make(server.target, fused="off") as client:
            assert not client.recommend(Query(), k=2).fused


def test_diversity_is_the_fused_models_to_give(make):
    queries = [Query(diversity=0.3), Query()]
    with FakeServer(["retrieval", "ranking", "recommender"]) as server:
        with make(server.target) as client:
            answers = client.recommend(queries, k=2)
            assert [answer.degraded for answer in answers] == ["", ""]
            client.recommend(Query(), k=2)
        asked = [
            (signature, inputs) for _, signature, inputs in server.requests
        ]
        assert [signature for signature, _ in asked] == [
            "with_diversity",
            "serving_default",
        ]
        np.testing.assert_allclose(asked[0][1]["diversity"], [0.3, 0.0])
        with make(server.target, fused="off") as client:
            answers = client.recommend(queries, k=2)
    # Two calls cannot: the answer says so, for the query that asked.
    assert [answer.degraded for answer in answers] == [
        "diversity unavailable",
        "",
    ]


def test_a_missing_fused_model_is_not_asked_for_every_time(client, server):
    for _ in range(3):
        client.recommend(Query())

    assert server.calls["GetModelMetadata", "recommender"] == 1


def test_models_may_live_on_different_servers(make):
    with FakeServer(["retrieval"]) as first, FakeServer(["ranking"]) as second:
        targets = {"ranking": second.target, "*": first.target}
        with make(targets) as client:
            answer = client.recommend(Query())

        assert answer.degraded == ""
        assert first.calls["Predict", "retrieval"] == 1
        assert second.calls["Predict", "ranking"] == 1


def test_replicas_take_turns(make):
    with FakeServer() as first, FakeServer() as second:
        with make([first.target, second.target]) as client:
            for _ in range(10):
                client.retrieve(Query())

        assert first.calls["Predict", "retrieval"] >= 4
        assert second.calls["Predict", "retrieval"] >= 4


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda client: client.retrieve(Query(features={"aeg": 3})),
            "Received: 'aeg' .from Query.features.. Did you mean 'age'",
        ),
        (
            lambda client: client.retrieve(Query(features={"age": "old"})),
            "Feature 'age' must be float. Received: .'old'.",
        ),
        (
            lambda client: client.retrieve("u1"),
            "must be a serving.client.Query. Received: 'u1'",
        ),
        (
            lambda client: client.rank([Query(), Query()], [["i1"]]),
            "2 queries and 1 lists",
        ),
        (
            lambda client: client.retrieve(Query(), timeout_seconds=0),
            "`timeout_seconds` must be positive. Received: 0",
        ),
    ],
)
def test_mistakes_are_named(client, ask, message):
    with pytest.raises(InvalidRequest, match=message) as caught:
        ask(client)

    assert caught.value.code == "INVALID_ARGUMENT"


def test_an_unknown_model_is_named(make):
    with FakeServer(["ranking"]) as server, make(server.target) as client:
        with pytest.raises(ServingError, match="status` lists") as caught:
            client.retrieve(Query())

    assert caught.value.code == "NOT_FOUND"
    assert "Latest(retrieval)" in str(caught.value)


def test_a_missing_server_is_named(make):
    with make("127.0.0.1:1", timeout_seconds=1) as client:
        with pytest.raises(ServingError, match="Start one") as caught:
            client.recommend(Query())

    assert caught.value.code == "UNAVAILABLE"
    assert "from 127.0.0.1:1" in str(caught.value)


def test_the_command_and_so_the_import_is_light():
    code = (
        "import runpy, sys; sys.argv[1:] = ['--help']\n"
        "try: runpy.run_module('serving.client', run_name='__main__')\n"
        "except SystemExit: print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}

    assert "numpy" in loaded
    heavy = {"tensorflow", "tensorflow_serving", "pandas", "scipy", "pyarrow"}
    assert not loaded & heavy
