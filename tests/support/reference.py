"""Pages of all flags and options, written from the code: `make reference`.

A test compares them, so a new flag is in a document or the test fails.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.run import options
from tests.support import command_lines

ROOT = Path(__file__).resolve().parents[2]
_HEAD = "Written by `make reference`; a test holds it against the code.\n"
_COMMANDS = {
    "pipeline/COMMANDS.md": "pipeline",
    "serving/COMMANDS.md": "serving",
}


def pages() -> Iterator[tuple[Path, str]]:
    """Each page's path and text."""
    for path, package in _COMMANDS.items():
        lines = [f"# Commands of {package}/\n", _HEAD]
        for module in command_lines.MODULES:
            if module.split(".")[0] == package:
                lines += _module(command_lines.parser_of(module))
        yield ROOT / path, "\n".join(lines)
    lines = ["# Options\n", _HEAD, "```text", *options.describe(), "```", ""]
    yield ROOT / "pipeline/OPTIONS.md", "\n".join(lines)


def _module(parser: argparse.ArgumentParser) -> Iterator[str]:
    found = dict(command_lines.commands(parser))
    own = found.pop("")
    yield f"## {own.prog}\n"
    yield from _table(own._actions)
    if not found:
        return
    names = [
        {action.dest for action in command._actions}
        for command in found.values()
    ]
    shared = set.intersection(*names)
    first = next(iter(found.values()))
    yield from _table(
        (action for action in first._actions if action.dest in shared),
        "Every command takes:\n",
    )
    told = next(
        {choice.dest: choice.help for choice in action._choices_actions}
        for action in own._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    for name, command in found.items():
        yield f"### {name}\n"
        yield f"{told[name]}\n"
        yield from _table(
            action for action in command._actions if action.dest not in shared
        )


def _table(actions: Iterable[argparse.Action], head: str = "") -> Iterator[str]:
    rows = []
    for action in actions:
        if action.dest in ("help", "command"):
            continue
        assert action.help, f"{action.dest} must say what it is for"
        name = " ".join([*action.option_strings[-1:], *_values(action)]).strip()
        meaning = (action.help % {"default": action.default}) + _default(action)
        rows.append(f"| `{name}` | {_cell(meaning)} |")
    if rows:
        yield from filter(None, [head])
        yield "| | |\n|---|---|"
        yield from (*rows, "")


def _values(action: argparse.Action) -> Iterator[str]:
    if action.nargs == 0:
        return
    if action.metavar:
        yield str(action.metavar)
    elif action.choices:
        yield " or ".join(str(choice) for choice in action.choices)
    elif action.option_strings:
        yield action.dest.upper()
    else:
        yield action.dest


def _default(action: argparse.Action) -> str:
    """What is taken if nothing is given, where the help does not say it."""
    value = action.default
    said = any(word in action.help for word in ("(", "default", " a core"))
    if (
        said
        or action.nargs == 0
        or value in (None, "", [], False, argparse.SUPPRESS)
    ):
        return ""
    return f" ({value})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    for page, text in pages():
        page.write_text(text, "utf-8")
        sys.stdout.write(f"reference: {page.relative_to(ROOT)}\n")
