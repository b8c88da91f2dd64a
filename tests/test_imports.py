"""Who may import whom, and how large things may grow."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What each part may import besides itself. A part is a folder with what is
# below it, or a module, as far as no other part names it more closely.
ARROWS = {
    "models": "",
    "serving": "",
    "serving.wire": "",
    "serving.client.transport": "serving serving.wire",
    "serving.prediction_log": "serving",
    "serving.client": "serving serving.wire serving.client.transport",
    "serving.client.command": "serving serving.client",
    "serving.client.__main__": "serving serving.client serving.client.command",
    "serving.releases": (
        "serving serving.wire serving.client serving.prediction_log"
    ),
    "serving.ondevice": "serving serving.releases",
    "serving.ondevice.web": "serving serving.ondevice",
    "serving.server.cpus": "",
    "serving.server.telemetry": "",
    "serving.server.runtime": "serving serving.wire",
    "serving.server.batching": (
        "serving serving.wire serving.releases serving.server.cpus "
        "serving.server.runtime serving.server.telemetry"
    ),
    "serving.server.answers": "serving serving.wire serving.server.runtime",
    "serving.server.lifecycle": (
        "serving serving.wire serving.releases serving.server.answers "
        "serving.server.cpus serving.server.runtime serving.server.telemetry"
    ),
    "serving.server.flags": "serving serving.wire serving.server.cpus",
    "serving.server.health": "serving.server.lifecycle",
    "serving.server.request_logger": (
        "serving serving.wire serving.prediction_log serving.server.telemetry"
    ),
    "serving.server.servicer": (
        "serving serving.wire serving.server.answers "
        "serving.server.lifecycle serving.server.request_logger "
        "serving.server.telemetry"
    ),
    "serving.server.rpc": (
        "serving serving.wire serving.releases "
        "serving.server.servicer serving.server.telemetry"
    ),
    "serving.server.rest": (
        "serving serving.wire serving.releases serving.server.health "
        "serving.server.servicer serving.server.telemetry"
    ),
    "serving.server": (
        "serving serving.prediction_log serving.releases "
        "serving.server.answers serving.server.request_logger "
        "serving.server.batching serving.server.cpus serving.server.flags "
        "serving.server.health serving.server.lifecycle serving.server.rest "
        "serving.server.rpc serving.server.servicer serving.server.telemetry"
    ),
    "serving.bench": (
        "serving serving.client serving.client.command "
        "serving.prediction_log serving.releases"
    ),
    "serving.deploy": "",
    "pipeline": "models",
    "pipeline.tables": "models",
    "pipeline.run": "models serving.releases pipeline.tables",
    "pipeline.measure": "models pipeline.tables",
    "pipeline.sources.canonical": "pipeline.tables",
    "pipeline.sources.reading": (
        "pipeline.run pipeline.tables pipeline.sources.canonical"
    ),
    "pipeline.sources.tabular": (
        "serving.releases pipeline.run pipeline.tables "
        "pipeline.sources.canonical pipeline.sources.reading"
    ),
    "pipeline.sources": (
        "pipeline.run pipeline.tables pipeline.sources.canonical "
        "pipeline.sources.reading pipeline.sources.tabular"
    ),
    "pipeline.prepare": (
        "models serving serving.releases pipeline.run pipeline.tables "
        "pipeline.sources pipeline.sources.canonical"
    ),
    "pipeline.warm": "models serving.releases pipeline.run pipeline.tables",
    "pipeline.retrieval": (
        "models serving.releases pipeline.run pipeline.tables pipeline.measure "
        "pipeline.warm"
    ),
    "pipeline.ranking": (
        "models pipeline.run pipeline.tables pipeline.measure pipeline.warm "
        "pipeline.retrieval"
    ),
    "pipeline.export": (
        "models serving serving.releases pipeline.run pipeline.tables "
        "pipeline.retrieval pipeline.ranking"
    ),
    "pipeline.ondevice": (
        "models serving serving.ondevice serving.releases pipeline.run "
        "pipeline.tables pipeline.measure pipeline.warm pipeline.retrieval "
        "pipeline.ranking pipeline.export"
    ),
    "pipeline.evaluate": (
        "models serving serving.ondevice serving.releases "
        "pipeline.run pipeline.tables pipeline.measure "
        "pipeline.retrieval pipeline.ranking pipeline.export "
        "pipeline.ondevice"
    ),
    "pipeline.release": (
        "models serving serving.ondevice serving.releases "
        "pipeline.run pipeline.warm pipeline.export pipeline.evaluate "
        "pipeline.terminal"
    ),
    "pipeline.items": (
        "models serving serving.releases pipeline.run pipeline.tables "
        "pipeline.measure pipeline.sources.tabular pipeline.warm "
        "pipeline.retrieval pipeline.export pipeline.evaluate pipeline.release"
    ),
    "pipeline.onboard": (
        "serving serving.releases pipeline.run pipeline.tables "
        "pipeline.measure pipeline.sources pipeline.sources.canonical "
        "pipeline.sources.reading pipeline.sources.tabular "
        "pipeline.prepare"
    ),
    "pipeline.bench": (
        "models serving serving.bench serving.client serving.client.command "
        "serving.releases serving.server.runtime pipeline.needs pipeline.run "
        "pipeline.tables pipeline.measure pipeline.prepare pipeline.retrieval "
        "pipeline.ranking pipeline.ondevice pipeline.release"
    ),
    "pipeline.terminal": (
        "serving serving.client serving.releases pipeline.tables "
        "pipeline.sources.canonical pipeline.prepare pipeline.export "
        "pipeline.evaluate"
    ),
    "pipeline.report": (
        "models serving serving.releases pipeline.run pipeline.tables "
        "pipeline.measure pipeline.prepare pipeline.retrieval "
        "pipeline.evaluate pipeline.release pipeline.terminal"
    ),
    "pipeline.explore": (
        "models serving serving.client serving.client.transport serving.wire "
        "serving.ondevice serving.ondevice.web serving.releases pipeline.run "
        "pipeline.tables pipeline.measure pipeline.retrieval "
        "pipeline.ranking pipeline.export pipeline.evaluate pipeline.terminal"
    ),
    "pipeline.feedback": (
        "serving serving.client.transport "
        "serving.prediction_log serving.releases serving.wire "
        "serving.server.answers serving.server.lifecycle "
        "serving.server.runtime serving.server.telemetry pipeline.run "
        "pipeline.tables pipeline.measure pipeline.sources pipeline.report "
        "pipeline.terminal"
    ),
    "pipeline.needs": (
        "pipeline.run pipeline.sources pipeline.sources.reading pipeline.export"
    ),
    "pipeline.steps": "*",
    "pipeline.releases": "*",
    "pipeline.status": "*",
    "pipeline.exits": (
        "models serving serving.releases pipeline.tables pipeline.release"
    ),
    "pipeline.textfile": (
        "serving serving.releases pipeline.exits pipeline.needs pipeline.run "
        "pipeline.evaluate pipeline.release"
    ),
    "pipeline.__main__": "*",
}
MOST_LINES = 400
MOST_FILES = 14
GENERATED = "_pb2"


def _modules() -> dict[str, Path]:
    found = {}
    for package in ("models", "serving", "pipeline"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = _modules()


def _imported(tree: ast.AST) -> set[str]:
    """Modules of ours that a text names, not the packages on the way."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & MODULES.keys()
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= whole & MODULES.keys()
            if whole - MODULES.keys() and node.module in MODULES:
                found.add(node.module)
    return found


