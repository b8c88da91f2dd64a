"""What rides with a call and what comes back: headers, labels, kinds."""

import copy
import json
import pickle

import grpc
import numpy as np
import pytest

from serving.client import (
    RANKING_UNAVAILABLE,
    AsyncRecommenderClient,
    DeadlineExceeded,
    Degraded,
    InvalidRequest,
    ModelNotFound,
    NotPermitted,
    Overloaded,
    Query,
    RecommenderClient,
    Retry,
    ServingError,
    Unavailable,
    messages,
)
from serving.client import __main__ as command
from serving.client.command import tables
from serving.wire import serving_pb2, tensors
from tests.support.fake_server import FakeServer

BOTH = ["retrieval", "ranking", "recommender"]


@pytest.fixture
def server():
    with FakeServer() as found:
        yield found


def test_headers_ride_with_every_call(server, make):
    token = {"Authorization": "Bearer abc", "trace-bin": b"\x00\xff"}
    with make(server.target, metadata=token) as client:
        client.recommend(Query())
        client.status(["ranking"])

    own = [("authorization", "Bearer abc"), ("trace-bin", b"\x00\xff")]
    # Labels and signatures of two models, an answer of each, and the status.
    assert len(server.metadata) == 7
    assert all(headers == own for headers in server.metadata)


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, own: client.retrieve(Query(), metadata=own),
        lambda client, own: client.rank(Query(), ["i1"], metadata=own),
        lambda client, own: client.recommend(Query(), metadata=own),
        lambda client, own: client.similar_items("i1", metadata=own),
        lambda client, own: client.status(metadata=own),
    ],
    ids=["retrieve", "rank", "recommend", "similar_items", "status"],
)
def test_a_question_may_have_headers_of_its_own(server, make, ask):
    with make(server.target, metadata={"tenant": "a"}) as client:
        ask(client, [("trace", "1"), ("trace", "2")])
        own = server.metadata[:]
        server.metadata.clear()
        client.retrieve(Query())

    expected = [("tenant", "a"), ("trace", "1"), ("trace", "2")]
    assert own and all(headers == expected for headers in own)
    assert server.metadata[0] == [("tenant", "a")]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("a=b", "Received: str"),
        (["ab"], "a str among the pairs"),
        ({"grpc-timeout": "1S"}, "the name 'grpc-timeout'"),
        ({"a": "\n"}, "a str for 'a'"),
        ({"a": "é"}, "a str for 'a'"),
        ({"a": b"x"}, "a bytes for 'a'"),
        ({"a-bin": "x"}, "a str for 'a-bin'"),
        ({"authorization": 1}, "a int for 'authorization'"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused(server, make, wrong, message):
    with make(server.target) as client:
        with pytest.raises(InvalidRequest, match=message):
            client.retrieve(Query(), metadata=wrong)
    assert not server.calls


def test_a_secret_is_not_shown():
    with pytest.raises(InvalidRequest) as caught:
        RecommenderClient("x:1", metadata={"authorization": "Bearer s3cret\n"})
    assert "s3cret" not in str(caught.value)


class Sync(grpc.UnaryUnaryClientInterceptor):
    """Adds a header and keeps a diary, as tracing does."""

    def __init__(self, name, diary):
        self.name, self.diary = name, diary

    def intercept_unary_unary(self, continuation, details, request):
        self.diary.append((self.name, details.method.rpartition("/")[2]))
        return continuation(self.changed(details), request)

    def changed(self, details):
        return details._replace(
            metadata=[*(details.metadata or ()), ("by", self.name)]
        )


class Async(grpc.aio.UnaryUnaryClientInterceptor):
    """The same for asyncio."""

    def __init__(self, name, diary):
        self.name, self.diary = name, diary

    async def intercept_unary_unary(self, continuation, details, request):
        self.diary.append(
            (self.name, details.method.decode().rpartition("/")[2])
        )
        sent = grpc.aio.Metadata(*(details.metadata or ()), ("by", self.name))
        return await continuation(details._replace(metadata=sent), request)


def test_interceptors_see_every_call_first_one_outermost(server, make):
    diary = []
    kind = Sync if make is RecommenderClient else Async
    with make(
        server.target, interceptors=[kind("a", diary), kind("b", diary)]
    ) as client:
        client.retrieve(Query(), metadata={"tenant": "t"})

    assert diary == [
        *2 * [("a", "GetModelMetadata"), ("b", "GetModelMetadata")],
        ("a", "Predict"),
        ("b", "Predict"),
    ]
    assert server.metadata[-1] == [("tenant", "t"), ("by", "a"), ("by", "b")]


def test_an_interceptor_of_the_other_kind_is_refused():
    with pytest.raises(InvalidRequest, match="must be a grpc.aio"):
        AsyncRecommenderClient("x:1", interceptors=[Sync("a", [])])
    with pytest.raises(InvalidRequest, match="must be a grpc.UnaryUnary"):
        RecommenderClient("x:1", interceptors=[Async("a", [])])


def test_a_label_pins_every_stage(make):
    with FakeServer(BOTH) as server:
        for model in BOTH:
            server.versions[model] = [1, 2, 3]
            server.labels[model] = {"stable": 2}
        with make(server.target, version_label="stable") as client:
            fused = client.recommend(Query(), k=2)
            assert (fused.version, fused.fused) == (2, True)
            assert client.recommend(Query(), k=9).version == 2
            assert client.retrieve(Query()).version == 2
            assert client.rank(Query(), ["i1"]).version == 2
            assert client.rank(Query(), ["i1"], version=3).version == 3
            assert client.similar_items("i1").version == 2
            server.labels = {model: {"stable": 3} for model in BOTH}
            assert client.recommend(Query(), k=2).version == 3
        with make(server.target) as client:
            server.labels = {}
            assert client.recommend(Query(), k=2).version == 3


def test_a_label_that_only_the_stages_have(server, make):
    """A server words a model that it has not got as an unknown label."""
    for model in ("retrieval", "ranking"):
        server.labels[model] = {"stable": 1}
    with make(server.target, version_label="stable") as client:
        answer = client.recommend(Query())
        assert (answer.degraded, answer.fused) == ("", False)
    with make(server.target, version_label="canary") as client:
        with pytest.raises(ModelNotFound, match="version label: canary"):
            client.recommend(Query())


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("INVALID_ARGUMENT", InvalidRequest),
        ("FAILED_PRECONDITION", InvalidRequest),
        ("NOT_FOUND", ModelNotFound),
        ("DEADLINE_EXCEEDED", DeadlineExceeded),
        ("UNAVAILABLE", Unavailable),
        ("RESOURCE_EXHAUSTED", Overloaded),
        ("UNAUTHENTICATED", NotPermitted),
        ("PERMISSION_DENIED", NotPermitted),
        ("INTERNAL", ServingError),
    ],
)
def test_an_error_has_the_class_of_its_code(server, make, code, kind):
    server.faults["retrieval"] = code
    with make(server.target, retries=Retry(attempts=1)) as client:
        with pytest.raises(ServingError) as caught:
            client.retrieve(Query())

    assert type(caught.value) is kind
    assert caught.value.code == code
    for twin in (copy.copy, lambda e: pickle.loads(pickle.dumps(e))):
        found = twin(caught.value)
        assert (type(found), found.code) == (kind, code)
        assert str(found) == str(caught.value)


