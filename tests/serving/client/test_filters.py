"""Queries with filters, and answers that run short."""

import pytest

from serving.client import InvalidRequest, Query, ServingError
from tests.support.fake_server import FakeServer

FILTERED = Query(history=["i18"], filters={"parity": {"even"}, "tens": ["1"]})


def test_filters_hold_in_one_call_and_in_two(make):
    queries = [FILTERED, Query(history=["i19"])]
    for models in (["retrieval", "ranking"], ["retrieval", "recommender"]):
        with FakeServer(models) as server, make(server.target) as client:
            filtered, plain = client.recommend(queries, k=8)
            assert sorted(filtered.item_ids) == ["i10", "i12", "i14", "i16"]
            assert not filtered.degraded
            assert len(plain.item_ids) == 8
            assert client.retrieve(FILTERED).item_ids[:2] == ("i16", "i14")
            client.recommend(queries[1])
        used = [signature for _, signature, _ in server.requests]
        # Who filters nothing asks as ever.
        assert used[0] == "with_options" and used[-1] == "serving_default"
        sent = server.requests[0][2]["allowed_tens"]
        assert sent.tolist() == [[b"1"], [b""]]


def test_filters_and_diversity_are_asked_for_together(make):
    query = Query(filters={"parity": ["odd"]}, diversity=0.5)
    with FakeServer(["recommender"]) as server, make(server.target) as client:
        assert client.recommend(query, k=1).item_ids == ("i19",)
    assert server.requests[0][2]["diversity"].tolist() == [[0.5]]


def test_a_filter_that_nothing_passes_is_an_empty_answer(client):
    unknown = Query(filters={"parity": ["evn"]})
    answer = client.recommend(unknown)
    assert answer.item_ids == ()
    assert answer.degraded == "no item passes the filters"
    assert "parity evn" in answer.reason
    assert client.retrieve(unknown).item_ids == ()


def test_popular_items_never_stand_in_for_filtered_ones(server, make):
    server.faults["retrieval"] = "UNAVAILABLE"
    with make(server.target, popular=["i1", "i2"]) as client:
        filtered, plain = client.recommend([FILTERED, Query()], k=2)
    assert plain.item_ids and plain.degraded
    assert filtered.item_ids == ()
    assert filtered.degraded == plain.degraded
    assert "Popular items are left out" in filtered.reason


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"partiy": ["even"]}, "'partiy' .from Query.filters.* 'parity'"),
        ({"parity": []}, "must name a value. Received: none for 'parity'"),
        ({"parity": "even"}, "must be a list of ids.*'even'"),
        ({"parity": [2]}, r"`filters\['parity'\]\[0\]` must be a string"),
        (["parity"], "`filters` must map item features to lists of values"),
    ],
)
def test_filters_that_cannot_be_meant_are_refused(client, filters, message):
    with pytest.raises(InvalidRequest, match=message):
        client.recommend(Query(filters=filters))


def test_a_bundle_from_before_filters_says_so(client, server):
    for model in ("retrieval", "recommender"):
        del server.signatures[model]["with_options"]
    assert client.recommend(Query()).item_ids
    with pytest.raises(ServingError, match="Query.filters needs") as caught:
        client.recommend(FILTERED)
    assert caught.value.code == "FAILED_PRECONDITION"


@pytest.mark.parametrize("k", [0, -1, True, 2.0])
def test_a_list_of_no_items_is_refused(client, k):
    for ask in (client.recommend, client.retrieve):
        with pytest.raises(InvalidRequest, match="`k` must be a whole number"):
            ask(FILTERED, k)


def test_more_items_than_there_are_give_those_that_there_are(client):
    answer = client.recommend(FILTERED, k=1_000_000)
    assert len(answer.item_ids) == 4
    assert not answer.degraded


def test_excluding_everything_leaves_nothing_and_says_so(client):
    everything = [f"i{number}" for number in range(10_000)]
    plain = client.recommend(Query(excluded_ids=everything))
    assert plain.item_ids == () and not plain.degraded
    filtered = Query(excluded_ids=everything, filters={"parity": ["even"]})
    answer = client.recommend(filtered)
    assert answer.item_ids == ()
    assert "neither seen nor excluded passes" in answer.reason
