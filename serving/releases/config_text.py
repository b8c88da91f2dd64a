"""Reads the text files that flags name."""

from pathlib import Path
from typing import Any

from google.protobuf import text_format

from serving.errors import ServingError


def read(path: str | Path, message: Any, flag: str) -> Any:
    """Fills a message from the text of a file.

    Args:
        path: The file.
        message: Empty, of the kind that is expected.
        flag: Who named the file, for the error.

    Returns:
        `message`.

    Raises:
        ServingError: NOT_FOUND without the file, INVALID_ARGUMENT if it
            holds something else.
    """
    kind = message.DESCRIPTOR.name
    try:
        text = Path(path).read_text(encoding="utf-8")
        return text_format.Parse(text, message)
    except OSError as error:
        raise ServingError(
            f"The file of {flag} must exist. Received: "
            f"{error.strerror or error} (from {path}). Correct the flag.",
            "NOT_FOUND",
        ) from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ServingError(
            f"Invalid protobuf file: '{path}' must be the text of a {kind} "
            f"(from {flag}). Received: {error}. Correct the file.",
            "INVALID_ARGUMENT",
        ) from error
