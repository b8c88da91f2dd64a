"""Errors of the online side: one base class, one subclass a way to react.

`ServingError(message, code)` becomes the subclass of its code by itself, as
OSError becomes FileNotFoundError, so callers may catch either.
"""


class ServingError(Exception):
    """A request or a deployment cannot be served; the message says why.

    Attributes:
        code: gRPC status name such as "NOT_FOUND", empty where none applies.
    """

    def __new__(cls, message: str, code: str = "") -> "ServingError":
        """Picks the subclass of the code."""
        kind = _KINDS.get(code, cls) if cls is ServingError else cls
        return super().__new__(kind, message, code)

    code = ""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code or self.code


class InvalidRequest(ServingError):
    """The question is wrong or the model cannot take it: correct it."""

    code = "INVALID_ARGUMENT"


class ModelNotFound(ServingError):
    """No such model, version or label is served, or it has no target."""

    code = "NOT_FOUND"


class DeadlineExceeded(ServingError):
    """No answer came in time."""


class Unavailable(ServingError):
    """No server could be reached, or it is going away."""


class Overloaded(ServingError):
    """The server, or a quota before it, has no room for the question."""


class NotPermitted(ServingError):
    """The server wants other credentials."""


_KINDS: dict[str, type[ServingError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "FAILED_PRECONDITION": InvalidRequest,
    "OUT_OF_RANGE": InvalidRequest,
    "NOT_FOUND": ModelNotFound,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "UNAVAILABLE": Unavailable,
    "RESOURCE_EXHAUSTED": Overloaded,
    "UNAUTHENTICATED": NotPermitted,
    "PERMISSION_DENIED": NotPermitted,
}


def invalid(message: str) -> ServingError:
    """The error of what a caller must correct, with its usual code."""
    return ServingError(message, "INVALID_ARGUMENT")
