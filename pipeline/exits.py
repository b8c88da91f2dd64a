"""How a command ends: its exit status, and what it says in a line each."""

from collections.abc import Iterator
from typing import NamedTuple

from models.config import ConfigError
from pipeline.release.gate import GateRejected
from pipeline.tables.schema import DataError, DataRefused
from serving.errors import ServingError
from serving.releases.locks import Held


class Ending(NamedTuple):
    """What becomes of an error.

    Attributes:
        error: The errors that end so.
        kind: What their lines begin with.
        status: Of the process.
    """

    error: type[BaseException]
    kind: str
    status: int


# The gate keeps what is live; the checks of the data stop a training; a shell
# reports 130 of a program that Ctrl-C ended. The first that fits counts.
_ENDINGS = (
    Ending(ConfigError, "config", 1),
    Ending(GateRejected, "rejected", 3),
    Ending(DataRefused, "refused", 4),
    Ending(DataError, "data", 1),
    Ending(Held, "locked", 1),
    Ending(ServingError, "serving", 1),
    Ending(OSError, "files", 1),
    Ending(KeyboardInterrupt, "interrupted", 130),
)
EXPECTED = tuple(ending.error for ending in _ENDINGS)
_FAULT = Ending(BaseException, "fault", 1)


def of(error: BaseException) -> Ending:
    """How an error ends the process; one of ours ends it as Python does."""
    return next((e for e in _ENDINGS if isinstance(error, e.error)), _FAULT)


def lines(error: BaseException) -> Iterator[str]:
    """What people are told of it."""
    kind = of(error).kind
    if isinstance(error, ConfigError):
        told = list(error.problems)
    elif isinstance(error, GateRejected | DataRefused):
        told = list(error.reasons)
    elif isinstance(error, KeyboardInterrupt):
        told = ["Finished steps are kept; run it again."]
    elif isinstance(error, OSError):
        # A full or read-only disk: what was being written is not kept.
        told = [f"{error}. Finished steps are kept; run it again."]
    else:
        told = [str(error)]
    return (f"{kind}: {text}" for text in told)
