"""The client that applications install: light, typed, honest about failures.

Needs `grpcio`, `protobuf` and `numpy` (requirements-client.txt) and never
TensorFlow. `python -m serving.client --help` is the same from a shell.
"""

from serving.client.aio import AsyncRecommenderClient
from serving.client.channel import Tls
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
from serving.client.retry import Retry
from serving.client.sync import RecommenderClient
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
