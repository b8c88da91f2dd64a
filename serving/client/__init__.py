"""The client that applications install: light, typed, honest about failures.

Needs gRPC, protobuf and NumPy and never TensorFlow; README.md beside this file
is its manual. Installed from the wheel (`make client-wheel`) it is called
`recommender_client`. `python -m serving.client --help` is the same from a
shell.

Example:
    with RecommenderClient("127.0.0.1:8500", timeout_seconds=0.2) as client:
        answer = client.recommend(Query("42", history=["50", "181"]), k=10)
    print(answer.item_ids, answer.degraded or "whole")
"""

from serving.client.clients import AsyncRecommenderClient, RecommenderClient
from serving.client.query import (
    BOTH_UNAVAILABLE,
    RANKING_UNAVAILABLE,
    RETRIEVAL_UNAVAILABLE,
    Degraded,
    Items,
    Query,
    Recommendations,
    VersionStatus,
)
from serving.client.transport.channel import Tls
from serving.client.transport.retry import Retry
from serving.errors import (
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    NotPermitted,
    Overloaded,
    ServingError,
    Unavailable,
)

__all__ = [
    "BOTH_UNAVAILABLE",
    "RANKING_UNAVAILABLE",
    "RETRIEVAL_UNAVAILABLE",
    "AsyncRecommenderClient",
    "DeadlineExceeded",
    "Degraded",
    "InvalidRequest",
    "Items",
    "ModelNotFound",
    "NotPermitted",
    "Overloaded",
    "Query",
    "Recommendations",
    "RecommenderClient",
    "Retry",
    "ServingError",
    "Tls",
    "Unavailable",
    "VersionStatus",
]
