"""The request behind a list, to be sent again from a shell or from Python.

Enters: a query, and what the server says its models take. Leaves: the message
that the client sends, as curl, grpcurl and Python.
"""

import base64
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

import grpc
import numpy as np
from google.protobuf import json_format

from serving import signatures
from serving.client import Query, messages
from serving.client.transport import channel
from serving.wire import protoset, serving_pb2, tensors

_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Commands:
    """One request, three times."""

    curl: str
    grpcurl: str
    python: str


def fetch(target: str) -> messages.Signatures:
    """What the fused model of a server takes.

    Raises:
        grpc.RpcError: If the server does not say.
    """
    asked = serving_pb2.GetModelMetadataRequest(
        model_spec=serving_pb2.ModelSpec(name=signatures.RECOMMENDER),
        metadata_field=["signature_def"],
    )
    method = channel.METADATA
    with grpc.insecure_channel(target, channel.reaching(target)) as opened:
        call = opened.unary_unary(
            f"/tensorflow.serving.{method.path}",
            type(asked).SerializeToString,
            method.answer.FromString,
        )
        answer = call(asked, timeout=_TIMEOUT_SECONDS)
    return messages.signatures(answer)[0]


def write(
    query: Query,
    taken: messages.Signatures,
    target: str,
    rest: str,
    page: str,
) -> Commands:
    """Writes a query as commands.

    Args:
        query: To be asked of the fused model.
        taken: What that model takes.
        target: The server's gRPC address.
        rest: Its REST address.
        page: Where the page is, which hands out the messages' descriptors.
    """
    name = signatures.SERVING_DEFAULT
    if query.filters:
        name = signatures.WITH_OPTIONS
    elif query.diversity:
        name = signatures.WITH_DIVERSITY
    request = messages.predict_request(
        serving_pb2.ModelSpec(name=signatures.RECOMMENDER, signature_name=name),
        taken[name],
        [query],
    )
    return Commands(
        _curl(request, rest),
        _grpcurl(request, target, page),
        _python(query, target),
    )


def _curl(request: serving_pb2.PredictRequest, rest: str) -> str:
    body = {
        "signature_name": request.model_spec.signature_name,
        "inputs": {
            name: _plain(tensors.decode(tensor))
            for name, tensor in sorted(request.inputs.items())
        },
    }
    text = json.dumps(body, ensure_ascii=False)
    url = f"http://{rest}/v1/models/{request.model_spec.name}:predict"
    return f"curl {url} \\\n  -d {shlex.quote(text)}"


def _plain(array: np.ndarray) -> object:
    """Texts and numbers as JSON has them; what is no UTF-8 in base64."""
    if array.dtype == np.float32:
        # 0.4, not what is left of it in 32 bits.
        array = array.astype(str).astype(float)
    if array.dtype != object:
        return array.tolist()
    return [
        _plain(value) if isinstance(value, np.ndarray) else _text(value)
        for value in array
    ]


def _text(value: bytes) -> object:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _grpcurl(
    request: serving_pb2.PredictRequest, target: str, page: str
) -> str:
    text = json.dumps(
        json_format.MessageToDict(request, preserving_proto_field_name=True)
    )
    file = protoset.FILE
    return (
        f"curl -sO {page}{file}\n"
        f"grpcurl -plaintext -protoset {file} -d {shlex.quote(text)} \\\n"
        f"  {target} tensorflow.serving.{protoset.SERVICE}/Predict"
    )


def _python(query: Query, target: str) -> str:
    given = [
        f"{name}={value!r}"
        for name, value in (
            ("user_id", query.user_id),
            ("history", list(query.history)),
            ("features", _given(query.features)),
            ("excluded_ids", sorted(query.excluded_ids)),
            ("diversity", query.diversity),
            ("filters", {n: sorted(v) for n, v in query.filters.items()}),
        )
        if value
    ]
    inside = "".join(f"\n    {line}," for line in given)
    return (
        "from serving.client import Query, RecommenderClient\n\n"
        f"query = Query({inside}\n)\n"
        f"with RecommenderClient({target!r}) as client:\n"
        "    answer = client.recommend(query, k=10)\n"
        "print(answer.item_ids, answer.scores, answer.version)"
    )


def _given(features: Mapping[str, object]) -> dict[str, object]:
    """Features without those that are missing, which are sent as such."""
    return {
        name: value
        for name, value in features.items()
        if value not in ("", []) and value == value
    }
