"""One TOML file becomes one frozen `Config`.

Sections are dataclasses that stand beside the code they configure; this module
composes and fills them. Every problem of a file is reported in one
`ConfigError`: unknown keys with the nearest known one, wrong types, and the
rules the sections check themselves, each with the file and section it is from.
"""

import dataclasses
import difflib
import os
import string
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from models.config import (
    ConfigError,
    RankingConfig,
    RetrievalConfig,
    check,
)
from models.student_config import StudentConfig
from pipeline.tables.schema import PrepareConfig, SourceConfig


@dataclass(frozen=True)
class IndexConfig:
    """The nearest-neighbour index of the exported retrieval model.

    Attributes:
        kind: "exact" scores the whole catalogue, "scann" builds a ScaNN tree,
            "auto" takes exact below `exact_below` items.
        exact_below: Catalogue size under which an exact search is as fast as
            ScaNN and needs no op library; where ScaNN is built, `index.json`
            holds the latency of both.
        num_candidates: Items retrieved a query (K), fixed at export.
        recall_floor: Share of the exact top `num_candidates` that the tuned
            ScaNN index must return.
        num_tuning_queries: Queries the recall is measured on.
    """

    kind: Literal["auto", "exact", "scann"] = "auto"
    exact_below: int = 20_000
    num_candidates: int = 200
    recall_floor: float = 0.95
    num_tuning_queries: int = 500

    def __post_init__(self) -> None:
        check(
            (
                self.num_candidates >= 1,
                "`num_candidates` must be at least 1. Received: "
                f"{self.num_candidates}.",
            ),
            (
                0.0 < self.recall_floor <= 1.0,
                "`recall_floor` must be above 0 and at most 1. Received: "
                f"{self.recall_floor}.",
            ),
            (
                self.num_tuning_queries >= 1,
                "`num_tuning_queries` must be at least 1. Received: "
                f"{self.num_tuning_queries}.",
            ),
        )


@dataclass(frozen=True)
class EvaluateConfig:
    """How the exported models are measured.

    Attributes:
        part: The part whose interactions are the targets. Choose settings on
            "validation", report "test".
        protocol: "split" asks once a user at the start of the part, "rolling"
            before each of the user's interactions in it.
        seen: Whether items of the history may be recommended; under
            `prepare.repeat_consumption` they always may. "included"
            reproduces tutorials only and is labelled so; the row
            `retrieval_as_shipped` then has the answers without them.
        bootstrap_samples: Resamples behind each confidence interval.
        num_users: Users drawn for the evaluation, 0 for all.
        diversity: Settings of the fused model's diversity whose cost is
            reported; [] reports none.
    """

    part: Literal["validation", "test"] = "test"
    protocol: Literal["split", "rolling"] = "split"
    seen: Literal["excluded", "included"] = "excluded"
    bootstrap_samples: int = 1000
    num_users: int = 0
    diversity: tuple[float, ...] = (0.3,)

    def __post_init__(self) -> None:
        check(
            (
                self.bootstrap_samples >= 100,
                "`bootstrap_samples` must be at least 100 for a usable "
                f"interval. Received: {self.bootstrap_samples}.",
            ),
            (
                self.num_users >= 0,
                f"`num_users` must not be negative. Received: "
                f"{self.num_users}.",
            ),
            (
                all(0.0 < value <= 1.0 for value in self.diversity),
                "`diversity` must be above 0 and at most 1. Received: "
                f"{list(self.diversity)}.",
            ),
        )


@dataclass(frozen=True)
class PublishConfig:
    """The gate in front of a release.

    Attributes:
        metric: The figure compared, a column of evaluation.json.
        must_beat: Rows of evaluation.json that two_stage must exceed.
        student_must_beat: Rows that the on-device student must exceed.
        keep_versions: Versions kept by `prune`, the live and the previous one
            always among them; 0 keeps all.
        keep_previous_loaded: Whether servers hold the release before the live
            one in memory as well, so that a rollback need not load it.
    """

    metric: str = "ndcg@10"
    must_beat: tuple[str, ...] = ("popularity", "recent_popularity")
    student_must_beat: tuple[str, ...] = ("popularity",)
    keep_versions: int = 0
    keep_previous_loaded: bool = False

    def __post_init__(self) -> None:
        check(
            (
                self.keep_versions == 0 or self.keep_versions >= 2,
                "`keep_versions` must be 0 or at least 2, so that a rollback "
                f"has a target. Received: {self.keep_versions}.",
            )
        )


