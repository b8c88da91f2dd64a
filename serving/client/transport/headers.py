"""Headers that ride with a call: tokens, tenants, trace ids.

gRPC calls them metadata. What a header is for is between the caller and what
stands before the server: a gateway, a mesh, a quota.
"""

import re
from collections.abc import Iterable, Mapping

from serving.errors import InvalidRequest, ServingError

Metadata = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]
Pairs = tuple[tuple[str, str | bytes], ...]

_NAME = re.compile(r"(?!grpc-)[0-9a-z_.-]+")
_TEXT = re.compile(r"[\x20-\x7e]*")


def read(given: Metadata | None) -> Pairs:
    """Returns headers as gRPC takes them, names in lower case.

    Args:
        given: A mapping, or pairs where a name comes twice.

    Raises:
        ServingError: INVALID_ARGUMENT if a name or a value cannot be sent.
            The value, which may be a secret, is not shown.
    """
    if given is None:
        return ()
    pairs = given.items() if isinstance(given, Mapping) else given
    if isinstance(pairs, str | bytes) or not isinstance(pairs, Iterable):
        raise _refused(type(given).__name__)
    found = []
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise _refused(f"a {type(pair).__name__} among the pairs")
        name, value = pair
        if not isinstance(name, str) or not _NAME.fullmatch(name.lower()):
            raise _refused(f"the name {name!r}")
        name = name.lower()
        fits = (
            isinstance(value, bytes)
            if name.endswith("-bin")
            else isinstance(value, str) and bool(_TEXT.fullmatch(value))
        )
        if not fits:
            raise _refused(f"a {type(value).__name__} for {name!r}")
        found.append((name, value))
    return tuple(found)


def _refused(received: str) -> ServingError:
    return InvalidRequest(
        "`metadata` must map header names to ASCII text, or to bytes where "
        'the name ends in "-bin"; "grpc-" is gRPC\'s own. Received: '
        f'{received}. Write {{"authorization": "Bearer ..."}}.',
    )
