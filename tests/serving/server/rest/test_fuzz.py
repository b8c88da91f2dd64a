"""The REST API under bodies and paths that nobody means well with."""

import gc
import io
import json
import tracemalloc

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import tests.support.serving_calls as calls
import tests.support.serving_models as models
from serving.server.rest import api, requests

PREDICT = "/v1/models/affine:predict"
VERBS = st.sampled_from(("predict", "classify", "regress"))
FAST = settings(
    max_examples=1000,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# Half surrogates too: JSON can spell them, UTF-8 cannot.
TEXT = st.text(st.characters(codec=None), max_size=8)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | TEXT
    | st.fixed_dictionaries({"b64": TEXT})
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TEXT | st.just("x"), inner, max_size=3)
    ),
    max_leaves=8,
)
BODIES = st.dictionaries(
    st.sampled_from(
        ("inputs", "instances", "signature_name", "examples", "context", "z")
    ),
    VALUES,
    max_size=3,
)


@pytest.fixture(scope="module")
def application(tmp_path_factory):
    base = tmp_path_factory.mktemp("rest_fuzz") / "affine"
    models.publish(models.originals()["affine"], base, 3)
    with calls.running("--model_name=affine", f"--model_base_path={base}") as (
        server,
        _,
    ):
        yield api.Rest(server.servicer)


def ask(application, method, path, body=b""):
    """Status and bytes of an answer, through the application's own door."""
    found = []
    chunks = application(
        {
            "REQUEST_METHOD": method,
            "REQUEST_URI": path,
            "PATH_INFO": path,
            "wsgi.input": io.BytesIO(body),
        },
        lambda status, headers: found.append((status, dict(headers))),
    )
    data = b"".join(chunks)
    ((status, headers),) = found
    assert headers["Content-Length"] == str(len(data))
    return int(status[:3]), data


def check(status, data):
    """Faults of ours would be 500; errors are JSON with one key."""
    assert status in (200, 400, 404, 501), data
    if status != 200:
        assert list(json.loads(data.decode("utf-8", "replace"))) == ["error"]


@FAST
@example(body={"inputs": "\ud800"}, verb="predict")
@example(body={"instances": [{"\udfff": 1}]}, verb="predict")
@example(body={"signature_name": "\udc00"}, verb="predict")
@given(body=BODIES, verb=VERBS)
def test_any_document(application, body, verb):
    path = f"/v1/models/affine:{verb}"
    check(*ask(application, "POST", path, json.dumps(body).encode()))


@FAST
@given(body=st.binary(max_size=60), verb=VERBS)
def test_any_bytes(application, body, verb):
    check(*ask(application, "POST", f"/v1/models/affine:{verb}", body))


@FAST
@given(
    method=st.sampled_from(("GET", "POST", "PUT")),
    rest=st.text(
        st.sampled_from("/:%?#.0123456789\u0000abé")
        | st.characters(max_codepoint=255),
        max_size=20,
    ),
    start=st.sampled_from(("/v1/", "/v1/models/", "/v1/models/affine")),
)
def test_any_path(application, method, rest, start):
    check(*ask(application, method, start + rest, b"{}"))


@given(
    depth=st.integers(40, 2000), key=st.sampled_from(("inputs", "instances"))
)
@settings(FAST, max_examples=60)
def test_any_depth(application, depth, key):
    body = f'{{"{key}": {"[" * depth}1{"]" * depth}}}'.encode()
    check(*ask(application, "POST", PREDICT, body))


@FAST
@given(
    values=st.lists(st.floats(width=32), min_size=1, max_size=5),
    is_row=st.booleans(),
)
def test_good_numbers_are_answered(application, values, is_row):
    key, answer = (
        ("instances", "predictions") if is_row else ("inputs", "outputs")
    )
    body = json.dumps({key: values}).encode()
    status, data = ask(application, "POST", PREDICT, body)
    assert status == 200
    assert len(json.loads(data)[answer]) == len(values)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 400])
def test_numbers_beyond_doubles_are_refused(application, number):
    for body in (f'{{"inputs": {number}}}', f'{{"instances": [{number}]}}'):
        status, data = ask(application, "POST", PREDICT, body.encode())
        assert status == 400
        assert b"Number too big to be stored in double." in data


@pytest.mark.parametrize(
    "value",
    [b"[],", b"{},", b'"ab",', b"1.5,"],
    ids=["lists", "objects", "strings", "numbers"],
)
def test_bodies_of_too_many_values_are_refused_unread(application, value):
    count = requests.MAX_VALUES + 1
    body = b'{"inputs": [' + value * count + b"1]}"
    tracemalloc.start()
    try:
        status, data = ask(application, "POST", PREDICT, body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (status, b"at most 1048576 values" in data) == (400, True)
    assert peak < 2 * len(body) + 2**20


def test_one_long_value_is_one_value(application):
    text = "/" * 2**21
    body = {"signature_name": "strings", "inputs": [{"b64": text}]}
    assert (
        ask(application, "POST", PREDICT, json.dumps(body).encode())[0] == 200
    )


@pytest.mark.parametrize(
    ("number", "status"),
    [
        ("1e999999", 400),
        ("9" * 5000, 400),
        ("0." + "1" * 10**6, 200),
        ("1e-" + "9" * 10**5, 200),
    ],
    ids=["exponent", "digits", "fraction", "tiny"],
)
def test_long_numbers_are_read_or_refused(application, number, status):
    body = f'{{"inputs": [{number}]}}'.encode()
    assert ask(application, "POST", PREDICT, body)[0] == status


def test_collection_goes_on_after_a_body_that_is_none(application):
    assert ask(application, "POST", PREDICT, b"{")[0] == 400
    assert gc.isenabled()
