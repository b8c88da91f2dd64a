"""What an id is, in every place that takes one.

An id is a str that can be written as UTF-8. Ids that an answer could not
decode come back with surrogate escapes and are taken as they came. Numbers
and bytes are refused instead of guessed at: 7, "7" and "07" are three items.

A list of ids is a list, a tuple, a one-dimensional array or any other
iterable of them, but never one string, whose letters would be taken for ids.
On command lines it is a row of CSV. A count is a whole number.
"""

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Integral
from typing import TypeGuard

from serving.errors import InvalidRequest, ServingError

_WRITTEN = 'commas between, an id with a comma in double quotes ("a,b")'
_ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,]*?))\s*(?:,|\Z)')


def one(value: object, name: str) -> str:
    """Returns an id as a plain str."""
    if not isinstance(value, str):
        advice = (
            'Decode it with .decode("utf-8").'
            if isinstance(value, bytes)
            else "Convert it with str()."
        )
        raise _refused(f"`{name}` must be a string", value, advice)
    if not value.isascii():
        try:
            value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise _refused(
                f"`{name}` must be text that UTF-8 can hold",
                value,
                "It has half of a surrogate pair: mend it where it was cut.",
            ) from error
    # Subclasses, such as NumPy's, would show in answers.
    return value if type(value) is str else str.__str__(value)


def several(value: object, name: str, ordered: bool = True) -> tuple[str, ...]:
    """Returns a list of ids as a tuple; a set only where no order counts."""
    rule = f"`{name}` must be a list of ids"
    if isinstance(value, str | bytes):
        raise _refused(rule, value, "Put the id in a list: [id].")
    if value is None:
        raise _refused(rule, value, "Write [] for none.")
    if ordered and isinstance(value, Set):
        raise _refused(rule, value, "A set has no order: give a list.")
    if not is_listed(value) or getattr(value, "ndim", 1) != 1:
        raise _refused(rule, value, "Give one flat list, tuple or array.")
    return tuple([one(item, f"{name}[{i}]") for i, item in enumerate(value)])


def is_listed(value: object) -> TypeGuard[Iterable[object]]:
    """Whether values can be taken out of it one by one, letters apart."""
    # An array without dimensions calls itself iterable and is not.
    return (
        isinstance(value, Iterable)
        and not isinstance(value, str | bytes | Mapping)
        and getattr(value, "ndim", 1) > 0
    )


def whole(value: object, name: str, least: int, advice: str) -> None:
    """Refuses what is not a whole number; NumPy's are, True and 2.0 are not."""
    if (
        isinstance(value, bool)
        or not isinstance(value, Integral)
        or not least <= int(value) < 2**63
    ):
        raise InvalidRequest(
            f"`{name}` must be a whole number of at least {least}. Received: "
            f"{value!r}. {advice}"
        )


def add_option(
    parser: argparse.ArgumentParser, option: str, holds: str
) -> None:
    """Adds an option for ids, which `written` reads, to a command line."""
    parser.add_argument(
        option,
        action="append",
        default=[],
        metavar="IDS",
        help=f"item ids, {holds}: {_WRITTEN}; repeat for more",
    )


def written(texts: Sequence[str], option: str) -> list[str]:
    """Reads the ids of a command line, as the help of `add_option` says.

    Spaces around a comma and empty places count for nothing. (The csv module
    cannot tell a space in quotes from one outside.)

    Args:
        texts: What a repeated option was given, such as `50,"Apples, red"`.
        option: Its name, for the message.

    Raises:
        ServingError: INVALID_ARGUMENT if a quote is not closed.
    """
    found = []
    for text in texts:
        place = 0
        while place < len(text) and (item := _ITEM.match(text, place)):
            quoted, plain = item.groups()
            if quoted is None and plain.startswith('"'):
                raise _refused(
                    f"{option} must be ids, {_WRITTEN}",
                    text,
                    "Write a double quote in an id twice.",
                )
            found.append(plain if quoted is None else quoted.replace('""', '"'))
            place = item.end()
    return [item for item in found if item]


def _refused(rule: str, value: object, advice: str) -> ServingError:
    shown = repr(value)
    if len(shown) > 100:
        shown = shown[:100] + "..."
    return InvalidRequest(
        f"{rule}. Received: {shown} of type {type(value).__name__}. {advice}"
    )
