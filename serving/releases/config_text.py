"""Reads text protos: the files that flags and the pointer name."""

from pathlib import Path
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from serving.errors import InvalidRequest, ModelNotFound

Read = TypeVar("Read", bound=Message)


def read(
    path: str | Path, message: Read, flag: str, advice: str = "Correct the flag"
) -> Read:
    """Fills a message, as `parse` does, from the file of a flag.

    Raises:
        ServingError: NOT_FOUND without the file, INVALID_ARGUMENT if it
            holds something else.
    """
    try:
        return parse(path, message, flag)
    except OSError as error:
        raise ModelNotFound(
            f"The file of {flag} must exist. Received: "
            f"{error.strerror or error} (from {path}). {advice}."
        ) from error


def parse(
    path: str | Path,
    message: Read,
    named_by: str,
    lenient: bool = False,
    text: str | None = None,
) -> Read:
    """Fills a message, empty and of the kind expected, from the text of a file.

    Args:
        path: The file.
        message: Returned filled.
        named_by: Who named the file, for the error.
        lenient: Whether fields that we do not know are passed over.
        text: Of the file, where the caller has read it.

    Raises:
        OSError: If the file cannot be read.
        ServingError: INVALID_ARGUMENT if it holds something else.
    """
    if text is None:
        text = text_of(path, named_by)
    try:
        text_format.Parse(text, message, allow_unknown_field=lenient)
    except text_format.ParseError as error:
        kind = f"the text of a {message.DESCRIPTOR.name}"
        raise _wrong(path, named_by, kind, error) from error
    return message


def text_of(path: str | Path, named_by: str) -> str:
    """What a file holds, for who reads several things out of it.

    Another process may replace it between two looks.

    Raises:
        OSError: If the file cannot be read.
        ServingError: INVALID_ARGUMENT if it holds something else.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _wrong(path, named_by, "text in UTF-8", error) from error


def _wrong(
    path: str | Path, named_by: str, kind: str, error: Exception
) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid protobuf file: '{path}' must be {kind} (from {named_by}). "
        f"Received: {error}. Correct the file."
    )


def stamp(path: Path) -> int:
    """When a file or directory changed, 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
