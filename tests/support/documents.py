"""What documents hold: blocks of code, and the commands in them.

bash itself reads a block of shell: it runs with no program to be found but
stand-ins that note what they were asked, so quotes, loops and comments mean
what they mean to a reader who pastes the block. make is asked for the commands
behind a target, and those are read the same way.
"""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
_TOP = ("", ".github", "pipeline", "serving", "models", "tests")
_PATHS = (
    *(".ci/run", ".venv/bin/python", "artifacts/protoc/bin/python"),
    *("/usr/bin/time", str(shutil.which("make"))),
)
_NOTE = """
command_not_found_handle() { printf '%s\\0' "$#" "$@" >> "$NOTED"; }
""" + "\n".join(
    f'{path}() {{ command_not_found_handle {path} "$@"; }}' for path in _PATHS
)


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        document: Its path below the checkout.
        line: Where it begins, from 1.
        language: As the document names it, "" where it does not.
        text: What is in it.
    """

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def texts() -> dict[str, str]:
    """All documents, by their paths."""
    found = {}
    for folder in _TOP:
        pattern = "**/*.md" if folder else "*.md"
        for path in sorted((ROOT / folder).glob(pattern)):
            if "node_modules" not in path.parts:
                found[str(path.relative_to(ROOT))] = path.read_text("utf-8")
    return found


def blocks() -> list[Block]:
    """The blocks of all documents."""
    return [
        Block(name, (token.map or [0])[0] + 1, token.info, token.content)
        for name, text in texts().items()
        for token in MarkdownIt().parse(text)
        if token.type in ("fence", "code_block")
    ]


def spans() -> list[Block]:
    """What sentences and tables name as code."""
    return [
        Block(name, (token.map or [0])[0] + 1, "", child.content)
        for name, text in texts().items()
        for token in MarkdownIt().enable("table").parse(text)
        for child in token.children or ()
        if child.type == "code_inline"
    ]


def commands(script: str, directory: Path) -> list[tuple[str, ...]]:
    """The programs that a script starts, with their arguments, in order.

    A target of make stands for the commands behind it.

    Args:
        script: For bash.
        directory: Where it runs; what it redirects is written there.

    Raises:
        AssertionError: If bash cannot read the script, or make has no such
            target.
    """
    noted = _noted(script, directory, {})
    found: list[tuple[str, ...]] = []
    for command in noted:
        found += _behind(command[1:], directory) if command[0] == "make" else []
        found.append(command)
    return found


def _behind(
    arguments: tuple[str, ...], directory: Path
) -> list[tuple[str, ...]]:
    made = subprocess.run(
        [
            *(str(shutil.which("make")), "-n", "-s"),
            *("-o", "setup", "-o", "setup-dev", "RUN=python", *arguments),
        ],
        cwd=directory,
        env=_environment(),
        capture_output=True,
        text=True,
    )
    assert not made.returncode, (arguments, made.stderr)
    given = dict(part.split("=", 1) for part in arguments if "=" in part)
    return _noted(made.stdout, directory, given)


def _noted(
    script: str, directory: Path, variables: dict[str, str]
) -> list[tuple[str, ...]]:
    with tempfile.NamedTemporaryFile() as noted:
        run = subprocess.run(
            [str(shutil.which("bash")), "-c", f"{_NOTE}\n{script}"],
            cwd=directory,
            env=_environment()
            | variables
            | {"NOTED": noted.name, "PATH": "/nowhere"},
            capture_output=True,
            text=True,
        )
        assert not run.returncode, (script, run.stderr)
        words = noted.read().decode().split("\0")[:-1]
    found = []
    while words:
        count = int(words[0])
        found.append(tuple(words[1 : 1 + count]))
        words = words[1 + count :]
    return found


def _environment() -> dict[str, str]:
    """Ours, without what a make that runs the tests hands on."""
    made = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")
    return {name: os.environ[name] for name in os.environ if name not in made}
