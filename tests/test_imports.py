"""The packages depend on each other in one direction only."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("models", "serving", "pipeline")
PERMITTED = {
    "models": {"models"},
    "serving": {"serving"},
    "pipeline": {"models", "serving", "pipeline"},
}


def _modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def _imports(path: Path, top_level_only: bool) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in PACKAGES}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_permitted_packages_only(package: str) -> None:
    for name, path in _modules().items():
        if name.split(".")[0] == package:
            used = {item.split(".")[0] for item in _imports(path, False)}
            assert used <= PERMITTED[package], f"{name} imports {used}"


def test_modules_form_no_cycle() -> None:
    modules = _modules()
    graph = {
        name: {
            item
            for item in _imports(path, True)
            # `from package import name` also names the package itself, whose
            # own imports are followed from there; a module inside that
            # package names it only to reach its siblings.
            if item in modules
            and item != name
            and not name.startswith(f"{item}.")
        }
        for name, path in modules.items()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for item in sorted(graph[name]):
                visit(item, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_the_check_sees_a_forbidden_import(tmp_path: Path) -> None:
    module = tmp_path / "bad.py"
    module.write_text("def f():\n    from pipeline import prepare\n")
    assert "pipeline" in _imports(module, False)
    assert not _imports(module, True)
