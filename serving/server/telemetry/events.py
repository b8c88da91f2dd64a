"""One log line for each thing that happens to the server.

    2026-01-31T12:00:00.123Z INFO version_available model=ranking version=3

Time in UTC, level, event, then `key=value`; values with blanks or quotes are
JSON strings. Requests are not logged: they are counted (`monitoring`).
"""

import datetime
import functools
import json
import logging
import re
import sys

_LOG = logging.getLogger("serving")
# Values that need no quotes.
_PLAIN = re.compile(r"[\w.+/:@%,-]+", re.ASCII)


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
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def _say(level: int, event: str, **values: object) -> None:
    """Logs an event; `trace=True` adds the exception being handled."""
    trace = bool(values.pop("trace", False))
    words = [f"{key}={_render(value)}" for key, value in values.items()]
    _LOG.log(level, "%s", " ".join([event, *words]), exc_info=trace)


# What operators expect, what they should look at, what failed.
info = functools.partial(_say, logging.INFO)
warning = functools.partial(_say, logging.WARNING)
error = functools.partial(_say, logging.ERROR)
