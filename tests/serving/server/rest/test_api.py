"""The REST API's answers, to the byte where it is known."""

import base64
import json
import re

import pytest

from tests.support import rest_calls
from tests.support.rest_calls import PREDICT


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with rest_calls.running(tmp_path_factory.mktemp("rest")) as found:
        yield found


@pytest.fixture
def ask(server):
    with rest_calls.asking(server.rest_port) as send:
        yield send


def test_predictions_by_row(ask):
    status, text = ask(PREDICT, b'{"instances": [1, 2.5, NaN]}')
    assert status == 200
    assert text == '{\n    "predictions": [2.5, 3.25, NaN\n    ]\n}'
    assert ask.headers["Content-Type"] == "application/json"


def test_predictions_by_column(ask):
    status, text = ask(PREDICT, {"inputs": {"x": [1, 2]}})
    assert (status, text) == (
        200,
        '{\n    "outputs": [\n        2.5,\n        3.0\n    ]\n}',
    )
    assert ask(PREDICT, {"inputs": [1, 2]}) == (status, text)


def test_a_columnar_scalar_is_a_scalar(ask):
    assert ask(PREDICT, {"inputs": 1.0}) == (200, '{\n    "outputs": 2.5\n}')
    status, text = ask(PREDICT, b'{"inputs": Infinity}')
    assert (status, text) == (200, '{\n    "outputs": Infinity\n}')


def test_several_inputs_and_outputs_by_row(ask):
    status, text = ask(
        PREDICT,
        {
            "signature_name": "two",
            "instances": [{"x": 1, "y": 2}, {"x": 3, "y": 4}],
        },
    )
    assert status == 200
    assert text == (
        '{\n    "predictions": [\n'
        '        {\n            "product": 2.0,\n            "sum": 3.0\n'
        "        },\n"
        '        {\n            "product": 12.0,\n            "sum": 7.0\n'
        "        }\n    ]\n}"
    )


def test_several_outputs_by_column(ask):
    body = {"signature_name": "two", "inputs": {"x": [1], "y": [2]}}
    status, text = ask(PREDICT, body)
    assert json.loads(text) == {"outputs": {"product": [2.0], "sum": [3.0]}}
    assert status == 200


def test_rows_that_are_lists(ask):
    body = {"signature_name": "matrix", "instances": [[1, 2], [3, 4]]}
    assert ask(PREDICT, body) == (
        200,
        '{\n    "predictions": [[3.0], [7.0]\n    ]\n}',
    )


def test_strings_and_bytes(ask):
    words = ["a", {"b64": base64.b64encode(b"\xff\0").decode()}, "\u2603\n"]
    status, text = ask(
        PREDICT, {"signature_name": "strings", "instances": words}
    )
    assert status == 200
    rows = json.loads(text)["predictions"]
    assert [row["index"] for row in rows] == [1, 0, 0]
    found = [base64.b64decode(row["echo_bytes"]["b64"]) for row in rows]
    assert found == [b"a", b"\xff\0", "\u2603\n".encode()]


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/v1/models/affine", None),
        ("/v1/models/affine/versions/3", None),
        ("/v1/models/affine/labels/stable", None),
        ("/V1/MODELS/affine", None),
        ("/v1/models/%61ffine", None),
    ],
)
def test_choices_of_a_model(ask, path, version):
    assert ask(path)[0] == 200
    assert ask(f"{path}/metadata")[0] == 200
    assert ask(f"{path}:predict", {"instances": [1]})[0] == 200


def test_status_to_the_byte(ask):
    assert ask("/v1/models/affine/versions/3") == (
        200,
        '{\n "model_version_status": [\n  {\n   "version": "3",\n'
        '   "state": "AVAILABLE",\n   "status": {\n    "error_code": "OK",\n'
        '    "error_message": ""\n   }\n  }\n ]\n}\n',
    )


