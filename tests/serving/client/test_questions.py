"""What the client takes for a question, and how it refuses the rest.

One rule for both clients and for both ways to an answer: one call to the
fused model, or two stages.
"""

import math
import pickle

import numpy as np
import pytest

from serving.client import (
    InvalidRequest,
    Query,
    Retry,
    ServingError,
    Tls,
    parts,
)
from tests.support.fake_server import FakeServer

BOTH = ["retrieval", "ranking", "recommender"]


@pytest.fixture(params=["auto", "off"], ids=["fused", "two stages"])
def client(request, make):
    with FakeServer(BOTH) as server:
        with make(server.target, fused=request.param) as found:
            yield found


@pytest.mark.parametrize(
    "ids",
    [
        ["i19", "i18"],
        ("i19", "i18"),
        np.array(["i19", "i18"]),
        np.array(["i19", "i18"], object),
        {"i19": 1, "i18": 2}.keys(),
    ],
    ids=["list", "tuple", "array", "object array", "keys"],
)
def test_any_list_of_ids_excludes_the_same(client, ids):
    assert client.recommend(Query(excluded_ids=ids)).item_ids[-1] != "i19"
    answer = client.recommend(Query(excluded_ids=ids), k=8)

    assert not {"i19", "i18"} & set(answer.item_ids)
    assert len(answer.item_ids) == 8


def test_a_generator_is_read_once_and_kept():
    query = Query(history=(f"i{n}" for n in range(3)))

    assert query.history == ("i0", "i1", "i2")
    assert query == Query(history=["i0", "i1", "i2"])
    assert pickle.loads(pickle.dumps(query)) == query


def test_numpys_strings_come_back_as_plain_ones(client):
    answer = client.rank(Query(), np.array(["i3", "i1"]), in_order=True)

    assert answer.item_ids == ("i3", "i1")
    assert {type(item) for item in answer.item_ids} == {str}


WRONG_LISTS = {
    "a string": "i00431",
    "bytes": b"i4",
    "None": None,
    "a number": 7,
    "numbers": [1, 2],
    "NumPy's numbers": np.arange(3),
    "bytes inside": [b"i4"],
    "None inside": ["i4", None],
    "nested": [["i4"]],
    "two dimensions": np.array([["i4"]]),
    "no dimension": np.array("i4"),
    "a mapping": {"i4": 1},
    "half a surrogate pair": ["\ud83d"],
}


@pytest.mark.parametrize("wrong", WRONG_LISTS.values(), ids=WRONG_LISTS)
def test_what_is_no_list_of_ids_is_refused(client, wrong):
    for ask in (
        lambda: client.recommend(Query(history=wrong)),
        lambda: client.recommend(Query(excluded_ids=wrong)),
        lambda: client.rank(Query(), wrong),
        lambda: client.rank([Query()], [wrong]),
        lambda: client.status(wrong),
    ):
        with pytest.raises(InvalidRequest, match="must be") as caught:
            ask()
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("wrong", ["i1", ["i1"], None, 7, np.array("i1")])
def test_several_queries_take_a_list_of_lists(client, wrong):
    with pytest.raises(InvalidRequest, match="`candidate_ids.0.` must be a"):
        client.rank([Query()], wrong)


def test_a_set_has_no_order():
    assert set(Query(excluded_ids={"a", "b"}).excluded_ids) == {"a", "b"}
    with pytest.raises(InvalidRequest, match="A set has no order"):
        Query(history={"a", "b"})


def test_a_refusal_says_what_to_do():
    with pytest.raises(
        InvalidRequest,
        match=r"`history\[1\]` must be a string. Received: 7 of type int. "
        r"Convert it with str\(\).",
    ):
        Query(history=["i1", 7])


@pytest.mark.parametrize("wrong", [None, 7, b"u1", ["u1"], "\udfff"], ids=repr)
def test_a_user_is_one_id(wrong):
    with pytest.raises(InvalidRequest, match="`user_id` must be"):
        Query(user_id=wrong)


@pytest.mark.parametrize(
    "wrong",
    [0, -1, True, "10", 10.0, float("nan"), b"1", [3], 2**63],
    ids=repr,
)
def test_k_is_a_whole_number(client, wrong):
    for ask in (
        lambda: client.recommend(Query(), k=wrong),
        lambda: client.retrieve(Query(), k=wrong),
        lambda: client.similar_items("i1", k=wrong),
    ):
        with pytest.raises(InvalidRequest, match="`k` must be a whole number"):
            ask()


def test_k_may_be_numpys(client):
    assert len(client.recommend(Query(), k=np.int64(3)).item_ids) == 3
    with pytest.raises(InvalidRequest, match="Received: None"):
        client.recommend(Query(), k=None)


@pytest.mark.parametrize("wrong", ["1", 1.0, -1, True], ids=repr)
def test_a_version_is_a_whole_number(client, wrong):
    with pytest.raises(InvalidRequest, match="`version` must be a whole"):
        client.rank(Query(), ["i1"], version=wrong)


@pytest.mark.parametrize("wrong", [None, 7, "u1", {"user_id": "u1"}], ids=repr)
def test_a_query_is_a_query(client, wrong):
    for ask in (client.recommend, client.retrieve):
        for given in (wrong, [Query(), wrong]):
            with pytest.raises(InvalidRequest, match="A query must be"):
                ask(given)


