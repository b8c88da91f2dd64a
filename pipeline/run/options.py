"""All options with their defaults and meanings, from the dataclasses."""

import dataclasses
import inspect
import re
import textwrap
import typing
from collections.abc import Iterator
from typing import Any

from models.config import ConfigError
from pipeline.run import toml
from pipeline.run.config import Config, classes

_INDENTED = textwrap.TextWrapper(79, subsequent_indent="    ")
_TEXT = textwrap.TextWrapper(
    79, initial_indent="    ", subsequent_indent="    "
)
_ATTRIBUTE = re.compile(r"    (\w+): (.*(?:\n {6,}.*)*)")


def describe(section: str = "") -> Iterator[str]:
    """Lines about every option of a section, or of all.

    Args:
        section: Such as "retrieval"; "" for all.

    Raises:
        ConfigError: If there is none of that name.
    """
    hints = typing.get_type_hints(Config)
    sections = {
        name: kinds for name in hints if (kinds := classes(hints[name]))
    }
    if section not in ("", *sections):
        raise ConfigError(
            f"A section must be one of {', '.join(sections)}. Received: "
            f"{section!r}. Leave it out to see all options."
        )
    if not section:
        yield from _class(Config, skip=set(sections))
    for name, kinds in sections.items():
        for kind in kinds if section in ("", name) else ():
            several = len(kinds) > 1
            told = f" with kind = {toml.value(kind.kind)}" if several else ""
            summary = (kind.__doc__ or "").partition("\n")[0]
            yield f"\n[{name}]{told}: {summary}"
            yield from _class(kind, skip={"kind"} if several else set())


def _class(kind: Any, skip: set[str]) -> Iterator[str]:
    """Each option of a dataclass, its default and what it means."""
    meanings = attributes(kind)
    for item in dataclasses.fields(kind):
        if item.name in skip:
            continue
        default = item.default
        if item.default_factory is not dataclasses.MISSING:
            default = item.default_factory()
        is_needed = default is dataclasses.MISSING
        shown = "(required)" if is_needed else f"= {toml.value(default)}"
        yield from _INDENTED.wrap(f"{item.name} {shown}")
        yield from _TEXT.wrap(meanings[item.name])


def attributes(kind: type) -> dict[str, str]:
    """What the docstrings of a dataclass and its bases say of each field."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        _, _, listed = (inspect.cleandoc(each.__doc__ or "")).partition(
            "Attributes:"
        )
        for name, meaning in _ATTRIBUTE.findall(listed):
            found[name] = " ".join(meaning.split())
    return found
