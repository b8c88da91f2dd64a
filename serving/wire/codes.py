"""The status codes that gRPC, TensorFlow and absl share, by name.

Attributes:
    NUMBERS: Name to number.
    NAMES: Number to name.
    HTTP: Name to the HTTP status of TensorFlow Serving's REST API.
"""

NAMES = {
    0: "OK",
    1: "CANCELLED",
    2: "UNKNOWN",
    3: "INVALID_ARGUMENT",
    4: "DEADLINE_EXCEEDED",
    5: "NOT_FOUND",
    6: "ALREADY_EXISTS",
    7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION",
    10: "ABORTED",
    11: "OUT_OF_RANGE",
    12: "UNIMPLEMENTED",
    13: "INTERNAL",
    14: "UNAVAILABLE",
    15: "DATA_LOSS",
    16: "UNAUTHENTICATED",
}
NUMBERS = {name: number for number, name in NAMES.items()}
HTTP = {
    "OK": 200,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}

_MAX_DETAILS = 1024


def truncate(message: str) -> str:
    """Cuts a message as TensorFlow Serving cuts gRPC details."""
    if len(message) <= _MAX_DETAILS // 4:
        return message
    data = message.encode("utf-8", "replace")
    if len(data) <= _MAX_DETAILS:
        return message
    return data[:_MAX_DETAILS].decode("utf-8", "ignore") + "...TRUNCATED"
