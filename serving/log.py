"""One line for each event, in `key=value` form for people and machines."""

import json
import logging
from typing import Any

_LOG = logging.getLogger("serving")


def event(name: str, level: int = logging.INFO, **fields: Any) -> None:
    """Writes what happened.

    Args:
        name: Stable words with underscores, such as "version_available".
        level: As in `logging`.
        fields: Shown in this order; floats are seconds.
    """
    if _LOG.isEnabledFor(level):
        parts = [f"event={name}"]
        parts += [f"{key}={_text(value)}" for key, value in fields.items()]
        _LOG.log(level, " ".join(parts))


def configure() -> None:
    """Sends the events to standard error, each with time and level."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        logging.Formatter(
            "time=%(asctime)s.%(msecs)03d level=%(levelname)s %(message)s",
            "%Y-%m-%dT%H:%M:%S",
        )
    )
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.INFO)
    _LOG.propagate = False


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    # A line break would end the event early.
    plain = text.isprintable() and text and not set(text) & set(' "=')
    return text if plain else json.dumps(text, ensure_ascii=False)
