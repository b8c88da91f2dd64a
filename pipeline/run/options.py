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
    """Lines about every option of a section, or of all for "".

    Raises:
        ConfigError: If there is none of that name.
    """
    sections = _sections(section)
    if not section:
        yield from _class(Config, skip=set(sections))
    for name, kinds in sections.items():
        for kind in kinds:
            several = len(kinds) > 1
            told = f" with kind = {toml.value(kind.kind)}" if several else ""
            summary = (kind.__doc__ or "").partition("\n")[0]
            yield f"\n[{name}]{told}: {summary}"
            yield from _class(kind, skip={"kind"} if several else set())


def document(section: str = "") -> dict[str, dict[str, dict[str, str | None]]]:
    """The same by section and option: its default as TOML, its meaning.

    Args:
        section: Such as "retrieval"; "" for all.

    Raises:
        ConfigError: If there is none of that name.
    """
    found: dict[str, dict[str, dict[str, str | None]]] = {}
    for name, kinds in _sections(section).items():
        for kind in kinds:
            meanings = attributes(kind)
            title = f"{name}.{kind.kind}" if len(kinds) > 1 else name
            found[title] = {
                item.name: {
                    "default": _default(item),
                    "meaning": meanings[item.name],
                }
                for item in dataclasses.fields(kind)
            }
    return found


def _sections(section: str) -> dict[str, tuple[Any, ...]]:
    """The classes of a section, or of all, by its name."""
    hints = typing.get_type_hints(Config)
    found = {name: kinds for name in hints if (kinds := classes(hints[name]))}
    if section not in ("", *found):
        raise ConfigError(
            f"A section must be one of {', '.join(found)}. Received: "
            f"{section!r}. Leave it out to see all options."
        )
    return {section: found[section]} if section else found


def _class(kind: Any, skip: set[str]) -> Iterator[str]:
    """Each option of a dataclass, its default and what it means."""
    meanings = attributes(kind)
    for item in dataclasses.fields(kind):
        if item.name in skip:
            continue
        default = _default(item)
        shown = "(required)" if default is None else f"= {default}"
        yield from _INDENTED.wrap(f"{item.name} {shown}")
        yield from _TEXT.wrap(meanings[item.name])


def _default(item: dataclasses.Field[Any]) -> str | None:
    """The default of an option as TOML, None where it must be given."""
    default = item.default
    if item.default_factory is not dataclasses.MISSING:
        default = item.default_factory()
    return None if default is dataclasses.MISSING else toml.value(default)


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
