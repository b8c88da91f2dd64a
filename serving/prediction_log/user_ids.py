"""Names that stand for user ids in a log and do not tell them.

A keyed hash: who has the key finds a user's records, who has the log alone
cannot try ids. The key is a secret of the servers, so it lies in a file, as a
mounted secret does: command lines and configs are read by more people.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path

from serving.errors import InvalidRequest

# What hidden ids begin with: nobody takes them for the ids of users.
MARK = "hmac-sha256:"
_LEAST_BYTES = 16


@dataclass(frozen=True)
class UserIds:
    """Hides user ids under one key."""

    key: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path, named_by: str) -> "UserIds":
        """Takes the key from a file, without the line's end.

        Raises:
            ServingError: If there is none, or one that can be guessed.
        """
        try:
            key = path.read_bytes().strip()
        except OSError as error:
            key, received = b"", f"{error.strerror}"
        else:
            received = f"{len(key)} bytes"
        if len(key) < _LEAST_BYTES:
            raise InvalidRequest(
                f"{named_by} must name a file with a key of {_LEAST_BYTES} "
                f"bytes or more. Received: {received} (in {path}). Make one: "
                f"openssl rand -hex 32 > {path}"
            )
        return cls(key)

    def hidden(self, user_id: str) -> str:
        """What stands for a user; nobody stays nobody."""
        if not user_id:
            return user_id
        text = user_id.encode("utf-8", "surrogateescape")
        return MARK + hmac.new(self.key, text, hashlib.sha256).hexdigest()
