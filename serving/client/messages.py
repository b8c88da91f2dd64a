"""Requests from queries, lists from responses; NumPy at the seam.

What a signature takes is learned from the server's metadata, so an
application names only the features it has: the others go out as missing.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np

from serving import signatures as contract
from serving.client import columns
from serving.client.query import Items, Query
from serving.errors import InvalidRequest, ServingError
from serving.wire import serving_pb2, tensors

# Of memory: some forty million ids. What was asked for has no other limit.
_MOST_ANSWER_BYTES = 2**33
_PLAIN = ("user_id", contract.DIVERSITY)
_LISTS = ("history", "excluded_ids", "candidate_ids")
Inputs: TypeAlias = dict[str, columns.Input]
Signatures: TypeAlias = dict[str, Inputs]


def signatures(
    response: serving_pb2.GetModelMetadataResponse,
) -> tuple[Signatures, int]:
    """Reads each signature's inputs and the version they belong to."""
    # It is packed as TensorFlow's message; ours has the same bytes.
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
    item_ids: Sequence[str] = (),
) -> serving_pb2.PredictRequest:
    """Fills every input that the signature takes, missing ones as missing.

    `candidates` and `item_ids` are those of each query, where it takes them.
    """
    request = serving_pb2.PredictRequest(model_spec=model)
    prefix = contract.ALLOWED
    filters = {
        name.removeprefix(prefix) for name in inputs if name.startswith(prefix)
    }
    features = inputs.keys() - {*_PLAIN, *_LISTS}
    features -= {f"{prefix}{name}" for name in filters}
    for query in queries:
        _check_names(model.name, "feature", query.features, features)
        if model.signature_name == contract.WITH_OPTIONS:
            _check_names(model.name, "filter", query.filters, filters)
    for name, kind in inputs.items():
        target = request.inputs[name]
        if name == "candidate_ids":
            columns.strings(target, candidates)
        elif name.startswith(prefix):
            feature = name.removeprefix(prefix)
            columns.strings(
                target, [query.filters.get(feature, ()) for query in queries]
            )
        elif name in _LISTS:
            columns.strings(target, [getattr(query, name) for query in queries])
        else:
            values: Sequence[object] = item_ids
            if name in _PLAIN:
                values = [getattr(query, name) for query in queries]
            elif name != "item_id":
                values = [query.features.get(name) for query in queries]
            columns.write(target, values, kind, name)
    return request


def _check_names(
    model: str, kind: str, given: Iterable[str], permitted: set[str]
) -> None:
    """Refuses features, or filters, that a model does not take."""
    for name in given:
        if name not in permitted:
            near = difflib.get_close_matches(name, permitted, 1)
            raise InvalidRequest(
                f"A {kind} must be one that {model!r} takes: "
                f"{', '.join(sorted(permitted)) or 'none'}. Received: "
                f"{name!r} (from Query.{kind}s). "
                + (f"Did you mean {near[0]!r}?" if near else "Leave it out.")
            )


def items(
    response: serving_pb2.PredictResponse,
    num_rows: int,
    latency_ms: float,
    k: int | None = None,
    name: str = "candidate_ids",
) -> list[Items]:
    """Splits output `name` into the best `k` a query, with scores; no "".

    Raises:
        ServingError: If the outputs are not `[num_rows, any]` of equal shape.
    """
    found, scores = array(response, name), array(response, "scores")
    version = response.model_spec.version.value
    if found.shape != scores.shape or found.shape[:1] != (num_rows,):
        raise ServingError(
            f"{name!r} and 'scores' must be [{num_rows}, any] both. Received: "
            f"{list(found.shape)} and {list(scores.shape)} (from model "
            f"{response.model_spec.name!r}, version {version}). Export it "
            "again.",
            "INTERNAL",
        )
    result = []
    for row, values in zip(found.tolist(), scores.tolist(), strict=True):
        kept = [pair for pair in zip(row, values, strict=True) if pair[0]][:k]
        item_ids = [item.decode("utf-8", "surrogateescape") for item, _ in kept]
        kept_scores = tuple([score for _, score in kept])
        result.append(Items(tuple(item_ids), kept_scores, version, latency_ms))
    return result


def scored(
    response: serving_pb2.PredictResponse,
    candidates: Sequence[Sequence[str]],
    latency_ms: float,
) -> list[Items]:
    """Reads scores in the order of the candidates; padding is cut off again."""
    scores = array(response, "scores").tolist()
    ratings: list[list[float]] = [[] for _ in scores]
    if "predicted_rating" in response.outputs:
        ratings = array(response, "predicted_rating").tolist()
    return [
        Items(
            tuple(row),
            tuple(scores[i][: len(row)]),
            response.model_spec.version.value,
            latency_ms,
            tuple(ratings[i][: len(row)]),
        )
        for i, row in enumerate(candidates)
    ]


def array(response: serving_pb2.PredictResponse, name: str) -> np.ndarray:
    """Decodes one output."""
    if name not in response.outputs:
        raise ServingError(
            f"An answer must have output {name!r}. Received: "
            f"{', '.join(sorted(response.outputs))} (from model "
            f"{response.model_spec.name!r}). Is it one of this pipeline's "
            "models? See serving.signatures.",
            "INTERNAL",
        )
    try:
        return tensors.decode(
            response.outputs[name], tensors.Budget(_MOST_ANSWER_BYTES)
        )
    except ValueError as error:
        raise ServingError(
            f"Output {name!r} must be a tensor that can be read. Received: "
            f"{error} (from model {response.model_spec.name!r}). Ask for fewer "
            "lists at once, or look whether it is one of this pipeline's.",
            "INTERNAL",
        ) from error
