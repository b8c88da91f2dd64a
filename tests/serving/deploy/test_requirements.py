"""What is installed is what is imported, and what is locked is what is asked.

Each image runs a few modules; everything they reach, imports inside functions
included, must be pinned in the file its lock is made from. The locks are held
against those files and against what the installed packages themselves need.
"""

import ast
import importlib.metadata
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "serving" / "deploy"
OURS = ("models", "pipeline", "serving")
TYPES_ONLY = {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
IMAGES = {
    "recommender-serving": (
        DEPLOY / "Dockerfile",
        DEPLOY / "requirements-server.txt",
        DEPLOY / "requirements-server.lock",
    ),
    "recommender-training": (
        DEPLOY / "Dockerfile.training",
        ROOT / "requirements-spark.txt",
        DEPLOY / "requirements-training.lock",
    ),
}
# What an image runs on; markers are read for it.
LINUX = default_environment() | {
    "python_version": "3.11",
    "python_full_version": "3.11.9",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
}


def requirements(path):
    """Requirement by canonical name, files named with -r included."""
    found = {}
    for line in path.read_text().splitlines():
        line = line.split("#")[0].strip()
        if line.startswith("-r "):
            found |= requirements(path.parent / line[3:])
        elif line:
            requirement = Requirement(line)
            found[canonicalize_name(requirement.name)] = requirement
    return found


def locked(path):
    """Version and digests by canonical name."""
    found = {}
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.M)
    for entry in text.replace("\\\n", " ").splitlines():
        pin, *digests = entry.split()
        name, version = pin.split("==")
        assert canonicalize_name(name) == name
        found[name] = version, digests
    return found


def documents(folder):
    for path in sorted(folder.rglob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text())


def commands(node, image):
    """Every list of arguments that a container of the image is started with."""
    if isinstance(node, list):
        for part in node:
            yield from commands(part, image)
    elif isinstance(node, dict):
        if str(node.get("image", "")).split(":")[0] == image:
            for key in ("entrypoint", "command", "args"):
                yield node.get(key) or []
        for part in node.values():
            yield from commands(part, image)


def entry_modules(image):
    """Modules that the image is made to run with `python -m`."""
    dockerfile, _, _ = IMAGES[image]
    lists = [
        json.loads(text)
        for text in re.findall(
            r"^ENTRYPOINT (\[.*\])$", dockerfile.read_text(), re.M
        )
    ]
    for document in documents(DEPLOY):
        lists += commands(document, image)
    return {
        after
        for arguments in lists
        for before, after in zip(arguments, arguments[1:], strict=False)
        if before == "-m"
    }


def source(module):
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def reached(entries):
    """Names of others' modules that these modules import, by the importer."""
    found: dict[str, set[str]] = {}
    waiting = [*entries, *(f"{name}.__main__" for name in entries)]
    seen = set()
    while waiting:
        module = waiting.pop()
        path = source(module)
        if module in seen or path is None:
            continue
        seen.add(module)
        package = module.rpartition(".")[0]
        waiting.append(package)
        for name in imported(path):
            if name.split(".")[0] in OURS:
                waiting.append(name)
            elif name.split(".")[0] not in sys.stdlib_module_names:
                found.setdefault(name, set()).add(module)
    return found


def imported(path):
    tree = ast.parse(path.read_text())
    for node in list(ast.walk(tree)):
        # What only type checkers read is never imported.
        if isinstance(node, ast.If) and ast.unparse(node.test) in TYPES_ONLY:
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, path
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def missing(entries, listed):
    """Imports that no listed distribution brings, with who needs them."""
    brings = importlib.metadata.packages_distributions()
    return {
        name: sorted(importers)
        for name, importers in reached(entries).items()
        if not any(
            canonicalize_name(distribution) in listed
            # One that is not installed here is called as its module is.
            for distribution in brings.get(
                name.split(".")[0], [name.split(".")[0]]
            )
        )
    }


def test_the_images_run_the_modules_we_think_of():
    assert entry_modules("recommender-serving") == {
        "serving.server",
        "serving.releases.pointer",
    }
    assert "pipeline" in entry_modules("recommender-training")


@pytest.mark.parametrize("image", IMAGES)
def test_everything_an_image_imports_is_pinned(image):
    _, asked, _ = IMAGES[image]
    assert missing(entry_modules(image), requirements(asked)) == {}


def test_everything_the_client_imports_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = {
        canonicalize_name(Requirement(text).name)
        for text in project["dependencies"]
    }
    assert missing({"serving.client"}, listed) == {}


@pytest.mark.parametrize("name", ["waitress", "grpcio-health-checking"])
def test_an_unlisted_import_is_found(name):
    _, asked, _ = IMAGES["recommender-serving"]
    listed = requirements(asked)
    del listed[name]
    found = missing({"serving.server"}, listed)
    assert found, name
    assert all(importers for importers in found.values())


@pytest.mark.parametrize("image", IMAGES)
def test_pins_are_the_projects(image):
    _, asked, _ = IMAGES[image]
    ours = requirements(ROOT / "requirements-spark.txt")
    for name, requirement in requirements(asked).items():
        assert str(requirement) == str(ours[name])
        assert str(requirement.specifier).startswith("==")


@pytest.mark.parametrize("image", IMAGES)
def test_the_lock_is_of_the_requirements(image):
    """`make lock` was run after the last change, and nothing is by hand."""
    _, asked, lock = IMAGES[image]
    pins = locked(lock)
    for _, digests in pins.values():
        assert digests
        assert all(
            re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", digest)
            for digest in digests
        )
    needed = set()
    waiting = [(found, True, "") for found in requirements(asked).values()]
    while waiting:
        requirement, holds, wanted_by = waiting.pop()
        name = canonicalize_name(requirement.name)
        version, _ = pins.get(name, ("nothing", []))
        fits = name in pins and requirement.specifier.contains(version, True)
        assert fits or not holds, (
            f"{wanted_by or asked.name} needs {requirement}, not {version}: "
            "make lock"
        )
        key = (name, frozenset(requirement.extras))
        if key not in needed:
            needed.add(key)
            # Another release than the locked one may need other things.
            same = installed(name) == version
            waiting += [(found, same, name) for found in needs(requirement)]
    assert set(pins) - {name for name, _ in needed} <= OF_PYSPARK
    assert "://" not in lock.read_text()


# pyspark is not installed for the tests, so what it needs is written down.
OF_PYSPARK = {"py4j"}


def installed(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def needs(requirement):
    """What the installed release of a package requires on Linux."""
    if installed(requirement.name) is None:
        return
    for text in importlib.metadata.requires(requirement.name) or []:
        found = Requirement(text)
        extras = requirement.extras or {""}
        if not found.marker or any(
            found.marker.evaluate(LINUX | {"extra": extra}) for extra in extras
        ):
            yield found


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_installs_its_lock_and_nothing_else(image):
    dockerfile, _, lock = IMAGES[image]
    text = dockerfile.read_text()
    copied = lock.relative_to(ROOT)
    assert f"COPY {copied} /\n" in text
    installs = re.findall(r"pip install[^&]*", text)
    assert installs
    for install in installs:
        assert "--require-hashes" in install
    ignored = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
    assert f"!{copied}" in ignored.read_text().splitlines()
