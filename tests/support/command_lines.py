"""The parsers of our command lines, as their modules build them."""

import argparse
import importlib
from collections.abc import Callable, Iterator
from unittest import mock

MODULES = (
    "pipeline",
    "pipeline.bench.filters",
    "pipeline.bench.index",
    "pipeline.bench.million",
    "pipeline.bench.week",
    "pipeline.onboard.doctor",
    "pipeline.terminal.picture",
    "serving.server",
    "serving.client",
    "serving.bench",
    "serving.ondevice",
    "serving.ondevice.web",
    "serving.releases.pointer",
    "serving.releases.deliver",
    "serving.releases.request_log",
    "serving.wire.protoset",
)


class _FoundError(Exception):
    """Carries a parser out of the program that was about to use it."""


def main_of(module: str) -> Callable[[list[str]], int]:
    """What `python -m module` calls."""
    found = importlib.import_module(module)
    if hasattr(found, "__path__"):
        found = importlib.import_module(f"{module}.__main__")
    return found.main


def parser_of(module: str) -> argparse.ArgumentParser:
    """The parser that a module's `main` reads its arguments with."""

    def stop(parser: argparse.ArgumentParser, *_: object) -> None:
        raise _FoundError(parser)

    with mock.patch.object(argparse.ArgumentParser, "parse_args", stop):
        try:
            main_of(module)([])
        except _FoundError as found:
            return found.args[0]
    raise AssertionError(f"{module} reads no arguments")


def commands(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """A parser and those of its commands, each with its name."""
    yield "", parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()
