"""One log line for each thing that happens to the server.

    2026-01-31T12:00:00.123Z INFO version_available model=ranking version=3

Time in UTC, level, event, then `key=value`; values with blanks or quotes are
JSON strings. Requests are not logged: they are counted (`monitoring`).
"""

import datetime
import json
import logging
import sys

_LOG = logging.getLogger("serving")
# Values that need no quotes.
_PLAIN = set(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+/:@%,"
)


class _Formatter(logging.Formatter):
    """Puts time and level in front."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        stamp = time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        text = f"{stamp} {record.levelname} {record.getMessage()}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            text += " trace=" + json.dumps(trace)
        return text


def setup() -> None:
    """Sends events to standard error, for the command line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    _LOG.handlers = [handler]
    _LOG.setLevel(logging.INFO)
    _LOG.propagate = False


def _render(value: object) -> str:
    text = str(value)
    return text if text and set(text) <= _PLAIN else json.dumps(text)


def _line(event: str, values: dict[str, object]) -> str:
    words = [f"{key}={_render(value)}" for key, value in values.items()]
    return " ".join([event, *words])


def info(event: str, **values: object) -> None:
    """Something that operators expect."""
    _LOG.info("%s", _line(event, values))


def warning(event: str, **values: object) -> None:
    """Something that operators should look at."""
    _LOG.warning("%s", _line(event, values))


def error(event: str, *, trace: bool = False, **values: object) -> None:
    """Something that failed; `trace` adds the exception being handled."""
    _LOG.error("%s", _line(event, values), exc_info=trace)
