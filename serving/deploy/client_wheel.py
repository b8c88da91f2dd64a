"""Builds the client as a package of its own: `recommender_client`.

Enters: serving/client, serving/wire and the few modules of `serving` they
need. Leaves: one package that imports nothing but itself, gRPC, protobuf and
NumPy. In the repository they import each other as `serving...`; a package
installed under that name would stand in the way of an application's own, so
names are changed while building, in messages and docstrings as well.
"""

import re
import shutil
from pathlib import Path

from setuptools.command.build_py import build_py

PACKAGE = "recommender_client"
SHARED = ("errors", "ids", "labels", "signatures")
_NAMES = re.compile(
    rf"\bserving(?:\.client\b|(?=\.(?:wire|{'|'.join(SHARED)})\b)|(?= import ))"
)


def renamed(text: str) -> str:
    """Changes the names of modules in a source text to the package's."""
    return _NAMES.sub(PACKAGE, text)


class BuildClient(build_py):
    """setuptools' step that collects modules, with ours added and renamed."""

    def find_package_modules(
        self, package: str, package_dir: str
    ) -> list[tuple[str, str, str]]:
        """Lists a package's modules: (package, module, file)."""
        found = super().find_package_modules(package, package_dir)
        if package == PACKAGE:
            found += [(package, name, f"serving/{name}.py") for name in SHARED]
        return found

    def get_source_files(self) -> list[str]:
        """Lists what a source distribution needs to build the same."""
        return [*super().get_source_files(), "serving/deploy/client_wheel.py"]

    def run(self) -> None:
        """Collects the modules, then changes their names in the copies."""
        built = Path(self.build_lib, PACKAGE)
        # What an earlier build left may be gone from the sources.
        shutil.rmtree(built, ignore_errors=True)
        super().run()
        for path in built.rglob("*.py*"):
            if path.suffix in (".py", ".pyi"):
                text = path.read_text(encoding="utf-8")
                path.write_text(renamed(text), encoding="utf-8")
