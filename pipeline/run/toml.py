"""Values as TOML, for configs that are written and options that are shown."""

import re


def value(given: object) -> str:
    """A value as TOML."""
    if isinstance(given, dict):
        pairs = (f"{_key(k)} = {value(v)}" for k, v in given.items())
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(given, tuple):
        return "[" + ", ".join(value(one) for one in given) + "]"
    if isinstance(given, str):
        return _quote(given).replace("\t", "\\t")
    return str(given).lower() if isinstance(given, bool) else str(given)


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _quote(text)