def test_answers_are_as_long_as_what_was_asked_for():
    response = serving_pb2.PredictResponse()
    output = response.outputs["item_ids"]
    # More strings than the inputs of one request may be.
    tensors.encode(np.array([b"i1"], object), output)
    output.tensor_shape.dim[0].size = 2_700_000
    assert messages.array(response, "item_ids").shape == (2_700_000,)
    output.tensor_shape.dim[0].size = 10**12
    with pytest.raises(ServingError, match="must be a tensor that") as caught:
        messages.array(response, "item_ids")
    assert caught.value.code == "INTERNAL"


def test_degraded_is_an_enum_that_reads_as_text(server, make):
    with make(server.target) as client:
        whole = client.recommend(Query())
        server.faults["ranking"] = "INTERNAL"
        answer = client.recommend(Query())

    assert whole.degraded is Degraded.NOTHING and not whole.degraded
    assert answer.degraded is Degraded.RANKING_UNAVAILABLE
    assert answer.degraded is RANKING_UNAVAILABLE
    # What was written when it was text.
    assert answer.degraded == "ranking unavailable"
    assert f"{answer.degraded}" == str(answer.degraded) == "ranking unavailable"
    assert json.loads(json.dumps(tables.document(answer)))["degraded"] == (
        "ranking unavailable"
    )


def run(server, capsys, *arguments):
    status = command.main([*arguments, "--target", server.target])
    return status, capsys.readouterr().err


def test_the_command_line_sends_headers_and_labels(server, capsys):
    server.labels["retrieval"] = {"stable": 1}

    assert run(
        *(server, capsys, "retrieve", "--label", "stable"),
        *("--header", "authorization=Bearer a=b"),
    ) == (0, "")
    assert server.metadata[-1] == [("authorization", "Bearer a=b")]
    status, err = run(server, capsys, "status", "--header", "tenant")
    assert status == 2 and "--header must be NAME=VALUE" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--key", "k.pem"], "`certificate` and `private_key` go together"),
        (["--certificate", "c.pem"], "go together"),
        (["--server-name", "models.test"], "nothing would be encrypted"),
    ],
)
def test_half_of_tls_is_refused_not_left_out(server, capsys, options, message):
    status, err = run(server, capsys, "status", *options)

    assert status == 2 and message in err
    assert not server.calls