def _part(module: str, parts: dict[str, str] = ARROWS) -> str:
    while module not in parts:
        module = module.rpartition(".")[0]
    return module


def _forbidden(module: str, imported: set[str]) -> set[str]:
    here = _part(module)
    allowed = ARROWS[here].split()
    return {
        name
        for name in imported
        if _part(name) not in (here, *allowed) and allowed != ["*"]
    }


IMPORTS = {
    name: _imported(ast.parse(path.read_text("utf-8")))
    for name, path in MODULES.items()
}


@pytest.mark.parametrize("part", ARROWS)
def test_a_part_imports_what_it_may(part: str) -> None:
    found = {
        name: wrong
        for name, imported in IMPORTS.items()
        if _part(name) == part and (wrong := _forbidden(name, imported))
    }
    assert not found


def test_the_check_sees_a_forbidden_import() -> None:
    text = "def f():\n    from pipeline.prepare import splits\n"
    imported = _imported(ast.parse(text))
    assert _forbidden("pipeline.tables.schema", imported)
    assert not _forbidden("pipeline.onboard.trial", imported)


def test_every_arrow_is_drawn_by_some_import() -> None:
    drawn = {
        (_part(name), _part(other))
        for name, imported in IMPORTS.items()
        for other in imported
    }
    for part, allowed in ARROWS.items():
        for other in allowed.split():
            assert other == "*" or (part, other) in drawn, (part, other)


def test_parts_stand_above_each_other() -> None:
    graphlib.TopologicalSorter(
        {
            part: [name for name in allowed.split() if name != "*"]
            for part, allowed in ARROWS.items()
        }
    ).prepare()


def test_modules_stand_above_each_other() -> None:
    graphlib.TopologicalSorter(
        {name: found - {name} for name, found in IMPORTS.items()}
    ).prepare()


@pytest.mark.parametrize("name", MODULES)
def test_no_file_is_too_long(name: str) -> None:
    if not name.endswith(GENERATED):
        lines = MODULES[name].read_text("utf-8").count("\n")
        assert lines <= MOST_LINES


def test_folders_say_what_they_hold() -> None:
    for name, path in MODULES.items():
        if path.name != "__init__.py":
            continue
        text = ast.get_docstring(ast.parse(path.read_text("utf-8")))
        assert text, name
        if name.count(".") == 1 and name.startswith("pipeline."):
            assert "Enters: " in text and "Leaves: " in text, name
        files = [
            found
            for found in path.parent.glob("*.py")
            if not found.stem.endswith(GENERATED) and found != path
        ]
        assert len(files) <= MOST_FILES, (name, len(files))
