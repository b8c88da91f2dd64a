"""The commands ask what the client asks: they are run, not read."""

import json
import shlex

import numpy as np

from pipeline.explore import commands
from serving.client import Query, RecommenderClient
from serving.wire import protoset
from tests.support import explorer_cases, protosets

QUERY = Query(
    "o'neil",
    ["i1", "i2"],
    {"age": 30.0, "hour": 7, "tags": ["a", "b"], "country": ""},
    ["i19"],
    0.5,
)


def _written(query: Query, target: str) -> commands.Commands:
    taken = commands.fetch(target)
    return commands.write(query, taken, target, "here:8501", "http://page/")


def _sent(query: Query):
    """What the client sends and gets for a query."""
    with explorer_cases.model_server() as server:
        written = _written(query, server.target)
        with RecommenderClient(server.target) as client:
            answer = client.recommend(query, 5)
        model, signature, inputs = server.requests[-1]
        assert model == "recommender"
        return written, signature, inputs, answer


def _same(one: np.ndarray, other: np.ndarray) -> None:
    assert one.shape == other.shape
    assert np.array_equal(one, other, equal_nan=one.dtype != object)


def test_curl_sends_the_same_inputs() -> None:
    for query in (QUERY, Query(), Query(history=["é"])):
        written, signature, inputs, _ = _sent(query)
        program, url, option, body = shlex.split(
            written.curl.replace("\\\n", "")
        )
        assert (program, option) == ("curl", "-d")
        assert url == "http://here:8501/v1/models/recommender:predict"
        asked = json.loads(body)
        assert asked["signature_name"] == signature
        assert asked["inputs"].keys() == inputs.keys()
        for name, values in inputs.items():
            given = asked["inputs"][name]
            if values.dtype == object:
                given = np.vectorize(str.encode, otypes=[object])(given)
            _same(np.array(given, values.dtype), values)


def test_grpcurl_has_all_it_needs() -> None:
    with explorer_cases.model_server() as server:
        written = _written(QUERY, server.target)
        first, second = written.grpcurl.split("\n", 1)
        assert first == "curl -sO http://page/predict.protoset"
        given = shlex.split(second.replace("\\\n", ""))
        assert given[:4] == [
            "grpcurl",
            "-plaintext",
            "-protoset",
            "predict.protoset",
        ]
        data, target, method = given[5:]
        answer = protosets.ask(protoset.protoset(), data, target, method)
        with RecommenderClient(server.target) as client:
            expected = client.recommend(QUERY, 8)
        values = answer.outputs["item_ids"].string_val
        assert [value.decode() for value in values] == list(expected.item_ids)
        mine, theirs = (inputs for *_, inputs in server.requests[-2:])
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            _same(value, theirs[name])


def test_python_is_run_as_it_stands(capsys) -> None:
    with explorer_cases.model_server() as server:
        for query in (QUERY, Query()):
            exec(_written(query, server.target).python, {})
            with RecommenderClient(server.target) as client:
                answer = client.recommend(query, 10)
            shown = f"{answer.item_ids} {answer.scores} {answer.version}"
            assert capsys.readouterr().out.strip() == shown
            # More than the fused model has: retrieval and ranking follow.
            mine, theirs = (
                inputs
                for model, _, inputs in server.requests[-6:]
                if model == "recommender"
            )
            for name, value in mine.items():
                _same(value, theirs[name])
