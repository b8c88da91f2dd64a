"""What documents say exists, and what exists is said by one."""

import dataclasses
import importlib.util
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from pipeline.run import options
from pipeline.run.config import Config
from serving import signatures
from tests.support import command_lines, documents, reference

ROOT = documents.ROOT
DOCUMENTS = documents.texts()
EVERYTHING = "\n".join(DOCUMENTS.values())
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z0-9-]*):.* ## ", MAKEFILE, re.M))


def anchors(text: str) -> set[str]:
    """Where links into a document may lead, as code hosts name them."""
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return {title.replace(" ", "-") for title in plain}


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_every_target_is_in_a_document(target: str) -> None:
    assert re.search(rf"\bmake (?:[\w-]+ )*{target}\b", EVERYTHING)


def test_every_target_of_a_document_exists() -> None:
    named = set()
    # In a sentence other words may follow, and what follows "bench" may be "…".
    for text in re.findall(r"(?:`|^)make ([a-z][^`\n#]*)", EVERYTHING, re.M):
        named.add(re.match(r"[a-z0-9-]*", text)[0])
    assert named - {"help", "bench"} <= TARGETS


@pytest.mark.parametrize(
    ("path", "text"),
    [
        pytest.param(path, text, id=path.name)
        for path, text in reference.pages()
    ],
)
def test_every_flag_and_option_is_in_a_document(path: Path, text: str) -> None:
    assert path.read_text("utf-8") == text, "run `make reference`"


def test_every_command_line_is_in_a_document() -> None:
    found = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in ("pipeline", "serving")
        for path in (ROOT / package).glob("**/*.py")
        if "node_modules" not in path.parts
        and '__name__ == "__main__"' in path.read_text("utf-8")
    }
    found = {name.removesuffix(".__main__") for name in found}
    listed = set(command_lines.MODULES)
    assert found == listed, "tests/support/command_lines.py lists them"


@pytest.mark.parametrize("module", command_lines.MODULES)
def test_every_command_says_how_it_is_used(module: str) -> None:
    for name, parser in command_lines.commands(command_lines.parser_of(module)):
        flags = {
            flag for action in parser._actions for flag in action.option_strings
        }
        text = parser.format_help()
        assert text.startswith(f"usage: python -m {module}"), name
        assert all(flag in text for flag in flags), name


def test_every_module_of_a_document_exists() -> None:
    for module in set(re.findall(r"python3? -m ([\w.]+)", EVERYTHING)):
        ours = module.partition(".")[0] in ("pipeline", "serving", "tests")
        assert not ours or importlib.util.find_spec(module), module


def test_every_option_of_a_document_exists() -> None:
    hints = typing.get_type_hints(Config)
    known = {
        f"{section}.{field.name}"
        for section in hints
        for kind in options.classes(hints[section])
        for field in dataclasses.fields(kind)
    }
    sections = "|".join({name.partition(".")[0] for name in known})
    named = set(
        re.findall(
            rf"`(?:SET=\")?((?:{sections})\.[a-z_]+)\b(?!\.)", EVERYTHING
        )
    )
    assert len(named) > 8
    assert {name for name in named if not name.endswith(".py")} <= known


def test_what_ci_runs_can_be_imported() -> None:
    text = (ROOT / ".ci/run").read_text("utf-8") + MAKEFILE
    found = re.findall(r"from ([\w.]+) import (\w+);", text)
    assert found
    for package, name in found:
        module = importlib.import_module(package)
        assert hasattr(module, name) or importlib.util.find_spec(
            f"{package}.{name}"
        )


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", DOCUMENTS[name]):
        if link.startswith(("http:", "https:")):
            continue
        path, _, anchor = link.partition("#")
        found = (ROOT / name).parent / path if path else ROOT / name
        assert found.exists(), link
        if anchor:
            assert anchor in anchors(found.read_text("utf-8")), link


def test_every_signature_is_in_a_document() -> None:
    names = {name for found in signatures.SIGNATURES.values() for name in found}
    names |= signatures.SIGNATURES.keys()
    for name in names:
        assert f"`{name}`" in EVERYTHING, name


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("README.md", 150),
        *((f"{part}/README.md", 120) for part in ("models", "tests")),
        *((f"{part}/README.md", 120) for part in ("pipeline", "serving")),
    ],
)
def test_a_first_page_is_short(name: str, most: int) -> None:
    assert len(DOCUMENTS[name].splitlines()) <= most


def test_every_table_of_figures_stands_with_its_command() -> None:
    sections = DOCUMENTS["pipeline/MEASURED.md"].split("\n## ")[1:]
    with_figures = [text for text in sections if "|---|" in text]
    assert len(with_figures) > 4
    for text in with_figures:
        assert re.search(r"make (retrain|train|bench|ablation)", text), text


def test_every_folder_of_a_document_exists() -> None:
    for name, text in DOCUMENTS.items():
        for found in re.findall(
            r"`((?:pipeline|serving|models|tests)/[\w./]+)`", text
        ):
            assert list(ROOT.glob(found.rstrip("/") + "*")), (name, found)


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", "workflows/*.yaml"),
        ("vendor.github-issue-forms", "ISSUE_TEMPLATE/*.yaml"),
    ],
)
def test_what_a_code_host_reads_is_well_formed(schema: str, files: str) -> None:
    found = sorted((ROOT / ".github").glob(files))
    assert found
    command = [sys.executable, "-m", "check_jsonschema", "--no-cache"]
    run = subprocess.run(
        [*command, "--builtin-schema", schema, *found],
        capture_output=True,
        text=True,
    )
    assert not run.returncode, run.stdout
