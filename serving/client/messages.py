"""Requests from queries, lists from responses; NumPy at the seam.

What a signature takes is learned from the server's metadata, so an
application names only the features it has: the others go out as missing.
"""

import difflib
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from serving import signatures as contract
from serving.client import columns
from serving.client.query import Query
from serving.errors import ServingError
from serving.wire import serving_pb2, tensors

_PLAIN = ("user_id", contract.DIVERSITY)
_LISTS = ("history", "excluded_ids", "candidate_ids")
Inputs: TypeAlias = dict[str, columns.Input]
Signatures: TypeAlias = dict[str, Inputs]
Lists: TypeAlias = list[tuple[tuple[str, ...], tuple[float, ...]]]


def spec(
    model: str, signature: str = "", version: int | str | None = None
) -> serving_pb2.ModelSpec:
    """Names a model, a signature and, where pinned, a version or a label."""
    result = serving_pb2.ModelSpec(name=model, signature_name=signature)
    if isinstance(version, str):
        result.version_label = version
    elif version is not None:
        result.version.value = version
    return result


def metadata_request(
    model: serving_pb2.ModelSpec,
) -> serving_pb2.GetModelMetadataRequest:
    """Asks for the signatures of a model."""
    request = serving_pb2.GetModelMetadataRequest(
        model_spec=model, metadata_field=["signature_def"]
    )
    request.model_spec.ClearField("signature_name")
    return request


def signatures(
    response: serving_pb2.GetModelMetadataResponse,
) -> tuple[Signatures, int]:
    """Reads each signature's inputs and the version they belong to."""
    # The Any names TensorFlow's message; ours has the same bytes.
    found = serving_pb2.SignatureDefMap.FromString(
        response.metadata["signature_def"].value
    )
    return {
        name: {
            key: columns.Input(info.dtype, len(info.tensor_shape.dim))
            for key, info in signature.inputs.items()
        }
        for name, signature in found.signature_def.items()
    }, response.model_spec.version.value


def predict_request(
    model: serving_pb2.ModelSpec,
    inputs: Inputs,
    queries: Sequence[Query],
    candidates: Sequence[Sequence[str]] = (),
) -> serving_pb2.PredictRequest:
    """Fills every input that the signature takes, missing ones as missing.

    Raises:
        ServingError: If a query has a feature the signature does not take or
            a value of the wrong type.
    """
    request = serving_pb2.PredictRequest(model_spec=model)
    for query in queries:
        _check_names(model.name, query, inputs.keys() - {*_PLAIN, *_LISTS})
    for name, kind in inputs.items():
        target = request.inputs[name]
        if name == "candidate_ids":
            columns.strings(target, candidates)
        elif name in _LISTS:
            columns.strings(target, [getattr(query, name) for query in queries])
        elif name in _PLAIN:
            values = [getattr(query, name) for query in queries]
            columns.write(target, values, kind, name)
        else:
            values = [query.features.get(name) for query in queries]
            columns.write(target, values, kind, name)
    return request


def item_request(
    model: serving_pb2.ModelSpec, inputs: Inputs, ids: Sequence[str]
) -> serving_pb2.PredictRequest:
    """Asks about items by their ids; item features go out as missing."""
    request = serving_pb2.PredictRequest(model_spec=model)
    for name, kind in inputs.items():
        values = list(ids) if name == "item_id" else [None] * len(ids)
        columns.write(request.inputs[name], values, kind, name)
    return request


def _check_names(model: str, query: Query, features: set[str]) -> None:
    for name in query.features:
        if name not in features:
            near = difflib.get_close_matches(name, features, 1)
            raise ServingError(
                f"A feature must be one that {model!r} takes: "
                f"{', '.join(sorted(features)) or 'none'}. Received: "
                f"{name!r} (from Query.features). "
                + (f"Did you mean {near[0]!r}?" if near else "Leave it out."),
                "INVALID_ARGUMENT",
            )


def lists(
    response: serving_pb2.PredictResponse, ids: str, num_rows: int
) -> Lists:
    """Splits an answer into one (item ids, scores) a query, "" left out.

    Raises:
        ServingError: If the outputs are not `[num_rows, any]` of equal shape.
    """
    found = array(response, ids)
    scores = array(response, "scores")
    if found.shape != scores.shape or found.shape[:1] != (num_rows,):
        raise ServingError(
            f"{ids!r} and 'scores' must be [{num_rows}, any] both. Received: "
            f"{list(found.shape)} and {list(scores.shape)} (from model "
            f"{response.model_spec.name!r}, version "
            f"{response.model_spec.version.value}). Export it again.",
            "INTERNAL",
        )
    result = []
    for names, values in zip(found.tolist(), scores.tolist(), strict=True):
        kept = [
            (name.decode("utf-8", "surrogateescape"), score)
            for name, score in zip(names, values, strict=True)
            if name
        ]
        result.append(
            (tuple(pair[0] for pair in kept), tuple(pair[1] for pair in kept))
        )
    return result


def array(response: serving_pb2.PredictResponse, name: str) -> np.ndarray:
    """Decodes one output.

    Raises:
        ServingError: If the answer lacks it.
    """
    if name not in response.outputs:
        raise ServingError(
            f"An answer must have output {name!r}. Received: "
            f"{', '.join(sorted(response.outputs))} (from model "
            f"{response.model_spec.name!r}). Is it one of this pipeline's "
            "models? See serving.signatures.",
            "INTERNAL",
        )
    return tensors.decode(response.outputs[name])
