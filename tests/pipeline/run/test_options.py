"""What `python -m pipeline options` says."""

import dataclasses
import typing
from typing import Any

import pytest

from models.config import ConfigError
from pipeline.run import options
from pipeline.run.config import Config, classes

SECTIONS = [
    (name, kind)
    for name, hint in typing.get_type_hints(Config).items()
    for kind in classes(hint)
]


@pytest.mark.parametrize(
    "kind",
    [Config, *(kind for _name, kind in SECTIONS)],
    ids=lambda kind: kind.__name__,
)
def test_every_option_is_documented_and_no_other(kind: Any) -> None:
    documented = options.attributes(kind)
    assert set(documented) == {item.name for item in dataclasses.fields(kind)}
    assert all(len(meaning) > 10 for meaning in documented.values())


def test_there_are_ninety_options_at_most() -> None:
    names = {
        (section, item.name)
        for section, kind in SECTIONS
        for item in dataclasses.fields(kind)
    }
    plain = len(dataclasses.fields(Config)) - len({s for s, _kind in SECTIONS})
    assert len(names) + plain <= 90


def test_a_section_is_shown_with_defaults_and_meanings() -> None:
    lines = list(options.describe("index"))
    assert lines[0].startswith("\n[index]: The nearest-neighbour index")
    place = lines.index("num_candidates = 200")
    assert lines[place + 1].startswith("    Items retrieved a query (K)")
    assert all(len(line) < 80 for line in lines[1:])


def test_each_kind_of_source_is_shown_by_itself() -> None:
    text = "\n".join(options.describe("source"))
    tabular = text.partition('kind = "tabular"')[2]
    assert "\npath = " in tabular and "\nuser_id = " in tabular
    assert "num_users" not in tabular


def test_all_sections_are_shown_and_others_refused() -> None:
    text = "\n".join(options.describe())
    assert text.startswith("name (required)\n")
    assert all(f"\n[{section}]" in text for section, _kind in SECTIONS)
    with pytest.raises(ConfigError, match="must be one of source, prepare"):
        list(options.describe("models"))
