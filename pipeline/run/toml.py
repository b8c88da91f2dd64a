"""Values as TOML, for configs that are written and options that are shown."""

import json
import re


def value(given: object) -> str:
    """A value as TOML."""
    if isinstance(given, dict):
        pairs = (f"{_key(k)} = {value(v)}" for k, v in given.items())
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(given, tuple):
        return "[" + ", ".join(value(one) for one in given) + "]"
    if isinstance(given, str):
        return json.dumps(given, ensure_ascii=False)
    return str(given).lower() if isinstance(given, bool) else str(given)


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else value(text)