@dataclass(frozen=True)
class Config:
    """Everything one run of the pipeline depends on.

    Attributes:
        name: Names the run directory `<artifacts>/runs/<name>`.
        seed: Every step derives its own random state from this and its name.
        artifacts: Directory everything is written under.
        source: Where the interaction log and the catalogue come from.
        prepare: Filters, split and engine.
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
    source: SourceConfig = field(default_factory=SourceConfig)
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    index: IndexConfig = field(default_factory=IndexConfig)
    ranking: RankingConfig = field(default_factory=RankingConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)

    def __post_init__(self) -> None:
        named = bool(self.name) and not set(self.name) - set(
            string.ascii_letters + string.digits + "-_."
        )
        check(
            (
                named and not self.name.startswith("."),
                "`name` must be letters, digits, '-', '_' or '.', because it "
                f"names a directory. Received: {self.name!r}.",
            ),
            (
                self.seed >= 0,
                f"`seed` must not be negative. Received: {self.seed}.",
            ),
            (
                self.evaluate.part == "test" or not self.retrieval.refit,
                "`evaluate.part` must be 'test' where `retrieval.refit` is "
                "true: a model refitted on the validation part has seen its "
                "answers. Received: 'validation'. Set retrieval.refit=false.",
            ),
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
    problems: list[str] = []
    for override in overrides:
        problem = _override(values, override)
        if problem:
            problems.append(problem)
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
    kind: type, values: Any, section: str, origin: str, problems: list[str]
) -> Any:
    """Makes one dataclass of `values`, appending what is wrong."""
    where = f"(from [{section}] in {origin})" if section else f"(from {origin})"
    if not isinstance(values, Mapping):
        problems.append(
            f"`{section}` must be a section. Received: {values!r} (from "
            f"{origin}). Write [{section}]."
        )
        return None
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1, cutoff=0.0)
            problems.append(
                f"`{key}` is not a known key {where}. The nearest is "
                f"`{near[0]}`; all: {', '.join(hints)}."
            )
    found = len(problems)
    arguments = {}
    is_complete = True
    for item in dataclasses.fields(kind):
        name = item.name
        inner = f"{section}.{name}" if section else name
        if name not in values:
            if (
                item.default is dataclasses.MISSING
                and item.default_factory is dataclasses.MISSING
            ):
                problems.append(f"`{name}` is required {where}.")
                is_complete = False
        elif dataclasses.is_dataclass(hints[name]):
            made = _build(
                typing.cast(type, hints[name]),
                values[name],
                inner,
                origin,
                problems,
            )
            if made is not None:
                arguments[name] = made
        else:
            try:
                arguments[name] = _convert(values[name], hints[name])
            except TypeError as error:
                problems.append(
                    f"`{name}` must be {error}. Received: "
                    f"{values[name]!r} {where}."
                )
                is_complete &= item.default is not dataclasses.MISSING
    if not is_complete:
        return None
    # Where a value was refused its default stands in, so that the rules of
    # the other values are checked in the same pass.
    made = None
    try:
        made = kind(**arguments)
    except ConfigError as error:
        problems.extend(f"{problem} {where}" for problem in error.problems)
    return made if len(problems) == found else None


def _convert(value: Any, hint: Any) -> Any:
    """Returns `value` as the hinted type.

    Raises:
        TypeError: With the permitted form, if it is something else.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in arguments:
            names = ", ".join(repr(argument) for argument in arguments)
            raise TypeError(f"one of {names}")
        return value
    if origin in (typing.Union, types.UnionType):
        for argument in arguments:
            if argument is type(None):
                continue
            try:
                return _convert(value, argument)
            except TypeError as error:
                problem = error
        raise problem
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError("a list")
        return tuple(_convert(item, arguments[0]) for item in value)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise TypeError("a table of `name = value`")
        return {
            key: _convert(item, arguments[1]) for key, item in value.items()
        }
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is str and isinstance(value, str):
        data = os.environ.get("DATA_DIR", "data")
        return value.replace("${DATA_DIR}", data)
    kinds = {int: "a whole number", float: "a number", bool: "true or false"}
    if not isinstance(value, hint) or (
        isinstance(value, bool) and hint is not bool
    ):
        raise TypeError(kinds.get(hint, "text"))
    return value