@pytest.mark.parametrize("wrong", [7, None, [7], b"i1"], ids=repr)
def test_similar_items_takes_ids(client, wrong):
    with pytest.raises(InvalidRequest, match="`item_id"):
        client.similar_items(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"diversity": value} for value in (-0.1, 1.5, math.nan, "0.5", True)),
        {"features": None},
    ],
)
def test_other_parts_of_a_query_are_checked_too(wrong):
    with pytest.raises(InvalidRequest, match=f"`{next(iter(wrong))}` must"):
        Query(**wrong)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"hour": 2**63}, "'hour' must be int64"),
        ({"hour": 1.5}, "'hour' must be int64. Received: .1.5."),
        ({"age": 1e300}, "1e.300 does not fit"),
        ({"tags": [1]}, "`tags` must be a string"),
        ({"country": b"se"}, "`country` must be a string"),
        ({"country": ["se"]}, "`country` must be a string"),
        ({"hour": [1, 2]}, "'hour' must be int64"),
    ],
)
def test_a_feature_must_fit(client, features, message):
    with pytest.raises(InvalidRequest, match=message):
        client.recommend(Query(features=features))


def test_features_may_be_numpys(client):
    features = {
        "hour": np.int64(7),
        "age": np.float32(1.5),
        "tags": np.array(["a", "b"]),
    }
    assert client.recommend(Query(features=features)).degraded == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fused": "yes"}, '"auto" or "off"'),
        ({"timeout_seconds": -1}, "Received: -1"),
        ({"popular": "/none"}, "Received: '/none'"),
        ({"popular": None}, "`popular` must be a list of ids"),
        ({"popular": [1]}, "`popular.0.` must be a string"),
        ({"retrieval_model": "retreival"}, "must be retrieval or retrieval_e"),
        ({"version_label": 3}, "`version_label` must be a string"),
        ({"tls": True}, "`tls` must be a Tls. Received: True"),
        (
            {"options": {"grpc.ssl_target_name_override": "a"}},
            "nothing would be encrypted",
        ),
        ({"metadata": {"a b": "c"}}, "Received: the name 'a b'"),
        ({"options": "a=b"}, "`options` must map names"),
        ({"options": {1: 2}}, "`options` must map names"),
        ({"tls": Tls(ca=5)}, "A TLS file must be readable. Received: '5'"),
        ({"retries": 3}, "`retries` must be a Retry. Received: 3"),
        ({"interceptors": None}, "An interceptor must be a grpc"),
        ({"interceptors": [print]}, "An interceptor must be a grpc"),
    ],
)
def test_options_are_checked_at_once(make, options, message):
    with pytest.raises(ServingError, match=message):
        with make("x:1", **options):
            pass


@pytest.mark.parametrize(
    "wrong",
    [
        *(None, 5, b"x:1", "", {}, [], [5], {"ranking": 5}, "x:1,y:2"),
        {"ranking": ""},
        *(" x:1", "http://x:1", "https://x:1"),
    ],
    ids=repr,
)
def test_a_target_is_an_address(make, wrong):
    with pytest.raises(InvalidRequest, match="A target must be a gRPC addr"):
        with make(wrong):
            pass


@pytest.mark.parametrize(
    "wrong",
    [
        *({"attempts": 0}, {"attempts": "3"}, {"attempts": 2.5}),
        *({"multiplier": "x"}, {"swap_wait_seconds": -1}),
        {"initial_backoff_seconds": float("nan")},
    ],
    ids=repr,
)
def test_retries_are_numbers(wrong):
    with pytest.raises(InvalidRequest, match=f"`{next(iter(wrong))}` must be"):
        Retry(**wrong)


def test_one_long_history_does_not_widen_the_batch(make):
    long = [f"x{n}" for n in range(10_000)] + ["i19"]
    queries = [Query(history=["i18", f"x{n}"]) for n in range(100)]
    queries.insert(40, Query(history=long, excluded_ids=["i17"]))
    with FakeServer(BOTH) as server, make(server.target) as client:
        answers = client.recommend(queries, k=3)
        asked = server.requests[:]
        alone = [client.recommend(query, k=3) for query in queries]

    assert [answer.item_ids for answer in answers] == [
        answer.item_ids for answer in alone
    ]
    assert answers[40].item_ids == ("i18", "i16", "i15")
    cells = [inputs["history"].size for _, _, inputs in asked]
    # One rectangle would have had 1,010,101 cells, nearly all of them empty.
    assert sorted(cells) == [200, 10_001]


def test_many_long_lists_are_asked_in_bounded_calls(make):
    queries = [Query(history=["i1"] * 9_000) for _ in range(70)]
    lists = [["i2", "i1"]] * 69 + [["i3"]]
    with FakeServer() as server, make(server.target) as client:
        answers = client.rank(queries, lists)

    assert [answer.item_ids for answer in answers] == [("i1", "i2")] * 69 + [
        ("i3",)
    ]
    sizes = [inputs["history"].size for _, _, inputs in server.requests]
    assert max(sizes) <= parts.MOST_CELLS
    assert sum(sizes) == 70 * 9_000


@pytest.mark.parametrize("part", ["history", "excluded_ids"])
def test_an_ordinary_batch_stays_one_call(make, part):
    queries = [Query(**{part: ["i1"] * (n % 60)}) for n in range(500)]
    with FakeServer() as server, make(server.target) as client:
        client.retrieve(queries)

    assert len(server.requests) == 1
