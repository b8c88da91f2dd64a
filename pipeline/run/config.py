"""One TOML file becomes one frozen `Config`.

Sections are dataclasses that stand beside the code they configure; this module
composes and fills them. Every problem of a file is reported in one
`ConfigError`: unknown keys with the nearest known one, wrong types, and the
rules the sections check themselves, each with the file and section it is from.
"""

import dataclasses
import difflib
import os
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from models.config import ConfigError, Options, RankingConfig, RetrievalConfig
from models.student_config import StudentConfig
from pipeline.run import former
from pipeline.run.data import (
    ChecksConfig,
    PrepareConfig,
    Source,
    SyntheticSource,
)
from pipeline.run.release import EvaluateConfig, IndexConfig, PublishConfig


@dataclass(frozen=True)
class Config(Options):
    """Everything one run of the pipeline depends on.

    Attributes:
        name: Names the run directory `<artifacts>/runs/<name>`.
        seed: Every step derives its own random state from this and its name.
        artifacts: Directory everything is written under.
        source: Where the interaction log and the catalogue come from.
        prepare: Filters, split and engine.
        checks: How far data may differ from the live version's.
        retrieval: The two-tower model.
        index: Its nearest-neighbour index.
        ranking: The model that rescores what was retrieved.
        student: The on-device model that the other two teach.
        evaluate: How the exported models are measured.
        publish: The gate in front of a release.
    """

    name: str
    seed: int
    artifacts: str = "artifacts"
    source: Source = field(default_factory=SyntheticSource)
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    checks: ChecksConfig = field(default_factory=ChecksConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    index: IndexConfig = field(default_factory=IndexConfig)
    ranking: RankingConfig = field(default_factory=RankingConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)

    def _rules(self) -> Iterator[tuple[bool, str]]:
        yield (
            bool(re.fullmatch(r"(?!\.)[A-Za-z0-9_.-]+", self.name)),
            "`name` must be letters, digits, '-', '_' or '.', because it names "
            f"a directory. Received: {self.name!r}.",
        )
        yield (
            self.seed >= 0,
            f"`seed` must not be negative. Received: {self.seed}.",
        )
        yield (
            self.evaluate.part == "test" or not self.retrieval.refit,
            "`evaluate.part` must be 'test' where `retrieval.refit` is true: a "
            "model refitted on the validation part has seen its answers. "
            "Received: 'validation'. Set retrieval.refit=false.",
        )

    @property
    def run_directory(self) -> Path:
        """Directory of this run's steps."""
        return Path(self.artifacts) / "runs" / self.name

    @property
    def serving_directory(self) -> Path:
        """Directory of published versions and `models.config`."""
        return Path(self.artifacts) / "serving"


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Reads a config file and applies overrides.

    Args:
        path: A TOML file. `${DATA_DIR}` in its strings becomes that
            environment variable, `data` where it is not set.
        overrides: `section.key=value`, the value in TOML, quotes optional
            around text.

    Raises:
        ConfigError: If the file is missing, is not TOML or breaks any rule;
            all broken rules are listed.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"A config file must exist and be readable. Received: {path} "
            f"({error.strerror}). Pass CONFIG=<file>; "
            "pipeline/configs has examples."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"A config file must be TOML. Received: {error} (from {path})."
        ) from error
    problems = list(filter(None, (_override(values, o) for o in overrides)))
    config = _build(Config, values, "", str(path), problems)
    if problems or config is None:
        raise ConfigError(problems)
    return config


def _override(values: dict[str, Any], override: str) -> str | None:
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        return (
            "An override must read `section.key=value`. Received: "
            f"{override!r} (from SET)."
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    for part in parts[:-1]:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            return f"`{part}` is a value, not a section (from SET {override})."
    values[parts[-1]] = value
    return None


def _build(
    hint: Any, values: Any, section: str, origin: str, problems: list[str]
) -> Any:
    """Makes one dataclass of `values`, appending what is wrong.

    `hint` is a dataclass, or several that their `kind` tells apart: an option
    of another kind is checked and left. `section` is dotted, "" at the top.
    """
    where = f"(from [{section}] in {origin})" if section else f"(from {origin})"
    if not isinstance(values, Mapping):
        problems.append(
            f"`{section}` must be a section. Received: {values!r} (from "
            f"{origin}). Write [{section}]."
        )
        return None
    values = former.as_now(section, values, problems, where)
    kind, hints = _kind(classes(hint), values)
    arguments = {}
    for key, value in values.items():
        if key not in hints:
            problems += _unknown(section, key, value, list(hints), where)
        elif classes(hints[key]):
            inner = f"{section}.{key}" if section else key
            made = _build(hints[key], value, inner, origin, problems)
            if made is not None:
                arguments[key] = made
        else:
            try:
                arguments[key] = _convert(value, hints[key])
            except TypeError as error:
                problems.append(
                    f"`{key}` must be {error}. Received: {value!r} {where}."
                )
    options = dataclasses.fields(kind)
    missing = [
        item.name
        for item in options
        if item.default is item.default_factory is dataclasses.MISSING
        and item.name not in arguments
    ]
    problems += [
        f"`{name}` is required {where}."
        for name in missing
        if name not in values
    ]
    if missing:
        return None
    # Where a value was refused its default stands in, so that the rules of
    # the other values are checked in the same pass.
    own = {o.name: arguments[o.name] for o in options if o.name in arguments}
    try:
        return kind(**own)
    except ConfigError as error:
        problems.extend(f"{problem} {where}" for problem in error.problems)
        return None


def classes(hint: Any) -> tuple[Any, ...]:
    """The dataclasses that a section may be; none for a plain value."""
    found = typing.get_args(hint) or (hint,)
    return found if all(map(dataclasses.is_dataclass, found)) else ()


def _kind(
    kinds: tuple[Any, ...], values: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The dataclass that `kind` names, and the types of all their options."""
    hints: dict[str, Any] = {}
    for each in kinds:
        hints |= typing.get_type_hints(each)
    if len(kinds) == 1:
        return kinds[0], hints
    named = {each.kind: each for each in kinds}
    hints["kind"] = Literal[tuple(named)]
    return named.get(str(values.get("kind")), kinds[0]), hints


def _unknown(
    section: str, key: str, value: object, known: list[str], where: str
) -> list[str]:
    """What is wrong with a key that is no option, or is none any more."""
    if (said := former.said_of(section, key, value)) is not None:
        return [f"{line} {where}. Remove it." for line in said]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    return [
        f"`{key}` is not a known key {where}. The nearest is `{near[0]}`; "
        f"all: {', '.join(known)}."
    ]


def _convert(value: Any, hint: Any) -> Any:
    """`value` as the hinted type, or a TypeError with the permitted form."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise TypeError(f"one of {', '.join(map(repr, arguments))}")
        return value
    if origin in (typing.Union, types.UnionType):
        permitted = []
        for argument in arguments:
            try:
                return _convert(value, argument)
            except TypeError as error:
                permitted.append(str(error))
        raise TypeError(" or ".join(permitted))
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError("a list")
        return tuple(_convert(item, arguments[0]) for item in value)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise TypeError("a table of `name = value`")
        return {k: _convert(item, arguments[1]) for k, item in value.items()}
    if hint is float and type(value) is int:
        return float(value)
    if hint is str and isinstance(value, str):
        return value.replace("${DATA_DIR}", os.environ.get("DATA_DIR", "data"))
    kinds = {int: "a whole number", float: "a number", bool: "true or false"}
    # Of TOML's values a boolean alone would pass for another: for a number.
    if type(value) is not hint:
        raise TypeError(kinds.get(hint, "text"))
    return value