def test_metadata(ask):
    status, text = ask("/v1/models/affine/metadata")
    found = json.loads(text)
    assert status == 200
    assert found["model_spec"] == {
        "name": "affine",
        "signature_name": "",
        "version": "3",
    }
    signatures = found["metadata"]["signature_def"]["signature_def"]
    assert "__saved_model_init_op" in signatures
    x = signatures["serving_default"]["inputs"]["x"]
    assert x["dtype"] == "DT_FLOAT"
    assert x["name"] == "serving_default_x:0"
    assert x["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]


def test_classify_and_regress(ask):
    body = {"examples": [{"x": 0.25}, {"x": [0.5]}]}
    assert ask("/v1/models/examples:classify", body) == (
        200,
        '{\n    "results": [[["low", 0.75], ["high", 0.25]], '
        '[["low", 0.5], ["high", 0.5]]\n    ]\n}',
    )
    body["signature_name"] = "regress"
    assert ask("/v1/models/examples:regress", body) == (
        200,
        '{\n    "results": [0.5, 1.0]\n}',
    )
    shared = {
        "signature_name": "regress",
        "context": {"x": 4.0},
        "examples": [{}, {"y": "text"}],
    }
    status, text = ask("/v1/models/examples:regress", shared)
    assert json.loads(text) == {"results": [8.0, 8.0]}
    assert status == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        (PREDICT, b"", 400, "The document is empty"),
        (PREDICT, b"{", 400, "JSON Parse error"),
        (PREDICT, b"[1]", 400, "Is not object"),
        (PREDICT, {}, 400, "Missing 'inputs' or 'instances' key"),
        (PREDICT, {"instances": []}, 400, "No values in 'instances' array"),
        (PREDICT, {"instances": 1}, 400, "to be an list/array"),
        (PREDICT, {"instances": [1], "inputs": 1}, 400, "expecting only one"),
        (PREDICT, {"instances": ["a"]}, 400, "not of expected type: float"),
        (PREDICT, {"instances": [True]}, 400, "not of expected type: float"),
        (PREDICT, {"instances": [None]}, 400, "Type: Null"),
        (PREDICT, {"instances": [{"b64": "YQ=="}]}, 400, "expected type"),
        (PREDICT, {"instances": [1, [2]]}, 400, "tensor size|Expecting shape"),
        (PREDICT, {"instances": [[1, [2]]]}, 400, "unexpected level"),
        (PREDICT, {"instances": [{"q": 1}]}, 400, "named input: q"),
        (PREDICT, {"instances": [{"x": 1}, 2]}, 400, "Expecting object but"),
        (PREDICT, {"instances": [1, {"x": 2}]}, 400, "Expecting value/list"),
        (PREDICT, {"inputs": {"q": 1}}, 400, "Missing named input: x"),
        (PREDICT, {"instances": [[1, 2], [3]]}, 400, "tensor size: 2"),
        (
            PREDICT,
            {"signature_name": "two", "instances": [1]},
            400,
            "plain list",
        ),
        (
            PREDICT,
            {"signature_name": "two", "instances": [{"x": 1}]},
            400,
            "keys must be equal to: x,y",
        ),
        (PREDICT, {"signature_name": "two", "inputs": [1]}, 400, "plain value"),
        (PREDICT, {"signature_name": 1, "inputs": 1}, 400, "string value"),
        (
            PREDICT,
            {"signature_name": "s", "inputs": 1},
            400,
            'Serving signature name: "s" not found in signature def',
        ),
        (
            PREDICT,
            {"signature_name": "slow", "instances": [1.5]},
            400,
            "expected type: int64",
        ),
        (
            PREDICT,
            {"signature_name": "strings", "instances": [{"b64": "?"}]},
            400,
            "Unable to base64 decode",
        ),
        (
            PREDICT,
            {"signature_name": "strings", "instances": [1]},
            400,
            "expected type: string",
        ),
        (
            PREDICT,
            {"signature_name": "matrix", "instances": [[1, 2, 3]]},
            400,
            "Matrix size-incompatible",
        ),
        ("/v1/models/q:predict", {"inputs": 1}, 404, "Latest(q)"),
        (
            "/v1/models/affine/versions/9:predict",
            {"inputs": 1},
            404,
            "Specific(affine, 9)",
        ),
        (
            "/v1/models/affine/labels/q:predict",
            {"inputs": 1},
            400,
            "Unrecognized servable version label: q",
        ),
        ("/v1/models/affine:foo", {}, 400, "Malformed request: POST /v1/mod"),
        ("/v1/models/affine:PREDICT", {}, 400, "Malformed request"),
        ("/v1/models/affine", {}, 400, "Malformed request: POST"),
        ("/v1/models/affine:predict", None, 400, "Malformed request: GET"),
        ("/v1/models", None, 400, "Missing model name in request."),
        ("/v1/models/q", None, 404, "Could not find any versions of model q"),
        ("/v1/models/affine/versions/9", None, 404, "version 9 of model"),
        (
            f"/v1/models/affine/versions/{'9' * 5000}",
            None,
            400,
            "to numeric",
        ),
        ("/v1/models/examples:classify", {}, 400, "'examples' is expected"),
        ("/v1/models/examples:classify", {"examples": []}, 400, "empty array"),
        ("/v1/models/examples:classify", {"examples": 1}, 400, "list/array"),
        ("/v1/models/examples:classify", {"examples": [1]}, 400, "got JSON N"),
        (
            "/v1/models/examples:classify",
            {"examples": [{"x": [1.5, "a"]}]},
            400,
            "Unexpected element type in feature: x",
        ),
        ("/v1/models/examples:classify", {"examples": [{}]}, 400, "required"),
        (
            "/v1/models/affine:classify",
            {"examples": [{"x": 1.0}]},
            400,
            "No classification inputs",
        ),
    ],
)
def test_errors(ask, path, body, status, words):
    found, text = ask(path, body)
    assert found == status, text
    (message,) = json.loads(text).values()
    assert list(json.loads(text)) == ["error"]
    assert re.search(re.escape(words).replace(r"\|", "|"), message), message
