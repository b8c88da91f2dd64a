"""Errors of the online side."""


class ServingError(Exception):
    """A request or a deployment cannot be served; the message says why.

    Attributes:
        code: gRPC status name such as "NOT_FOUND", empty where none applies.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code
