"""The exported models' contract as data: names, inputs and outputs.

The pipeline builds its exports from this table, the client fills requests from
it, and tests hold every SavedModel against it. Shape letters: B rows of a
batch, L history, K retrieved candidates, C candidates to rank, E excluded
items, F values of a filter, V 0 or 1, N recommended items, D embedding width.
Every letter is free at request time except K, N and D, which are fixed when the
model is exported.
"""

from dataclasses import dataclass

SERVING_DEFAULT = "serving_default"
WITH_EXCLUSIONS = "with_exclusions"
QUERY_EMBEDDING = "query_embedding"
CANDIDATE_EMBEDDING = "candidate_embedding"
SIMILAR_ITEMS = "similar_items"
SCORE = "score"
WITH_DIVERSITY = "with_diversity"
# All that a request may add, each of which may be left empty: [B, 0].
WITH_OPTIONS = "with_options"

# Input of every query: who asks.
USER_ID = "user_id"
# Input of WITH_DIVERSITY and WITH_OPTIONS, 0 to 1: how much difference counts.
DIVERSITY = "diversity"
# What begins the inputs of WITH_OPTIONS that filter by an item's feature:
# string[BF], values of which an answered item has any.
ALLOWED = "allowed_"

RETRIEVAL = "retrieval"
RETRIEVAL_EXACT = "retrieval_exact"
RANKING = "ranking"
RECOMMENDER = "recommender"

# The models of one release: they share one version and one bundle id.
BUNDLE = (RETRIEVAL, RETRIEVAL_EXACT, RANKING, RECOMMENDER)

# In a model's manifest: the models of its release whose signatures it has too,
# named as `part_of` says, on the same tables. A server that loads it needs no
# second copy of them.
HOLDS = "holds"

# Where a SavedModel keeps what is not part of its graph.
EXTRA_ASSETS = "assets.extra"
WARMUP_REQUESTS = "tf_serving_warmup_requests"


def part_of(model: str, signature: str) -> str:
    """What a model's signature is called in `RECOMMENDER`."""
    return signature if model == RECOMMENDER else f"{model}/{signature}"


@dataclass(frozen=True)
class Tensor:
    """One named tensor of a signature.

    Attributes:
        dtype: "string", "float32" or "int64".
        shape: One letter a dimension, as in the module's list.
    """

    dtype: str
    shape: str


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of one signature.

    Attributes:
        inputs: By name; those every caller must send.
        outputs: By name.
        takes_features: Whether the configured user and context features
            (`query`) or item features (`candidate`) are inputs as well.
        takes_filters: Whether `ALLOWED` inputs are.
    """

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    takes_features: str = ""
    takes_filters: bool = False


_QUERY = {USER_ID: Tensor("string", "B"), "history": Tensor("string", "BL")}
_EXCLUDED = {"excluded_ids": Tensor("string", "BE")}
_RETRIEVED = {
    "candidate_ids": Tensor("string", "BK"),
    "scores": Tensor("float32", "BK"),
}
_CANDIDATES = {"candidate_ids": Tensor("string", "BC")}
_RECOMMENDED = {
    "item_ids": Tensor("string", "BN"),
    "scores": Tensor("float32", "BN"),
}

_RETRIEVAL_SIGNATURES = {
    SERVING_DEFAULT: Signature(_QUERY, _RETRIEVED, "query"),
    WITH_EXCLUSIONS: Signature(_QUERY | _EXCLUDED, _RETRIEVED, "query"),
    QUERY_EMBEDDING: Signature(
        _QUERY, {"embedding": Tensor("float32", "BD")}, "query"
    ),
    CANDIDATE_EMBEDDING: Signature(
        {"item_id": Tensor("string", "B")},
        {"embedding": Tensor("float32", "BD")},
        "candidate",
    ),
    SIMILAR_ITEMS: Signature({"item_id": Tensor("string", "B")}, _RETRIEVED),
    WITH_OPTIONS: Signature(_QUERY | _EXCLUDED, _RETRIEVED, "query", True),
}

SIGNATURES: dict[str, dict[str, Signature]] = {
    RETRIEVAL: _RETRIEVAL_SIGNATURES,
    RETRIEVAL_EXACT: _RETRIEVAL_SIGNATURES,
    RANKING: {
        SERVING_DEFAULT: Signature(
            _QUERY | _CANDIDATES,
            _CANDIDATES | {"scores": Tensor("float32", "BC")},
            "query",
        ),
        # `predicted_rating` float32[BC] joins the outputs when ratings exist.
        SCORE: Signature(
            _QUERY | _CANDIDATES, {"scores": Tensor("float32", "BC")}, "query"
        ),
    },
    RECOMMENDER: {
        SERVING_DEFAULT: Signature(_QUERY | _EXCLUDED, _RECOMMENDED, "query"),
        # Ordered by relevance and difference from the items in front, so the
        # scores do not descend; a diversity of 0 is the default's order.
        WITH_DIVERSITY: Signature(
            _QUERY | _EXCLUDED | {DIVERSITY: Tensor("float32", "B")},
            _RECOMMENDED,
            "query",
        ),
        WITH_OPTIONS: Signature(
            _QUERY | _EXCLUDED | {DIVERSITY: Tensor("float32", "BV")},
            _RECOMMENDED,
            "query",
            True,
        ),
    },
}
