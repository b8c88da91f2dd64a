"""The status codes that gRPC, TensorFlow and absl share, by name.

Attributes:
    NUMBERS: Name to number.
    NAMES: Number to name.
    HTTP: Name to the HTTP status of TensorFlow Serving's REST API.
"""

import grpc

NAMES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}
NUMBERS = {name: number for number, name in NAMES.items()}
HTTP = {name: 500 for name in ("UNKNOWN", "INTERNAL", "DATA_LOSS")} | {
    "OK": 200,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}

_MAX_DETAILS = 1024


def truncate(message: str) -> str:
    """Cuts a message as TensorFlow Serving cuts gRPC details."""
    data = message.encode("utf-8", "replace")
    if len(data) <= _MAX_DETAILS:
        return message
    return data[:_MAX_DETAILS].decode("utf-8", "ignore") + "...TRUNCATED"
